#!/bin/sh
# Serves one clinic: looks whether it may, starts PHP-FPM and Apache, ends when either ends, drains on SIGTERM.
# Installs nothing, downloads nothing, changes no owner and no mode; writes only below /run/openemr and /tmp.
set -eu

: "${OPENEMR_APP:=/var/www/localhost/htdocs/openemr}"
: "${OPENEMR_RUN:=/run/openemr}"

# usage: log INFO "sentence"
log() {
  printf '{"severity":"%s","message":"%s"}\n' "$1" "$(printf '%s' "$2" | sed 's/[\\"]/\\&/g')"
}

# usage: refuse "what is wrong" "what to run"
refuse() {
  log ERROR "$1 $2" >&2
  exit 78
}

# usage: number_in FILE  (a counter such as docker-version, or nothing)
number_in() {
  if [ -r "$1" ]; then tr -cd '0-9' <"$1"; fi
}

# The variables without which nothing can work, all missing ones at once.
check_environment() {
  missing=
  for name in PORT MYSQL_HOST MYSQL_DATABASE MYSQL_USER MYSQL_PASS; do
    eval "value=\${$name:-}"
    if [ -z "$value" ]; then missing="$missing $name"; fi
  done
  if [ -n "$missing" ]; then
    refuse "These variables are not set:$missing." "Deploy the service again with gcp-openemr deploy."
  fi
  case $PORT in
    *[!0-9]*) refuse "PORT is not a number." "Deploy the service again with gcp-openemr deploy." ;;
  esac
}

# The share is there and is this clinic's, configured, writable, with its keys, of this code's version.
check_sites() {
  site=$OPENEMR_APP/sites/default
  deploy="Run the clinic's nfs-init job, as gcp-openemr deploy does."
  if [ ! -d "$site" ]; then
    refuse "sites/default is missing: the share is empty or not mounted." "$deploy"
  fi
  if [ ! -f "$site/sqlconf.php" ]; then
    refuse "sites/default/sqlconf.php is missing: the clinic is not installed." "$deploy"
  fi
  # shellcheck disable=SC2016  # the pattern is PHP's variable, not the shell's
  if ! grep -Eq '^[[:space:]]*\$config[[:space:]]*=[[:space:]]*1[[:space:]]*;' "$site/sqlconf.php"; then
    refuse "sites/default/sqlconf.php does not say that OpenEMR is configured." "$deploy"
  fi
  if [ ! -w "$site/documents" ]; then
    refuse "sites/default/documents is missing, or uid $(id -u) may not write there." "$deploy"
  fi
  if [ -z "$(ls -A "$site/documents/logs_and_misc/methods" 2>/dev/null)" ]; then
    refuse "The encryption keys are missing from sites/default/documents/logs_and_misc/methods." \
      "Restore them with gcp-openemr restore; new keys would make the old documents unreadable."
  fi
  check_versions "$(number_in "$OPENEMR_APP/docker-version")" "$(number_in "$site/docker-version")"
}

# usage: check_versions CODE DATA  (both counters of OpenEMR's container line; one that is not known is not compared)
check_versions() {
  if [ -z "$1" ] || [ -z "$2" ] || [ "$1" -eq "$2" ]; then return 0; fi
  if [ "$2" -lt "$1" ]; then
    refuse "The data is of an older OpenEMR (docker-version $2) than this image ($1)." "Run gcp-openemr upgrade."
  fi
  refuse "The data is of a newer OpenEMR (docker-version $2) than this image ($1)." \
    "Set [openemr] version to the data's version and deploy again."
}

# PHP-FPM's workers for the instance's memory: 128 MiB each, 4 to 32; 16 where no limit can be read.
fpm_children() {
  bytes=$(number_in /sys/fs/cgroup/memory.max)
  if [ -z "$bytes" ]; then echo 16; return; fi
  children=$((bytes / 134217728))
  if [ "$children" -lt 4 ]; then children=4; fi
  if [ "$children" -gt 32 ]; then children=32; fi
  echo "$children"
}

