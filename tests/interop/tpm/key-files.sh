#!/usr/bin/env bash
# Key files of TPMs between Keynym and tpm2-openssl, on swtpm. See --help.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/interop/tpm/key-files.sh BUILD

Keys that tpm2-openssl makes are used by the provider of BUILD, and keys that keynym makes are used by tpm2-openssl: EC and RSA,
below the owner hierarchy and below a storage key at a handle. Then several programs at once, by the resource manager tpm2-abrmd.
TEXT
}

case ${1:-} in
--help | -h) usage; exit 0 ;;
"") usage >&2; exit 2 ;;
esac
build=$(cd "$1" && pwd)
. "$(dirname "$0")/../../support/end.sh"
for tool in swtpm tpm2_evictcontrol tpm2-abrmd dbus-daemon openssl; do
  command -v $tool >/dev/null || { echo "tpm key files: $tool is missing" >&2; exit 1; }
done
unset OPENSSL_CONF OPENSSL_MODULES SSL_CERT_FILE SSL_CERT_DIR KEYNYM_CONF
work=$(mktemp -d)
swtpm_pid="" bus_pid="" manager_pid="" server_pid=""
cleanup() {
  end $swtpm_pid $bus_pid $manager_pid $server_pid
  rm -rf "$work"
}
trap cleanup EXIT
cd "$work"
fail() { echo "tpm key files: $*" >&2; exit 1; }

start_tpm() {
  swtpm socket --tpm2 --tpmstate dir=. --server type=unixio,path="$work/s" --ctrl type=unixio,path="$work/s.ctrl" \
    --flags not-need-init,startup-clear >swtpm.log 2>&1 &
  swtpm_pid=$!
  for _ in $(seq 200); do [ -S s ] && break; sleep 0.05; done
}
start_tpm
export KEYNYM_TCTI=swtpm:path=$work/s TPM2TOOLS_TCTI=swtpm:path=$work/s TPM2OPENSSL_TCTI=swtpm:path=$work/s TSS2_LOG=all+NONE
keynym=$build/prov_client/keynym
ours=(-provider-path "$build/provider" -provider keynym -provider default)
theirs=(-provider default -provider tpm2 -propquery '?provider=tpm2,tpm2.digest!=yes')
echo 'what is signed' >data

# signs KEY PROVIDER-OPTION...: and the signature is verified with software, with the key that Keynym reads
signs() {
  local key=$1
  shift
  openssl pkey "${ours[@]}" -in "$key" -pubout -out pub 2>err || { cat err; fail "the public key of $key"; }
  openssl dgst "$@" -sha256 -sign "$key" -out sig data 2>err || { cat err; fail "signing with $key: $*"; }
  openssl dgst -sha256 -verify pub -signature sig data >/dev/null || fail "the signature of $key: $*"
  [ -z "$(tpm2_getcap handles-transient)" ] || fail "a slot is taken after $key: $*"
}

tpm2_createprimary -Q -C o -G ecc -c primary.ctx
tpm2_evictcontrol -Q -C o -c primary.ctx 0x81000001
tpm2_flushcontext -t
openssl genpkey "${theirs[@]}" -algorithm EC -pkeyopt group:P-256 -out ec-owner.pem 2>err || { cat err; fail "genpkey of tpm2-openssl"; }
openssl genpkey "${theirs[@]}" -algorithm RSA -pkeyopt bits:2048 -out rsa-owner.pem 2>err || { cat err; fail "genpkey of tpm2-openssl"; }
openssl genpkey "${theirs[@]}" -algorithm EC -pkeyopt group:P-256 -pkeyopt parent:0x81000001 -out ec-handle.pem 2>err || { cat err; fail "genpkey of tpm2-openssl"; }
for key in ec-owner rsa-owner ec-handle; do
  signs $key.pem "${ours[@]}"
done
"$keynym" key generate "tpm2:file=own-ec.pem" >/dev/null
"$keynym" key generate --algorithm RSA:2048 "tpm2:file=own-rsa.pem" >/dev/null
"$keynym" key generate "tpm2:file=own-handle.pem;parent=0x81000001" >/dev/null
for key in own-ec own-rsa own-handle; do
  signs $key.pem "${ours[@]}"
  signs $key.pem "${theirs[@]}"
done

# behind a resource manager, to which several programs come at once; it is the only one at the TPM from here on
mkdir -m 700 run
XDG_RUNTIME_DIR=$work/run dbus-daemon --session --nofork --address="unix:path=$work/bus" >bus.log 2>&1 &
bus_pid=$!
for _ in $(seq 200); do [ -S bus ] && break; sleep 0.05; done
export DBUS_SESSION_BUS_ADDRESS=unix:path=$work/bus
tpm2-abrmd --session --allow-root --tcti="swtpm:path=$work/s" >manager.log 2>&1 &
manager_pid=$!
export KEYNYM_TCTI=tabrmd:bus_type=session
for _ in $(seq 200); do "$keynym" key list tpm2: >/dev/null 2>&1 && break; sleep 0.05; done
"$keynym" key list tpm2: >list.txt 2>&1 || { cat list.txt manager.log; fail "the resource manager"; }
openssl pkey "${ours[@]}" -in own-ec.pem -pubout -out pub
many=()
for i in 1 2 3 4 5 6; do
  openssl dgst "${ours[@]}" -sha256 -sign own-ec.pem -out "sig$i" data 2>"err$i" &
  many+=($!)
done
for i in 1 2 3 4 5 6; do
  wait "${many[$((i - 1))]}" || { cat "err$i"; fail "program $i of several"; }
  openssl dgst -sha256 -verify pub -signature "sig$i" data >/dev/null || fail "the signature of program $i of several"
done

# a TPM that is reset behind its resource manager, under a program that has the key loaded
openssl req "${ours[@]}" -x509 -new -key own-ec.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost -out own.crt 2>err || { cat err; fail "openssl req"; }
openssl s_server "${ours[@]}" -accept 127.0.0.1:0 -key own-ec.pem -cert own.crt -www >server.out 2>&1 </dev/null &
server_pid=$!
for _ in $(seq 200); do grep -q '^ACCEPT' server.out && break; sleep 0.05; done
port=$(sed -n 's/^ACCEPT.*://p' server.out | head -1)
connects() {
  openssl s_client -connect "127.0.0.1:$port" -CAfile own.crt -verify_hostname localhost -verify_return_error </dev/null >client.out 2>&1 ||
    { cat client.out server.out; fail "a connection $1"; }
}
connects "before the reset"
end $swtpm_pid
rm -f s
start_tpm
connects "after the reset"
connects "after that"
end $server_pid
server_pid=""
echo "tpm key files: all good"
