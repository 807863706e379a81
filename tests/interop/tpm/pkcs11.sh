#!/usr/bin/env bash
# tpm2-pkcs11 through the PKCS#11 backend, on swtpm. See --help.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/interop/tpm/pkcs11.sh BUILD

A token of tpm2-pkcs11 with the keynym and the provider of BUILD: keys, certificates, TLS 1.2 and 1.3 on both sides, a registration
and its hub; on a TPM without a resource manager, with its limits of three slots and three sessions, and behind tpm2-abrmd, with
several programs at once.
TEXT
}

case ${1:-} in
--help | -h) usage; exit 0 ;;
"") usage >&2; exit 2 ;;
esac
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/../../.." && pwd)
fail() { echo "tpm2-pkcs11: $*" >&2; exit 1; }
for tool in swtpm tpm2_getcap tpm2-abrmd dbus-daemon openssl curl nginx; do
  command -v $tool >/dev/null || fail "$tool is missing"
done
module=$(ls /usr/lib/*/libtpm2_pkcs11.so.1 2>/dev/null | head -n 1) || true
[ -n "$module" ] || fail "libtpm2-pkcs11-1 is not installed"
unset OPENSSL_CONF OPENSSL_MODULES SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE KEYNYM_CONF
export LC_ALL=C.UTF-8
. "$root/tests/support/end.sh"
work=$(mktemp -d)
pids=()
cleanup() {
  end "${pids[@]}"
  rm -rf "$work"
}
trap cleanup EXIT
cd "$work"
until_true() { for _ in $(seq 400); do "$@" >/dev/null 2>&1 && return 0; sleep 0.05; done; return 1; }

mkdir state store
swtpm socket --tpm2 --tpmstate dir=state --server type=unixio,path="$work/s" --ctrl type=unixio,path="$work/s.ctrl" \
  --flags not-need-init,startup-clear >swtpm.log 2>&1 &
pids+=($!)
until_true test -S s || fail "swtpm did not start"
export TPM2_PKCS11_STORE=$work/store TPM2_PKCS11_LOG_LEVEL=0 TSS2_LOG=all+NONE TPM2TOOLS_TCTI=swtpm:path=$work/s
export TPM2_PKCS11_TCTI=swtpm:path=$work/s
keynym=$build/prov_client/keynym dps=$build/dps_emulator/keynym-dps
provider=(-provider-path "$build/provider" -provider keynym -provider default)
umask 077
printf 12345678 >pin
printf 87654321 >so-pin
printf 99999999 >wrong-pin
umask 022
uri() { echo "pkcs11:token=tpm;object=$1?pin-source=$work/${2:-pin}&module-path=$module"; }
taken() { echo "$(tpm2_getcap handles-transient | wc -l) slots, $(tpm2_getcap handles-loaded-session | wc -l) sessions"; }
nothing_taken() { [ "$(taken)" = "0 slots, 0 sessions" ] || fail "$1 leaves $(taken) taken"; }
refused() { # WORDS COMMAND...
  local words=$1
  shift
  ! "$@" >out 2>&1 || fail "not refused: $*"
  grep -F -- "$words" out >/dev/null || { cat out; fail "\"$words\" is not said by: $*"; }
}

# ---- a TPM without a resource manager ----
"$keynym" token init --module "$module" --pin-source "$work/pin" --so-pin-source "$work/so-pin" pkcs11:token=tpm >/dev/null
tpm2_flushcontext -t # C_InitToken leaves its primary key loaded
"$keynym" key generate "$(uri ec)" >ec.txt
grep -F 'custody   proved' ec.txt >/dev/null || { cat ec.txt; fail "custody of the EC key is not proved"; }
"$keynym" key generate --algorithm RSA:2048 --usage sign,decrypt "$(uri rsa)" >rsa.txt
grep -F 'custody   proved' rsa.txt >/dev/null || { cat rsa.txt; fail "custody of the RSA key is not proved"; }
nothing_taken "keynym key generate"
refused 'exists already' "$keynym" key generate "$(uri ec)"
refused 'PIN is wrong' "$keynym" key list "$(uri ec wrong-pin)"
"$keynym" key list --json "$(uri ec)" >list.json
[ "$(grep -c '"object":.*"key"' list.json)" = 2 ] || { cat list.json; fail "not two keys"; }
for kind in ec rsa; do
  openssl req "${provider[@]}" -x509 -new -key "$(uri $kind)" -subj /CN=localhost -addext subjectAltName=DNS:localhost -out $kind.crt 2>err ||
    { cat err; fail "openssl req with $kind"; }
  nothing_taken "openssl req"
  openssl verify -CAfile $kind.crt $kind.crt >/dev/null || fail "the certificate of $kind"
  "$keynym" cert import --key "$(uri $kind)" $kind.crt >/dev/null
  "$keynym" cert show "$(uri $kind)" | openssl x509 -noout -fingerprint >shown
  openssl x509 -in $kind.crt -noout -fingerprint | cmp - shown || fail "another certificate came back for $kind"
  "$keynym" alias create --output $kind.pem "$(uri $kind)"
done
nothing_taken "keynym"

# TLS on both sides: two programs at once hold two sessions and, while they sign, two slots
for serves in ec rsa; do
  openssl s_server "${provider[@]}" -accept 127.0.0.1:0 -key "$(uri $serves)" -cert $serves.crt -CAfile <(cat ec.crt rsa.crt) -Verify 1 \
    -verify_return_error -www >server.out 2>&1 </dev/null &
  server=$!
  pids+=($server)
  until_true grep '^ACCEPT' server.out || { cat server.out; fail "openssl s_server with $serves"; }
  port=$(grep '^ACCEPT' server.out | head -1 | sed 's/.*://')
  for version in tls1_2 tls1_3; do
    for asks in ec rsa; do
      openssl s_client "${provider[@]}" -connect "127.0.0.1:$port" -servername localhost -verify_hostname localhost -verify_return_error \
        -$version -key $asks.pem -cert $asks.crt -CAfile $serves.crt </dev/null >client.out 2>&1 ||
        { cat client.out server.out; fail "$version with $serves at the server and $asks at the client"; }
      grep -F 'Verify return code: 0 (ok)' client.out >/dev/null || { cat client.out; fail "$version $serves $asks: not verified"; }
    done
  done
  end $server
  tpm2_flushcontext -t
  tpm2_flushcontext -l # of the server, which was killed
done
echo "ok   keys, certificates, TLS 1.2 and 1.3"

# the limits: four programs that are logged in, four that sign
servers=()
for i in 1 2 3; do
  openssl s_server "${provider[@]}" -accept 127.0.0.1:0 -key "$(uri ec)" -cert ec.crt -www >limit$i 2>&1 </dev/null &
  servers+=($!)
  pids+=($!)
  until_true grep '^ACCEPT' limit$i || { cat limit$i; fail "program $i of three"; }
done
[ "$(taken)" = "0 slots, 3 sessions" ] || fail "three programs that are logged in have $(taken)"
refused 'the TPM behind the PKCS#11 module refused, as it does when it has no free slot or session' "$keynym" key show "$(uri ec)"
grep -E '^  next: use a resource manager \(TPM2_PKCS11_TCTI=device:/dev/tpmrm0' out >/dev/null || { cat out; fail "it is not said what to do"; }
refused 'no free slot or session' openssl dgst "${provider[@]}" -sha256 -sign "$(uri ec)" -out sig ec.crt
for server in "${servers[@]}"; do end "$server"; done
tpm2_flushcontext -l
for i in 1 2 3; do tpm2_createprimary -Q -C o -c "slot$i.ctx"; done 2>/dev/null || true
[ "$(tpm2_getcap handles-transient | wc -l)" = 3 ] || fail "the slots are not taken"
refused 'no free slot or session' "$keynym" key show "$(uri ec)"
tpm2_flushcontext -t
tpm2_flushcontext -l
"$keynym" key show "$(uri ec)" >/dev/null || fail "it does not work again when the slots are free"
nothing_taken "keynym key show"
echo "ok   three slots, three sessions: named, with what to do"

# ---- behind a resource manager ----
mkdir -m 700 run
XDG_RUNTIME_DIR=$work/run dbus-daemon --session --nofork --nopidfile --address="unix:path=$work/bus" >bus.log 2>&1 &
pids+=($!)
until_true test -S bus || fail "dbus-daemon"
export DBUS_SESSION_BUS_ADDRESS=unix:path=$work/bus
tpm2-abrmd --session --allow-root --tcti="swtpm:path=$work/s" >manager.log 2>&1 &
pids+=($!)
export TPM2_PKCS11_TCTI=tabrmd:bus_type=session
until_true "$keynym" key show "$(uri ec)" || { cat manager.log; fail "the resource manager"; }
openssl x509 -in ec.crt -noout -pubkey >pub
many=()
for i in 1 2 3 4 5 6 7 8; do
  openssl dgst "${provider[@]}" -sha256 -sign "$(uri ec)" -out "sig$i" ec.crt 2>"err$i" &
  many+=($!)
done
for i in 1 2 3 4 5 6 7 8; do
  wait "${many[$((i - 1))]}" || { cat "err$i"; fail "program $i of eight"; }
  openssl dgst -sha256 -verify pub -signature "sig$i" ec.crt >/dev/null || fail "the signature of program $i of eight"
done
echo "ok   eight programs at once behind tpm2-abrmd"

# a device: a certificate of a test root, the provisioning service, the hub, and curl as a program that knows nothing of it
"$root/softhsm_config/new-pki.sh" "$work/pki" >/dev/null 2>&1
"$keynym" ca request --key ec.pem --subject device-01 --output device.csr >/dev/null
"$root/softhsm_config/new-pki.sh" "$work/pki" device.csr chain.pem >/dev/null 2>&1
"$dps" group create --dir dps --id g --certificate pki/intermediate.pem --hub localhost >/dev/null
"$dps" serve --dir dps --free-ports --retry-after 1 >dps.json 2>dps.log &
pids+=($!)
until_true test -s dps.json || { cat dps.log; fail "keynym-dps"; }
mqtt=$("$build/tests/whole_json" mqtt.port <dps.json)
scope=$("$build/tests/whole_json" idScope <dps.json)
identity=(--ca dps/ca.pem --key ec.pem --cert chain.pem)
"$keynym" provision --quiet --endpoint "localhost:$mqtt" --id-scope "$scope" "${identity[@]}" --output hub.json 2>err || { cat err; fail "keynym provision"; }
echo '{"up":true}' | "$keynym" hub send --quiet --registration hub.json --hub "localhost:$mqtt" "${identity[@]}" - 2>err ||
  { cat err; fail "keynym hub send"; }
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout web.key -subj /CN=localhost -addext subjectAltName=DNS:localhost \
  -out web.crt 2>/dev/null
openssl s_server -accept 127.0.0.1:0 -key web.key -cert web.crt -CAfile pki/root.pem -Verify 3 -verify_return_error -www >web.out 2>&1 </dev/null &
pids+=($!)
until_true grep '^ACCEPT' web.out || { cat web.out; fail "a server for curl"; }
cat >openssl.cnf <<CONF
openssl_conf = init
[init]
providers = providers
[providers]
default = on
keynym = keynym
[on]
activate = 1
[keynym]
module = $build/provider/keynym.so
activate = 1
CONF
OPENSSL_CONF=$work/openssl.cnf curl --silent --show-error --cacert web.crt --key ec.pem --cert chain.pem \
  "https://localhost:$(grep '^ACCEPT' web.out | head -1 | sed 's/.*://')/" >page 2>err || { cat err web.out; fail "curl"; }
grep -F 'device-01' page web.out >/dev/null || { cat page; fail "the server did not see curl's certificate"; }

# nginx: two workers that were forked from the process that read the key
free() { ! grep -qiE ": [0-9A-F]+:$(printf %04X "$1") [0-9A-F]+:0000 0A " /proc/net/tcp; }
until nginx_port=$((RANDOM % 12000 + 20000)) && free $nginx_port; do :; done
cat >nginx.conf <<CONF
$([ "$(id -u)" != 0 ] || echo "user root;")
env TPM2_PKCS11_STORE; env TPM2_PKCS11_TCTI; env TPM2_PKCS11_LOG_LEVEL; env TSS2_LOG; env DBUS_SESSION_BUS_ADDRESS;
daemon off; worker_processes 2; pid nginx.pid; error_log stderr; events { worker_connections 64; }
http {
access_log off; keepalive_timeout 0;
client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
server {
  listen 127.0.0.1:$nginx_port ssl reuseport;
  ssl_certificate $work/ec.crt;
  ssl_certificate_key $work/ec.pem;
  location / { return 200 "worker \$pid\n"; }
}
}
CONF
OPENSSL_CONF=$work/openssl.cnf nginx -p "$work" -c nginx.conf -e stderr >nginx.log 2>&1 &
nginx=$!
pids+=($nginx)
until_true curl --silent --cacert ec.crt --resolve "localhost:$nginx_port:127.0.0.1" "https://localhost:$nginx_port/" ||
  { cat nginx.log; fail "nginx"; }
for i in 1 2 3 4; do
  curl --silent --show-error --fail --no-sessionid --cacert ec.crt --resolve "localhost:$nginx_port:127.0.0.1" "https://localhost:$nginx_port/[1-15]" \
    >"answers$i" 2>"err$i" &
  many[i]=$!
done
for i in 1 2 3 4; do wait "${many[$i]}" || { cat "err$i" nginx.log; fail "a request to nginx"; }; done
[ "$(cat answers[1-4] | grep -c worker)" = 60 ] || fail "not 60 answers of nginx"
end $nginx
echo "ok   a registration and its hub, curl, nginx with two workers"

"$keynym" key delete "$(uri rsa)" >/dev/null
refused 'no key matches' "$keynym" key show "$(uri rsa)"
echo "tpm2-pkcs11: all good"