# Private files for this instance: the CA bundle, the session handler with its password, the pipe for log lines.
prepare_run() {
  umask 077
  if ! mkdir -p "$OPENEMR_RUN/php.d" 2>/dev/null || [ ! -w "$OPENEMR_RUN" ]; then
    refuse "$OPENEMR_RUN cannot be written by uid $(id -u)." "Use the image as built, or mount a tmpfs there."
  fi
  if [ -n "${MYSQL_SSL_CA:-}" ]; then printf '%s\n' "$MYSQL_SSL_CA" >"$OPENEMR_RUN/mysql-ca.pem"; fi
  php83 -n /usr/share/openemr/runtime-ini.php >"$OPENEMR_RUN/php.d/90-runtime.ini"
  rm -f "$OPENEMR_RUN"/*.sock "$OPENEMR_RUN"/*.pid "$OPENEMR_RUN/log" "$OPENEMR_RUN"/ended-*
  mkfifo "$OPENEMR_RUN/log"
}

# What the configuration files ask for.
set_environment() {
  export OPENEMR_RUN PORT
  export PHP_MEMORY_LIMIT="${PHP_MEMORY_LIMIT:-512M}"
  export PHP_INI_SCAN_DIR=":$OPENEMR_RUN/php.d"
  OPENEMR_FPM_CHILDREN=${OPENEMR_FPM_CHILDREN:-$(fpm_children)}
  OPENEMR_TRACE_PREFIX=${GOOGLE_CLOUD_PROJECT:+projects/$GOOGLE_CLOUD_PROJECT/traces/}
  export OPENEMR_FPM_CHILDREN OPENEMR_TRACE_PREFIX
}

# usage: start NAME COMMAND...  (tells this shell with SIGUSR1 when the command ends)
start() {
  name=$1
  shift
  (
    trap - TERM INT USR1
    status=0
    ("$@") || status=$?
    echo "$status" >"$OPENEMR_RUN/ended-$name"
    kill -USR1 "$main"
  ) &
}

run_logger() { busybox awk -f /usr/share/openemr/log.awk <"$OPENEMR_RUN/log"; }

run_fpm() { exec php-fpm83 --nodaemonize --fpm-config /etc/php83/php-fpm.conf -c /etc/php83/php.ini >/dev/null; }

run_httpd() { exec httpd -D FOREGROUND -f /etc/apache2/httpd.conf 2>"$OPENEMR_RUN/log"; }

# usage: signal_pidfile TERM NAME
signal_pidfile() {
  if [ -s "$OPENEMR_RUN/$2.pid" ]; then kill -s "$1" "$(cat "$OPENEMR_RUN/$2.pid")" 2>/dev/null || true; fi
}

# usage: ended NAME  (its status is known)
ended() { [ -s "$OPENEMR_RUN/ended-$1" ]; }

# usage: await SECONDS NAME
await() {
  left=$(($1 * 10))
  while [ "$left" -gt 0 ] && ! ended "$2"; do
    sleep 0.1
    left=$((left - 1))
  done
}

# Apache finishes the requests it has, PHP-FPM after it; both within Cloud Run's 10 s.
stop_servers() {
  trap '' TERM INT USR1
  signal_pidfile WINCH httpd
  await 8 httpd
  signal_pidfile TERM httpd
  signal_pidfile QUIT fpm
  await 1 fpm
  signal_pidfile TERM fpm
}

on_stop() {
  log INFO "Stopping: requests in hand are finished first."
  stop_servers
  exit 0
}

on_ended() {
  for name in httpd fpm logger; do
    if ended "$name"; then
      status=$(cat "$OPENEMR_RUN/ended-$name")
      log ERROR "$name ended with status $status; the instance ends too." >&2
      stop_servers
      if [ "$status" -eq 0 ]; then status=1; fi
      exit "$status"
    fi
  done
}

# Apache would answer 503 to what comes before PHP-FPM listens; its last pool is the last to appear.
await_sockets() {
  left=100
  while [ "$left" -gt 0 ] && [ ! -S "$OPENEMR_RUN/ready.sock" ]; do
    sleep 0.05
    left=$((left - 1))
  done
}

serve() {
  main=$$
  trap on_stop TERM INT
  trap on_ended USR1
  start logger run_logger
  start fpm run_fpm
  await_sockets
  start httpd run_httpd
  log INFO "Serving on port $PORT."
  # a signal interrupts `wait` after its trap has run
  while :; do wait || true; done
}

main() {
  if [ "$#" -gt 0 ]; then exec "$@"; fi
  check_environment
  check_sites
  prepare_run
  set_environment
  serve
}

# Sourced by tests, the functions only are wanted.
case ${0##*/} in
  openemr-entrypoint | entrypoint.sh) main "$@" ;;
esac
