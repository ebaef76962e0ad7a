#!/bin/bash
# Runs as root at every boot of the files machine: mounts the data disk, exports the share, starts Redis.
#
# Every step looks first and changes only what differs, so that a boot that was cut off anywhere is completed by the
# next one. What it needs to know it reads from the machine's metadata: `share-clients` (the range that may mount),
# `nfs-versions` ("4", or "3 4"), `redis-admin-secret` (projects/PROJECT/secrets/SECRET) and `health-program`.
set -euo pipefail

DISK=/dev/disk/by-id/google-data
DATA=/srv/data
SHARE=/share
ETC=/etc
LIB=/usr/local/lib/openemr-files
OWNER=1000                       # the uid and gid of OpenEMR's processes
MARKER=/var/lib/openemr-files/formatting
MOUNTD_PORT=20048                # fixed, for the firewall; used by NFS 3 alone
STATE=/run/openemr-files/state   # what this script is doing, for the health check
METADATA=http://metadata.google.internal/computeMetadata/v1
SECRETS=https://secretmanager.googleapis.com/v1
MACHINE=files                    # its name, once the metadata told it; alerts go by it

log() { printf '%s %s: %s\n' "$(date -u +%FT%TZ)" "$MACHINE" "$*"; }

die() {
  log "ERROR: $*" >&2
  exit 1
}

# usage: doing WHAT          (its age says since when)
doing() {
  [[ $(cat "$STATE" 2> /dev/null) == "$1" ]] && return 0
  log "$1"
  mkdir -p "$(dirname "$STATE")"
  printf '%s\n' "$1" > "$STATE"
}

# usage: replace FILE MODE OWNER < content      (at once, and only when it differs; then CHANGED is 1)
CHANGED=0
replace() {
  local file=$1 mode=$2 owner=$3 new
  new=$(mktemp "$file.XXXXXX")
  cat > "$new"
  chmod "$mode" "$new"
  chown "$owner" "$new"
  if cmp -s "$new" "$file"; then
    rm -f "$new"
    return 0
  fi
  sync "$new"
  mv -f "$new" "$file"
  CHANGED=1
}

# usage: start_or_restart UNIT     (a unit of which the configuration changed is restarted)
start_or_restart() {
  if [[ $CHANGED -eq 1 ]]; then
    systemctl restart "$1"
  else
    systemctl start "$1"
  fi
}

# usage: metadata PATH
metadata() {
  curl --fail --silent --show-error --retry 10 --retry-connrefused -H 'Metadata-Flavor: Google' "$METADATA/$1"
}

# usage: install_packages NAME…
install_packages() {
  local missing=() name
  for name in "$@"; do
    [[ $(dpkg-query -W -f='${Status}' "$name" 2> /dev/null) == 'install ok installed' ]] || missing+=("$name")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  log "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # A boot that was cut off may have left packages half installed.
  dpkg --configure -a --force-confold
  until apt-get update -q && apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}"; do
    log 'the packages are not to be had yet; trying again'
    sleep 10
  done
}

# usage: signature DISK      (what is on it, as blkid names it; empty when nothing is known; fails when it cannot tell)
signature() {
  local found status=0
  found=$(blkid --probe --output value --match-tag TYPE --match-tag PTTYPE "$1") || status=$?
  case $status in
    0) printf '%s' "${found:-something}" ;;
    2) ;;
    *) die "cannot tell what is on $1 (blkid: $status); a person has to look" ;;
  esac
}

# usage: is_blank DISK       (nothing but zeros, as on a new disk; fails also when that cannot be told)
#
# Read are the first 16 MiB, the last MiB, and in between a page of every 4 MiB, or 2048 pages of a disk above 8 GiB:
# reading all of a disk takes hours, and what lives on one leaves no such gaps.
is_blank() {
  python3 -I - "$1" "$(blockdev --getsize64 "$1")" << 'END'
import os, sys

MIB, PAGE = 1 << 20, 4096
disk, size = os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[2])
step = max(4 * MIB, size // 2048 // PAGE * PAGE)
parts = [(at, MIB) for at in (*range(0, 16 * MIB, MIB), max(size - MIB, 0))] + [(at, PAGE) for at in range(0, size, step)]
sys.exit(any(os.pread(disk, length, at).strip(b"\0") for at, length in parts))
END
}

