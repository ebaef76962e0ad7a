#!/bin/sh
# Serves one clinic: looks whether it may, starts PHP-FPM and Apache, ends when either ends, drains on SIGTERM.
# Installs nothing, downloads nothing, changes no owner and no mode; writes only below /run/openemr and /tmp.
set -eu

: "${OPENEMR_APP:=/var/www/localhost/htdocs/openemr}"
: "${OPENEMR_RUN:=/run/openemr}"
export OPENEMR_RUN
PHP_INI=/etc/openemr/php.ini

# usage: log INFO "sentence"
log() {
  printf '{"severity":"%s","message":"%s"}\n' "$1" "$(printf '%s' "$2" | tr '[:cntrl:]' ' ' | sed 's/[\\"]/\\&/g')"
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

# usage: read_file_into NAME  (its value lies in the file that NAME_FILE names, as a mounted secret does)
read_file_into() {
  eval "file=\${$1_FILE:-} value=\${$1:-}"
  if [ -z "$file" ]; then return 0; fi
  if [ -n "$value" ]; then refuse "Both $1 and $1_FILE are set." "Leave one of them out."; fi
  if [ ! -r "$file" ]; then refuse "$1_FILE names $file, which uid $(id -u) cannot read." "Mount the secret there."; fi
  export "$1=$(cat "$file")"
}

# The variables without which nothing can work, all missing ones at once.
check_environment() {
  for name in MYSQL_PASS MYSQL_SSL_CA REDIS_PASSWORD REDIS_SSL_CA; do read_file_into "$name"; done
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
  check_session_place
}

# Sessions have one place for all instances, or there is one instance; nothing changes from one to the other by itself.
check_session_place() {
  case ${OPENEMR_SESSIONS:-redis} in
    redis)
      if [ -z "${REDIS_SERVER:-}" ]; then
        refuse "REDIS_SERVER is not set: sessions would have no place that all instances share." \
          "Deploy again with gcp-openemr deploy; a single instance can do with OPENEMR_SESSIONS=files."
      fi
      ;;
    files)
      if [ "${OPENEMR_MAX_INSTANCES:-}" != 1 ]; then
        refuse "OPENEMR_SESSIONS=files is for one instance, but there may be ${OPENEMR_MAX_INSTANCES:-any number of} instances." \
          "Set max_instances = 1 in [service], or leave OPENEMR_SESSIONS out."
      fi
      ;;
    *) refuse "OPENEMR_SESSIONS is neither redis nor files." "Leave it out of environment_variables." ;;
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

# The instance's memory in MiB: the least of what its control group and its kernel say; 2048 where neither speaks.
memory_mib() {
  least=$((2048 * 1048576))
  kernel=$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo 2>/dev/null)
  if [ -n "$kernel" ]; then least=$((kernel * 1024)); fi
  for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
    bytes=$(number_in "$file")
    if [ -n "$bytes" ] && [ "$bytes" -lt "$least" ]; then least=$bytes; fi
  done
  echo $((least / 1048576))
}

# usage: fpm_children MIB OPCACHE_MIB  (128 MiB each of what Apache and OPcache leave, 3 to 32)
fpm_children() {
  children=$((($1 - $2 - 64) / 128))
  if [ "$children" -lt 3 ]; then children=3; fi
  if [ "$children" -gt 32 ]; then children=32; fi
  echo "$children"
}

