#!/bin/sh
# Usage, as root: install_packages.sh PACKAGE...
# Installs Debian packages without questions and without starting, restarting or enabling any service.
set -eu

guard=/usr/sbin/policy-rc.d
mark='written by gcp-openemr'
units='apache2.service php8.2-fpm.service redis-server.service'

export DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none NEEDRESTART_SUSPEND=1 LC_ALL=C.UTF-8

# Packages ask policy-rc.d whether they may start their service. One that we left behind when killed counts as ours.
keep_services_quiet() {
  if [ -e "$guard" ] && ! grep -q "$mark" "$guard"; then
    return
  fi
  trap 'rm -f "$guard"' EXIT
  trap 'exit 130' HUP INT TERM
  printf '#!/bin/sh\n# %s: packages being installed start no service\nexit 101\n' "$mark" >"$guard"
  chmod 755 "$guard"
}

apt() {
  apt-get -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -qq "$@"
}

# Usage: new_units; prints those of our services whose unit is not on this machine yet.
new_units() {
  for unit in $units; do
    [ -e "/lib/systemd/system/$unit" ] || [ -e "/etc/systemd/system/$unit" ] || printf '%s ' "$unit"
  done
}

main() {
  keep_services_quiet
  added=$(new_units)
  dpkg --configure -a </dev/null # finishes what an interrupted run left
  apt update </dev/null || echo 'apt-get update complained; trying with the lists as they are' >&2
  apt install --yes --no-install-recommends --no-remove "$@" </dev/null
  if command -v systemctl >/dev/null; then
    for unit in $added; do
      if [ -e "/lib/systemd/system/$unit" ]; then systemctl disable --quiet "$unit" || :; fi
    done
  fi
}

main "$@"