# usage: format DISK         (the marker says: this disk was empty, and nothing can have been written to it since)
format() {
  mkdir -p "$(dirname "$MARKER")"
  identity "$1" > "$MARKER"
  sync "$MARKER"
  log "making a filesystem on the empty disk $1"
  mkfs.ext4 -q -F -m 1 -L openemr-data "$1"
  sync
}

# usage: identity DISK
identity() { printf '%s %s\n' "$1" "$(blockdev --getsize64 "$1")"; }

was_being_formatted() { [[ -f $MARKER && $(cat "$MARKER") == "$(identity "$1")" ]]; }

# usage: ensure_filesystem DISK   (makes one only where there is nothing to lose)
ensure_filesystem() {
  local found
  found=$(signature "$1")
  if [[ -z $found ]]; then
    if ! was_being_formatted "$1"; then
      is_blank "$1" || die "$1 holds data that is no filesystem; it stays as it is, a person has to look"
    fi
    format "$1"
  elif [[ $found != ext4 ]]; then
    die "$1 holds $found, not ext4; it stays as it is, a person has to look"
  elif was_being_formatted "$1" && ! e2fsck -n "$1" > /dev/null 2>&1; then
    format "$1"
  fi
}

# usage: mount_data DISK DIRECTORY
mount_data() {
  mountpoint -q "$2" && return 0
  mkdir -p "$2"
  # 1: errors were corrected; more than that is for a person.
  e2fsck -p "$1" || [[ $? -eq 1 ]] || die "the filesystem of $1 is damaged; it stays as it is, a person has to look"
  mount -t ext4 -o nodev,nosuid,noexec "$1" "$2"
}

# The disk may have grown since; growing a filesystem that fills its disk does nothing. What cannot grow still serves.
grow() { resize2fs "$1" || log "WARNING: the filesystem of $1 does not grow"; }

prepare_data() {
  local waited=0
  until [[ -b $DISK ]]; do
    waited=$((waited + 1))
    [[ $waited -le 60 ]] || die "$DISK is not there"
    sleep 1
  done
  ensure_filesystem "$DISK"
  mount_data "$DISK" "$DATA"
  rm -f "$MARKER"
  grow "$DISK"
}

# The share is a directory of the disk beside Redis's data, so that no client can reach that.
prepare_share() {
  mkdir -p "$DATA/share" "$SHARE"
  chown "$OWNER:$OWNER" "$DATA/share"
  chmod 0750 "$DATA/share"
  mountpoint -q "$SHARE" || mount --bind "$DATA/share" "$SHARE"
}

# usage: export_share RANGE VERSIONS
export_share() {
  local three=n
  [[ $2 == *3* ]] && three=y
  CHANGED=0
  mkdir -p "$ETC/nfs.conf.d" "$ETC/exports.d"
  replace "$ETC/nfs.conf.d/openemr.conf" 0644 root:root << END
[mountd]
port=$MOUNTD_PORT
[nfsd]
udp=n
vers3=$three
vers4=y
END
  # Every write is uid 1000's, whoever asks; only the clinics' range may ask; nothing is exported (mp) while the disk
  # is not mounted, so that no document lands on the boot disk.
  replace "$ETC/exports.d/openemr.exports" 0644 root:root << END
$SHARE $1(rw,sync,no_subtree_check,mp,all_squash,anonuid=$OWNER,anongid=$OWNER)
END
  # NFS 4 asks no port mapper.
  if [[ $three == n ]]; then
    systemctl mask --quiet --now rpcbind.socket rpcbind.service
  else
    systemctl unmask --quiet rpcbind.socket rpcbind.service
  fi
  # Started here alone, when the disk is there; not by the boot before that.
  systemctl disable --quiet nfs-server
  start_or_restart nfs-server
  exportfs -ra
}

access_token() {
  metadata instance/service-accounts/default/token | python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])'
}

