#!/bin/bash
# What a start-up script calls and this machine cannot be: packages from Debian's archive, systemd, the kernel's NFS
# server. Each call is written to the machine's log. The name by which it is called says what it is.
state=/run/machine
echo "stands in: ${0##*/} $*" > /proc/1/fd/1

# A process that has ended and is not yet collected has no program any more.
runs() { [[ -e /proc/$1/exe ]]; }

redis_pid() { cat "$state/redis.pid" 2> /dev/null && runs "$(cat "$state/redis.pid")"; }

start_redis() {
  redis_pid > /dev/null && return 0
  setpriv --reuid redis --regid redis --clear-groups redis-server /etc/redis/redis.conf > /proc/1/fd/1 2>&1 &
  echo $! > "$state/redis.pid"
  until (exec 3<> /dev/tcp/127.0.0.1/6379) 2> /dev/null; do
    redis_pid > /dev/null || { echo 'Job for redis-server.service failed.' >&2; return 1; }
    /usr/bin/sleep 0.05
  done
}

stop_redis() {
  local pid
  pid=$(redis_pid) || return 0
  kill -TERM "$pid"
  while runs "$pid"; do /usr/bin/sleep 0.05; done
}

# A unit that the script wrote itself runs as it says.
own_unit() {
  local pid
  pid=$(cat "$state/$1.pid" 2> /dev/null) && kill "$pid" 2> /dev/null
  # shellcheck disable=SC2046 # the words of the command
  setsid $(sed -n 's/^ExecStart=//p' "/etc/systemd/system/$1.service") > /proc/1/fd/1 2>&1 &
  echo $! > "$state/$1.pid"
}

unit() {
  [[ ! -L /etc/systemd/system/$2.service ]] || { echo "Failed to $1 $2.service: Unit $2.service is masked." >&2; exit 1; }
  if [[ -f /etc/systemd/system/$2.service ]]; then own_unit "$2"; return; fi
  [[ -e $state/package/${2/nfs-server/nfs-kernel-server} ]] || { echo "Unit $2.service not found." >&2; exit 5; }
  case "$1 $2" in
    *' nfs-server') : > "$state/nfs-server" ;;
    'start redis-server') start_redis ;;
    'restart redis-server') stop_redis && start_redis ;;
  esac
}

packages() {
  local word
  [[ $MACHINE_INTERNET == yes ]] || { echo 'E: Failed to fetch: Could not connect to the archive' >&2; exit 100; }
  [[ $1 == install ]] || return 0
  mkdir -p "$state/package"
  for word in "${@:2}"; do
    case $word in
      -* | Dpkg::*) continue ;;
      redis-server) mkdir -p /etc/redis ;;
      nfs-kernel-server) mkdir -p /etc/exports.d ;;
    esac
    : > "$state/package/$word"
  done
}

# The exports that hold now: PATH RANGE(OPTIONS), one a line; with the option mp only what is a mount point.
exports() {
  local path clients
  [[ -e $state/nfs-server ]] || { echo 'exportfs: the NFS server does not run' >&2; exit 1; }
  cat /etc/exports /etc/exports.d/*.exports 2> /dev/null | while read -r path clients; do
    [[ $clients != *mp* ]] || mountpoint -q "$path" || continue
    echo "$path $clients"
  done > "$state/exports.new"
  mv "$state/exports.new" "$state/exports"
}

case ${0##*/} in
  apt-get) packages "$@" ;;
  dpkg-query) [[ -e $state/package/${*: -1} ]] && printf 'install ok installed' ;;
  dpkg) ;;
  exportfs) exports ;;
  sleep) /usr/bin/sleep 1 ;;
  systemctl)
    case $1 in
      stop) stop_redis ;;
      start | restart) unit "$1" "$2" ;;
    esac
    ;;
esac
