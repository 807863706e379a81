#!/usr/bin/env bash
# TPM attestation against a software TPM, with the distribution's tpm2-tools as the device. See --help.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/interop/tpm/run.sh BUILD

Starts swtpm, gives keynym-dps of BUILD an enrollment with its endorsement key, and registers over HTTPS: the TPM opens the
key of the first answer (TPM2_ActivateCredential, TPM2_Import), signs the token with it, opens the key for the hub, and
signs in at the hub with that. Then another TPM, a changed blob and a token of the wrong key.
TEXT
}

case ${1:-} in
--help | -h) usage; exit 0 ;;
"") usage >&2; exit 2 ;;
esac
. "$(dirname "$0")/../../support/end.sh"
dps=$(cd "$1" && pwd)/dps_emulator/keynym-dps
for tool in swtpm tpm2_import curl python3; do
  command -v $tool >/dev/null || { echo "tpm: $tool is missing" >&2; exit 1; }
done
unset OPENSSL_CONF OPENSSL_MODULES SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE HTTPS_PROXY https_proxy
work=$(mktemp -d)
pids=()
cleanup() { end "${pids[@]}"; rm -rf "$work"; }
trap cleanup EXIT
cd "$work"
fail() { echo "tpm: $*" >&2; [ ! -s dps.log ] || tail -n 20 dps.log >&2; exit 1; }

# tpm NAME: a new TPM with its endorsement and storage root keys, as Microsoft's clients make them
tpm() {
  mkdir -p "$1"
  swtpm socket --tpm2 --tpmstate dir="$1" --server type=unixio,path="$work/$1/socket" --ctrl type=unixio,path="$work/$1/socket.ctrl" \
    --flags not-need-init,startup-clear >"$1/log" 2>&1 &
  pids+=($!)
  for _ in $(seq 200); do [ -S "$1/socket" ] && break; sleep 0.05; done
  export TPM2TOOLS_TCTI=swtpm:path=$work/$1/socket
  tpm2_createek -G rsa -c "$1/ek.ctx" -u "$1/ek.pub" >/dev/null
  tpm2_createprimary -Q -C o -g sha256 -G rsa2048:null:aes128cfb -c "$1/srk.ctx" \
    -a 'restricted|decrypt|fixedtpm|fixedparent|noda|userwithauth|sensitivedataorigin'
  tpm2_readpublic -Q -c "$1/srk.ctx" -f tss -o "$1/srk.pub"
  tpm2_flushcontext -t
  base64 -w0 "$1/ek.pub" >"$1/ek.b64"
  base64 -w0 "$1/srk.pub" >"$1/srk.b64"
}

# use NAME
use() { export TPM2TOOLS_TCTI=swtpm:path=$work/$1/socket; tpm=$1; }

# activate BLOB-BASE64-FILE: the key in it becomes id.ctx of the TPM in use
activate() {
  python3 - "$1" "$tpm" <<'PYTHON'
import base64, struct, sys
blob, parts = base64.b64decode(open(sys.argv[1]).read()), []
while blob:
    n = 2 + struct.unpack(">H", blob[:2])[0]
    parts.append(blob[:n]); blob = blob[n:]
assert [len(p) for p in parts[:5]] == [54, 258, 144, 258, 50], [len(p) for p in parts]
assert len(parts) == 6 and len(parts[5]) > 2
write = lambda name, data: open(f"{sys.argv[2]}/{name}", "wb").write(data)
write("credential", bytes.fromhex("badcc0de00000001") + parts[0] + parts[1])
write("dup.priv", parts[2]); write("dup.seed", parts[3]); write("dup.pub", parts[4]); write("uri", parts[5][2:])
PYTHON
  rm -f "$tpm/inner" "$tpm/id.priv" "$tpm/id.ctx"
  tpm2_startauthsession --policy-session -S "$tpm/session"
  tpm2_policysecret -Q -S "$tpm/session" -c e
  tpm2_activatecredential -Q -c "$tpm/srk.ctx" -C "$tpm/ek.ctx" -i "$tpm/credential" -o "$tpm/inner" \
    -P "session:$tpm/session" || true
  tpm2_flushcontext "$tpm/session"
  tpm2_flushcontext -t
  [ -s "$tpm/inner" ] || return 1
  tpm2_import -Q -C "$tpm/srk.ctx" -k "$tpm/inner" -s "$tpm/dup.seed" -i "$tpm/dup.priv" -u "$tpm/dup.pub" -r "$tpm/id.priv" || true
  tpm2_flushcontext -t
  [ -s "$tpm/id.priv" ] || return 1
  tpm2_load -Q -C "$tpm/srk.ctx" -u "$tpm/dup.pub" -r "$tpm/id.priv" -c "$tpm/id.ctx" || true
  tpm2_flushcontext -t
  [ -s "$tpm/id.ctx" ]
}

# sas RESOURCE [skn]: a token that the TPM signs
sas() {
  local resource expiry signature
  resource=$(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe="").lower() if len(sys.argv) > 2 else sys.argv[1])' "$@")
  expiry=$(($(date +%s) + 600))
  printf '%s\n%s' "$resource" "$expiry" >tosign
  signature=$(tpm2_hmac -c "$tpm/id.ctx" tosign | python3 -c 'import base64, sys, urllib.parse; print(urllib.parse.quote(base64.b64encode(sys.stdin.buffer.read()).decode(), safe=""))')
  tpm2_flushcontext -t
  echo "SharedAccessSignature sr=$resource&sig=$signature&se=$expiry${2:+&skn=$2}"
}

