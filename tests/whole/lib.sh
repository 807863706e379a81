# For the tests of the whole. To be sourced by a script that was called with ROOT BUILD.
set -Eeuo pipefail
# a command that ends the test without a word; -e is off in a $(...)
trap 'code=$?; [[ $- != *e* ]] || echo "FAILED: ${BASH_SOURCE[0]}, line $LINENO: exit status $code" >&2' ERR
root=$1 build=$2
unset OPENSSL_CONF OPENSSL_MODULES SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE SOFTHSM2_CONF KEYNYM_CONF KEYNYM_LOG
export LC_ALL=C.UTF-8
export KEYNYM=$build/prov_client/keynym
keynym=$KEYNYM dps=$build/dps_emulator/keynym-dps
work=$(mktemp -d "${TMPDIR:-/tmp}/keynym-whole.XXXXXX")
server=""
cleanup() {
  local status=$?
  [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
  rm -rf -- "$work"
  exit $status
}
trap cleanup EXIT

fail() { echo "FAILED: $*"; exit 1; }

# wait_until SECONDS COMMAND...: tries it until it succeeds
wait_until() {
  local end=$(($(date +%s) + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$end" ] || return 1
    sleep 0.05
  done
}

start_dps() { # DIR [option...]: sets server, port, scope
  local dir=$1
  shift
  rm -f "$work/dps.json" # what an earlier one printed
  "$dps" serve --dir "$dir" --mqtt-port 0 --retry-after 1 "$@" >"$work/dps.json" 2>"$work/dps.log" &
  server=$!
  wait_until 20 test -s "$work/dps.json" || { cat "$work/dps.log"; fail "keynym-dps did not start"; }
  port=$(grep -oE '"port":[0-9]+' "$work/dps.json" | cut -d: -f2)
  scope=$(grep -oE '0ne[0-9A-F]{8}' "$work/dps.json")
}