# usage: secret NAME         (its newest value; the token goes through standard input, not the process list)
secret() {
  local token
  token=$(access_token)
  printf 'Authorization: Bearer %s\n' "$token" \
    | curl --fail --silent --show-error -H @- "$SECRETS/$1/versions/latest:access" \
    | python3 -c 'import base64, json, sys; sys.stdout.write(base64.b64decode(json.load(sys.stdin)["payload"]["data"]).decode())'
}

# usage: admin_line < password     (the administrator's line of Redis's ACL file, with the password's hash)
admin_line() {
  printf 'user admin on sanitize-payload #%s ~* &* +@all\n' "$(sha256sum | cut -d ' ' -f 1)"
}

# usage: write_acl FILE < administrator's line      (keeps the clinics' users, which the provision job made)
write_acl() {
  local line
  line=$(cat)
  replace "$1" 0600 redis:redis < <(
    printf 'user default off sanitize-payload resetchannels -@all\n%s\n' "$line"
    [[ ! -f $1 ]] || grep -Ev '^user (default|admin) ' "$1" || true
  )
}

# usage: configure_redis ADDRESS
configure_redis() {
  install -d -m 0750 -o redis -g redis "$DATA/redis"
  replace "$ETC/redis/redis.conf" 0640 redis:redis << END
bind 127.0.0.1 $1
port 6379
protected-mode yes
supervised systemd
daemonize no
dir $DATA/redis
aclfile $DATA/redis/users.acl
save 60 1
appendonly no
maxmemory $(($(awk '/^MemTotal:/ { print $2 }' /proc/meminfo) / 2))kb
maxmemory-policy volatile-ttl
END
  mkdir -p "$ETC/systemd/system/redis-server.service.d"
  replace "$ETC/systemd/system/redis-server.service.d/openemr.conf" 0644 root:root << END
[Unit]
RequiresMountsFor=$DATA
[Service]
ReadWritePaths=-$DATA/redis
END
}

# usage: start_redis ADDRESS SECRET
start_redis() {
  local password
  # On the very first boot the orchestrator has not added the password yet.
  until password=$(secret "$2"); do
    doing 'waiting for the password of the Redis administrator'
    sleep 5
  done
  CHANGED=0
  configure_redis "$1"
  write_acl "$DATA/redis/users.acl" < <(printf '%s' "$password" | admin_line)
  systemctl daemon-reload
  # As with NFS: not before its disk is there.
  systemctl disable --quiet redis-server
  start_or_restart redis-server
}

# usage: start_health < program     (answers while the rest is still at work)
start_health() {
  CHANGED=0
  mkdir -p "$LIB"
  replace "$LIB/health.py" 0644 root:root
  replace "$ETC/systemd/system/openemr-files-health.service" 0644 root:root << END
[Unit]
Description=Health of NFS and Redis
[Service]
ExecStart=/usr/bin/python3 -I $LIB/health.py $MACHINE
Restart=always
StandardOutput=journal+console
END
  systemctl daemon-reload
  start_or_restart openemr-files-health
}

_main() {
  local clients address name program versions
  rm -f "$STATE"
  doing starting
  MACHINE=$(metadata instance/name)
  clients=$(metadata instance/attributes/share-clients)
  versions=$(metadata instance/attributes/nfs-versions)
  name=$(metadata instance/attributes/redis-admin-secret)
  program=$(metadata instance/attributes/health-program)
  address=$(metadata instance/network-interfaces/0/ip)
  # A package must not start its server before the disk is there.
  [[ -e /usr/sbin/redis-server ]] || ln -sfn /dev/null "$ETC/systemd/system/redis-server.service"
  install_packages e2fsprogs nfs-kernel-server python3 redis-server unattended-upgrades
  start_health <<< "$program"
  [[ ! -L "$ETC/systemd/system/redis-server.service" ]] || rm -f "$ETC/systemd/system/redis-server.service"
  prepare_data
  prepare_share
  export_share "$clients" "$versions"
  start_redis "$address" "$name"
  doing ready
}

# Sourced, it gives its functions and does nothing.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  _main "$@"
fi