member() { python3 -c 'import json, sys, functools; print(functools.reduce(lambda o, k: o[k], sys.argv[2].split("."), json.load(open(sys.argv[1]))))' "$1" "$2"; }

# request METHOD PATH BODY [TOKEN]: the body into answer.json, prints the status
request() {
  printf 'header = "Content-Type: application/json"\n' >curlrc
  [ -z "${4:-}" ] || printf 'header = "Authorization: %s"\n' "$4" >>curlrc
  curl -sS -K curlrc --cacert state/ca.pem --connect-to "::127.0.0.1:$port" -X "$1" --data-binary "$3" -o answer.json \
    -w '%{http_code}' "https://global.azure-devices-provisioning.net$2"
}

tpm one
tpm two
"$dps" enrollment create --dir state --id Tpm-1 --endorsement-key-file one/ek.b64 --hub hub1.test >/dev/null
"$dps" serve --dir state --hub hub1.test --https-port 0 --name hub1.test >start.json 2>dps.log &
pids+=($!)
for _ in $(seq 200); do [ -s start.json ] && break; sleep 0.05; done
port=$(member start.json https.port) scope=$(member start.json idScope)
path="/$scope/registrations/tpm-1"
version="?api-version=2021-06-01"
body() { printf '{"registrationId":"tpm-1","tpm":{"endorsementKey":"%s","storageRootKey":"%s"}}' "$(cat "$1/ek.b64")" "$(cat "$2/srk.b64")"; }

use one
[ "$(request PUT "$path/register$version" "$(body one one)")" = 401 ] || fail "no 401: $(cat answer.json)"
[ "$(member answer.json keyName)" = registration ] || fail "no keyName"
[ "$(member answer.json unencryptedAuthenticationKey)" = None ] || fail "unencryptedAuthenticationKey is not null"
member answer.json authenticationKey >blob
activate blob || fail "the TPM does not open the first key"
token=$(sas "$scope/registrations/tpm-1" registration)
[ "$(request PUT "$path/register$version" "$(body one one)" "$token")" = 202 ] || fail "no 202: $(cat answer.json)"
operation=$(member answer.json operationId)
[ "$(request GET "$path/operations/$operation$version" "{}" "$token")" = 200 ] || fail "no 200: $(cat answer.json)"
[ "$(member answer.json status)" = assigned ] || fail "not assigned"
member answer.json registrationState.tpm.authenticationKey >blob
echo "ok   registered: the TPM opened the key and signed the token"
# without the tpm object, as the identity service sends it: the storage root key is remembered
[ "$(request PUT "$path/register$version" "" "$token")" = 202 ] || fail "no 202 without tpm: $(cat answer.json)"
operation=$(member answer.json operationId)
[ "$(request GET "$path/operations/$operation$version" "{}" "$token")" = 200 ] || fail "no 200: $(cat answer.json)"
member answer.json registrationState.tpm.authenticationKey >blob
echo "ok   registered without sending the keys again"

registration_key=$(sas "$scope/registrations/tpm-1" registration)
activate blob || fail "the TPM does not open the key for the hub"
printf 'header = "Authorization: %s"\n' "$(sas "hub1.test/devices/Tpm-1")" >hubrc
status=$(curl -sS -K hubrc --cacert state/ca.pem --connect-to "::127.0.0.1:$port" -X POST --data-binary hello -o hub.txt \
  -w '%{http_code}' "https://hub1.test/devices/tpm-1/messages/events?api-version=2021-04-12")
[ "$status" = 204 ] || fail "the hub says $status: $(cat hub.txt)"
"$dps" events --dir state | grep -q '"body":"hello"' || fail "the message did not arrive"
echo "ok   the hub takes the second key"

# The hub's key is not the registration's.
wrong=$(sas "$scope/registrations/tpm-1" registration)
[ "$(request PUT "$path/register$version" "" "$wrong")" = 401 ] || fail "a token of the wrong key was taken"
[ "$(request PUT "$path/register$version" "" "$registration_key")" = 202 ] || fail "the first key is not good any more"
echo "ok   a token of the wrong key is refused"
# Another TPM: its endorsement key is not the enrollment's, and what is for the first it cannot open.
use two
[ "$(request PUT "$path/register$version" "$(body two two)")" = 401 ] || fail "no 401"
[ "$(member answer.json errorCode)" = 401002 ] || fail "another TPM got a key: $(cat answer.json)"
[ "$(request PUT "$path/register$version" "$(body one two)")" = 401 ] || fail "no 401"
member answer.json authenticationKey >stolen
! activate stolen 2>/dev/null || fail "another TPM opened the key"
echo "ok   another TPM is refused, and cannot open the key"
# A blob that was changed is noticed by the TPM.
use one
for at in 20 60 330 420 600; do
  python3 -c 'import base64, sys; b = bytearray(base64.b64decode(open("blob").read())); b[int(sys.argv[1])] ^= 1; print(base64.b64encode(b).decode())' $at >changed
  ! activate changed 2>/dev/null || fail "a blob that was changed at $at was opened"
done
echo "ok   changed blobs are refused by the TPM"
"$dps" enrollment disable --dir state --id tpm-1 >/dev/null
[ "$(request PUT "$path/register$version" "$(body one one)")" = 401 ] || fail "no 401"
[ "$(member answer.json errorCode)" = 401002 ] || fail "a disabled enrollment got a key"
echo "ok   a disabled enrollment gets no key"
