# The one list of what this project needs, for ./demo and ./check. Debian package names. To be sourced.
#
# install_dependencies GROUP...   installs what is missing; with NO_INSTALL=1 it only says what is missing.

# To build, and to run the demo.
packages_demo="gcc libc6-dev cmake ninja-build pkg-config libssl-dev libp11-kit-dev libtss2-dev libcurl4-openssl-dev libcjson-dev
  libwslay-dev libqpid-proton11-dev libwebsockets-dev libsqlite3-dev softhsm2 openssl"
# For ./demo --tpm.
packages_tpm="swtpm"
# For the tests.
packages_check="swtpm tpm2-tools libengine-pkcs11-openssl libcmocka-dev procps man-db p11-kit-modules ca-certificates"
# For ./check --full.
packages_full="valgrind clang libclang-rt-dev"
# For tests/interop: the programs that use a key through the provider, or through PKCS#11 alone. The servers among them are
# not started now; whoever does not want them to start with the system disables them.
packages_interop="curl nginx apache2-bin haproxy stunnel4 socat lighttpd lighttpd-mod-openssl mosquitto mosquitto-clients
  postgresql postgresql-client python3 nodejs npm openvpn redis-server redis-tools wget git
  libengine-pkcs11-openssl libp11-dev p11-kit-modules"
# For tests/tokens: modules and what serves them; for tests/interop/tpm.
packages_tokens="libtpm2-pkcs11-1 swtpm tpm2-tools tpm2-openssl tpm2-abrmd libtss2-tcti-tabrmd0 dbus libnss3 libnss3-tools opencryptoki libopencryptoki0
  gnome-keyring gnome-keyring-pkcs11"
# For softhsm_config/container-check.sh.
packages_containers="podman runc uidmap mmdebstrap"

install_dependencies() {
  local group list package missing=""
  for group in "$@"; do
    list="packages_$group"
    for package in ${!list}; do
      dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' && continue
      command -v "$package" >/dev/null && continue # a program that came another way: npm with Node.js's own package
      # a name that a later release dropped in favour of another that provides it
      dpkg-query -W -f '${Provides} ${Status}\n' 2>/dev/null | grep 'ok installed' | grep -qw "$package" && continue
      missing="$missing $package"
    done
  done
  [ -z "$missing" ] && return 0
  if [ "${NO_INSTALL:-0}" = 1 ]; then
    echo "missing packages:$missing" >&2
    echo "  next: sudo apt-get install$missing" >&2
    return 1
  fi
  if ! command -v apt-get >/dev/null; then
    echo "this system has no apt-get: install what these Debian packages hold, then use --no-install:$missing" >&2
    return 1
  fi
  local as_root=""
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "run as root, or: apt-get install$missing" >&2; return 1; }
    as_root=sudo
  fi
  echo "installing:$missing"
  local log
  log=$(mktemp)
  if (
    # some of the packages for interop and tokens are servers, which Debian starts when it installs them: not here
    policy=/usr/sbin/policy-rc.d
    if [[ " $* " == *" interop "* || " $* " == *" tokens "* ]] && [ ! -e $policy ]; then
      trap '$as_root rm -f $policy' EXIT
      printf '#!/bin/sh\nexit 101\n' | $as_root install -m 755 /dev/stdin $policy
    fi
    $as_root apt-get update -qq &&
      $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
  ) >"$log" 2>&1; then
    rm -f "$log"
  else
    tail -n 20 "$log" >&2
    echo "apt-get could not install them; its whole output is in $log" >&2
    return 1
  fi
}
