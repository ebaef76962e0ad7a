#!/bin/sh
# Runs a command as uid 1000 in a private mount namespace that looks like the built image, on Debian:
#   namespace.sh ROOTFS APPLICATION SITES COMMAND...
# ROOTFS is laid over the system, APPLICATION becomes OpenEMR's tree, SITES the clinic's mount, $SHARE /mnt/share. With
# $READ_ONLY the root takes no writes but below /run/openemr and /tmp; $BEFORE is run as root. The caller unshares.
set -eu
rootfs=$1 application=$2 sites=$3
shift 3

layers=/mnt
mount -t tmpfs tmpfs "$layers"
chmod 755 "$layers"
# usage: cover DIRECTORY  (over it the image's files, and whatever is written goes to memory)
cover() {
  at="$layers$1"
  mkdir -p "$at/upper" "$at/work" "$rootfs$1"
  mount -t overlay overlay -o "lowerdir=$rootfs$1:$1,upperdir=$at/upper,workdir=$at/work" "$1"
}
for directory in /etc /usr /var; do cover "$directory"; done
# Python may lie in a closed home
if [ -d "$HOME" ]; then
  cover "$HOME"
  chmod a+x "$HOME"
fi
# usage: reach DIRECTORY  (whoever may not enter it, or a directory above it, may then)
reach() {
  if [ "$1" = / ]; then return; fi
  reach "$(dirname "$1")"
  case $(stat -c %a "$1") in
    *[02468])
      cover "$1"
      chmod a+x "$1"
      ;;
  esac
}
reach "$PWD"
mount -t tmpfs -o mode=1777 tmpfs /run

for module in /usr/lib/apache2/modules/mod_*.so; do ln -s "$module" /usr/lib/apache2/; done
ln -s /usr/sbin/apache2 /usr/local/bin/httpd
ln -s /usr/sbin/php-fpm8.2 /usr/local/bin/php-fpm
ln -s /usr/bin/php8.2 /usr/local/bin/php

tree=/var/www/localhost/htdocs/openemr
mkdir -p "$tree" /usr/share/openemr/sites
mount --bind "$application" "$tree"
mount --bind "$application/sites" /usr/share/openemr/sites
if [ -d "$sites" ]; then mount --bind "$sites" "$tree/sites"; fi
if [ -n "${SHARE:-}" ]; then
  mkdir -p "$layers/share"
  mount --bind "$SHARE" "$layers/share"
fi
case "$PWD/" in
  /tmp/*) ;; # the sources lie there
  *) mount -t tmpfs -o mode=1777 tmpfs /tmp ;;
esac

if [ -n "${BEFORE:-}" ]; then sh -c "$BEFORE"; fi
if [ -n "${READ_ONLY:-}" ]; then
  mkdir /run/openemr
  mount -t tmpfs -o uid=1000,gid=1000,mode=700 tmpfs /run/openemr
  mount -t tmpfs -o mode=1777 tmpfs /tmp
  for directory in / /etc /usr /var /run; do mount -o remount,bind,ro "$directory"; done
fi

exec setpriv --pdeathsig=KILL --reuid=1000 --regid=1000 --clear-groups --inh-caps=-all "$@"
