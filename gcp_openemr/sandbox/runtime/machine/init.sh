#!/bin/bash
# Process 1 of a machine: runs the start-up script once, as root, as Google's guest agent does, and stays.
mkdir -p /run/machine /etc/systemd/system

finish() {
  systemctl stop redis-server
  exit 0
}
trap finish TERM

if [[ -e /run/startup-script ]]; then
  /run/startup-script &
  wait $!
  status=$?
  echo "startup-script exit status $status"
  echo "$status" > /run/machine/ended
fi
while :; do
  /usr/bin/sleep 3600 &
  wait $!
done
