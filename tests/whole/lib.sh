# For the tests of the whole. To be sourced by a script that was called with ROOT BUILD.
set -Eeuo pipefail
# a command that ends the test without a word; -e is off in a $(...)
trap 'code=$?; [[ $- != *e* ]] || echo "FAILED: ${BASH_SOURCE[0]}, line $LINENO: exit status $code" >&2' ERR
root=$1 build=$2
. "$root/tests/support/end.sh"
unset OPENSSL_CONF OPENSSL_MODULES SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE SOFTHSM2_CONF KEYNYM_CONF KEYNYM_LOG
export LC_ALL=C.UTF-8
export KEYNYM=$build/prov_client/keynym
keynym=$KEYNYM dps=$build/dps_emulator/keynym-dps
work=$(mktemp -d "${TMPDIR:-/tmp}/keynym-whole.XXXXXX")
server="" tpms=() background=""
cleanup() {
  local status=$?
  end "${tpms[@]}" $server $background
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

start_tpm() { # DIR: a new TPM with its state and its socket there
  mkdir -p "$1"
  swtpm socket --tpm2 --tpmstate "dir=$1" --server "type=unixio,path=$1/s" --ctrl "type=unixio,path=$1/s.ctrl" \
    --flags not-need-init,startup-clear >"$1/log" 2>&1 &
  tpms+=($!)
  wait_until 20 test -S "$1/s" || { cat "$1/log"; fail "swtpm did not start"; }
}
use_tpm() { export KEYNYM_TCTI=swtpm:path=$1/s TPM2TOOLS_TCTI=swtpm:path=$1/s; } # DIR

# A device by its key in a token, enrolled by a group: sets identity
new_device() { # TOKEN
  local uri="pkcs11:token=$1;object=device-01?pin-source=$work/token/pin"
  "$root/softhsm_config/new-token.sh" "$work/token" "$1" >/dev/null
  export SOFTHSM2_CONF=$work/token/softhsm2.conf
  "$root/softhsm_config/new-pki.sh" "$work/pki" >/dev/null 2>&1
  "$keynym" key generate "$uri" >/dev/null
  "$keynym" alias create --output "$work/alias.pem" "$uri" >/dev/null
  openssl req -new -provider-path "$build/provider" -provider keynym -provider default -key "$work/alias.pem" \
    -subj /CN=device-01 -out "$work/device.csr"
  "$root/softhsm_config/new-pki.sh" "$work/pki" "$work/device.csr" "$work/chain.pem" >/dev/null 2>&1
  "$dps" group create --dir "$work/dps" --id g --certificate "$work/pki/intermediate.pem" --hub localhost >/dev/null
  identity=(--ca "$work/dps/ca.pem" --key "$work/alias.pem" --cert "$work/chain.pem")
}