# Private files for this instance: CA bundles, PHP's settings with the way to Redis, the pipe for log lines.
prepare_run() {
  umask 077
  if ! mkdir -p "$OPENEMR_RUN/php.d" 2>/dev/null || [ ! -w "$OPENEMR_RUN" ]; then
    refuse "$OPENEMR_RUN cannot be written by uid $(id -u)." "Use the image as built, or mount a tmpfs there."
  fi
  if [ -n "${MYSQL_SSL_CA:-}" ]; then printf '%s\n' "$MYSQL_SSL_CA" >"$OPENEMR_RUN/mysql-ca.pem"; fi
  if [ -n "${REDIS_SSL_CA:-}" ]; then
    { cat /etc/ssl/certs/ca-certificates.crt && printf '%s\n' "$REDIS_SSL_CA"; } >"$OPENEMR_RUN/ca.pem"
  fi
  memory=$(memory_mib)
  opcache=192
  if [ "$memory" -lt 1024 ]; then opcache=96; fi
  {
    echo "opcache.memory_consumption = $opcache"
    php -n /usr/share/openemr/sessions.php ini
  } >"$OPENEMR_RUN/php.d/90-instance.ini"
  rm -f "$OPENEMR_RUN"/*.sock "$OPENEMR_RUN"/*.pid "$OPENEMR_RUN/log" "$OPENEMR_RUN"/ended-*
  mkfifo "$OPENEMR_RUN/log"
}

# What the configuration files ask for.
set_environment() {
  export PORT
  export PHP_MEMORY_LIMIT="${PHP_MEMORY_LIMIT:-512M}"
  export PHP_INI_SCAN_DIR=":$OPENEMR_RUN/php.d"
  OPENEMR_FPM_CHILDREN=${OPENEMR_FPM_CHILDREN:-$(fpm_children "$memory" "$opcache")}
  OPENEMR_TRACE_PREFIX=${GOOGLE_CLOUD_PROJECT:+projects/$GOOGLE_CLOUD_PROJECT/traces/}
  OPENEMR_TRUSTED_PROXIES=${OPENEMR_TRUSTED_PROXIES:-}
  export OPENEMR_FPM_CHILDREN OPENEMR_TRACE_PREFIX OPENEMR_TRUSTED_PROXIES
}

# Keeps one session as every page will. A connection of a new instance can take a minute to stand; a password that
# Redis refuses will not get better.
check_sessions() {
  until=$(($(date +%s) + ${OPENEMR_START_SECONDS:-90}))
  while :; do
    status=0
    problem=$(php -c "$PHP_INI" /usr/share/openemr/sessions.php check 2>/dev/null) || status=$?
    if [ "$status" -eq 0 ]; then return 0; fi
    if [ "$status" -ne 75 ] || [ "$(date +%s)" -ge "$until" ]; then break; fi
    sleep 1
  done
  if [ "$status" -eq 75 ]; then
    refuse "Redis, which keeps the sessions, does not answer: $problem." "See gcp-openemr status for the files machine."
  fi
  refuse "Sessions cannot be kept in Redis: $problem." "gcp-openemr deploy sets the clinic's Redis user and password again."
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

run_fpm() { exec php-fpm --nodaemonize --fpm-config /etc/openemr/php-fpm.conf -c "$PHP_INI" >/dev/null; }

run_httpd() {
  exec httpd -D FOREGROUND ${OPENEMR_TRUSTED_PROXIES:+-D balanced} -f /etc/apache2/httpd.conf 2>"$OPENEMR_RUN/log"
}

# usage: signal_pidfile TERM NAME
signal_pidfile() {
  if [ -s "$OPENEMR_RUN/$2.pid" ]; then kill -s "$1" "$(cat "$OPENEMR_RUN/$2.pid")" 2>/dev/null || true; fi
}

# usage: ended NAME  (its status is known)
ended() { [ -s "$OPENEMR_RUN/ended-$1" ]; }

# usage: await SECONDS NAME  (by the clock, in hundredths: where much is going on, so many pauses take longer)
await() {
  read_clock
  deadline=$((clock + $1 * 100))
  while [ "$clock" -lt "$deadline" ] && ! ended "$2"; do
    sleep 0.1
    read_clock
  done
}

read_clock() {
  read -r clock _ </proc/uptime
  clock=${clock%.*}${clock#*.}
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
  # process 1 hears no signal for which it has no trap; a share that hangs must not outlast the instance
  trap 'exit 0' TERM INT
  check_environment
  check_sites
  prepare_run
  set_environment
  check_sessions
  serve
}

# Sourced by tests, the functions only are wanted.
case ${0##*/} in
  openemr-entrypoint | entrypoint.sh) main "$@" ;;
esac
