#!/usr/bin/env bash
# keynym hsm show and keynym doctor: what they say of a device that is well, and of each way in which it is not.
# doctor.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
has() { grep -qE -- "$1" "$work/out" || { cat "$work/out"; fail "$name: the output does not have: $1"; }; }
hasnt() { ! grep -qE -- "$1" "$work/out" || { cat "$work/out"; fail "$name: the output has: $1"; }; }
run() { # STATUS COMMAND...
  local want=$1 got=0
  shift
  timeout 120 "$@" >"$work/out" 2>&1 </dev/null || got=$?
  [ $got = "$want" ] || { cat "$work/out"; fail "$name: status $got instead of $want"; }
  ! grep -qF "$(cat "$pin")" "$work/out" || fail "$name: the PIN was printed"
}

"$root/softhsm_config/new-token.sh" "$work/token" doctor
export SOFTHSM2_CONF=$work/token/softhsm2.conf
pin=$work/token/pin
uri() { echo "pkcs11:token=doctor;object=$1"; }
"$root/softhsm_config/new-pki.sh" "$work/pki"
for device in well other; do
  algorithm=EC:P-256
  [ $device = well ] || algorithm=RSA:2048
  "$keynym" key generate --algorithm $algorithm --pin-source "$pin" "$(uri $device)" >/dev/null
  "$keynym" alias create --pin-source "$pin" --output "$work/$device.pem" "$(uri $device)"
  openssl req -new -provider-path "$build/provider" -provider keynym -provider default -key "$work/$device.pem" \
    -subj "/CN=$device" -out "$work/$device.csr"
  "$root/softhsm_config/new-pki.sh" "$work/pki" "$work/$device.csr" "$work/$device.chain.pem"
done
"$dps" group create --dir "$work/dps" --id fleet --certificate "$work/pki/intermediate.pem" --hub hub.example.net >/dev/null
start_dps "$work/dps"
write_config() { # KEY CERTIFICATE [PIN-SOURCE]
  printf '[keynym_hsm]\nkey = %s\ncertificate = %s\npin_source = %s\n[keynym_hsm.second]\nkey = %s\ncertificate = %s\n' \
    "$1" "$2" "${3:-$pin}" "$work/other.pem" "$work/other.chain.pem" >"$work/keynym.cnf"
}
export KEYNYM_CONF=$work/keynym.cnf
net=(--endpoint "localhost:$port" --ca "$work/dps/ca.pem")
fingerprint() { openssl x509 -in "$1" -noout -fingerprint "-$2" | cut -d= -f2 | tr -d :; }

# ---- hsm show ----
name="hsm show" && write_config "$(uri well)" "$work/well.chain.pem"
run 0 "$keynym" hsm show
has '^registration id +well$'
has '^key, certificate +match$'
has '^key +alias PEM$'
has "SHA-1 +$(fingerprint "$work/well.chain.pem" sha1)$"
has "SHA-256 +$(fingerprint "$work/well.chain.pem" sha256)$"
has '^certificate 1 +CN=well$'
[ "$(grep -c '^certificate ' "$work/out")" = "$(grep -c BEGIN "$work/well.chain.pem")" ] || fail "not the whole chain"
name="hsm show --json"
run 0 "$keynym" hsm show --json
has '"registrationId":[[:space:]]*"well"'
has '"keyMatchesCertificate":[[:space:]]*true'
has "\"sha256Thumbprint\":[[:space:]]*\"$(fingerprint "$work/well.chain.pem" sha256)\""
name="hsm show, RSA, another identity"
run 0 "$keynym" hsm show --identity second
has '^registration id +other$'
has '^key +alias, as PKCS#8 for RSA$'
name="hsm show, options"
run 0 "$keynym" hsm show --key "$(uri other)" --cert "$work/other.chain.pem" --pin-source "$pin"
has '^registration id +other$'
name="hsm show, mismatch"
run 1 "$keynym" hsm show --key "$(uri well)" --cert "$work/other.chain.pem"
has '^key, certificate +not proved to match$'
has 'the certificate does not match the key'
name="hsm show --json, mismatch"
run 1 "$keynym" hsm show --json --key "$(uri well)" --cert "$work/other.chain.pem"
has '"keyMatchesCertificate":[[:space:]]*false'
name="hsm show, no such identity"
run 2 "$keynym" hsm show --identity third
has "no identity 'third'"
name="hsm show, a PIN in the URI"
run 2 "$keynym" hsm show --key "$(uri well)?pin-value=0000"
has 'PIN'

# ---- doctor: all is well ----
for way in "" "--identity second"; do
  name="doctor, well $way"
  # shellcheck disable=SC2086
  run 0 "$keynym" doctor "${net[@]}" $way
  hasnt '^FAIL|^- '
  for check in configuration module token "PIN source" login slot key "six facts" certificate chain validity "registration id" \
    match clock DNS TLS; do
    has "^OK +$check "
  done
  has "with the device's certificate"
done
name="doctor --json"
run 0 "$keynym" doctor --json "${net[@]}"
has '"ok":[[:space:]]*true'

# ---- and is not ----
quick=(--endpoint 127.0.0.1:1) # nobody there: no time is spent
ill() { # NAME TEXTS (separated by |) ARGUMENT...: status 1, and each text
  name="doctor: $1"
  local texts=$2
  shift 2
  run 1 "$keynym" doctor "$@"
  has 'next: '
  while IFS= read -r text; do has "$text"; done <<<"${texts//|/$'\n'}"
}
ill "missing module" '^FAIL +module .*nowhere.so|^- +token|^- +key' "${quick[@]}" --module /nowhere.so
ill "no such token" '^OK +module|^FAIL +token |^- +PIN source|^- +login' "${quick[@]}" --key "pkcs11:token=nowhere;object=x"
cp "$pin" "$work/open-pin" && chmod 644 "$work/open-pin"
ill "PIN file open to others" '^OK +token|^FAIL +PIN source .*mode 0644|next: chmod 600|^- +login' "${quick[@]}" --pin-source "$work/open-pin"
(umask 077 && echo "not the PIN" >"$work/wrong-pin")
ill "wrong PIN" '^OK +PIN source|^FAIL +login .*the PIN is wrong|^- +key' "${quick[@]}" --pin-source "$work/wrong-pin"
ill "no such key" '^OK +login|^FAIL +key .*nobody|^- +six facts' "${quick[@]}" --key "$(uri nobody)"
ill "no certificate file" '^OK +six facts|^FAIL +certificate .*none.pem' "${quick[@]}" --cert "$work/none.pem"
ill "mismatch" '^OK +certificate|^FAIL +match .*does not match' "${quick[@]}" --key "$(uri well)" --cert "$work/other.chain.pem"
ill "damaged alias" '^FAIL +alias' "${quick[@]}" --key "$work/other.csr"
sed -n '/BEGIN/,/END/p' "$work/well.chain.pem" | awk '/BEGIN/ { n++ } { print > "'"$work"'/part" n }'
cat "$work/part1" "$work/part3" "$work/part2" >"$work/disorder.pem"
ill "chain in disorder" '^FAIL +chain .*certificate 1 was not issued by certificate 2' "${quick[@]}" --cert "$work/disorder.pem"
openssl req -x509 -new -provider-path "$build/provider" -provider keynym -provider default -key "$work/well.pem" -days 1 \
  -subj "/CN=two words" -out "$work/name.pem" 2>/dev/null
ill "name" '^FAIL +registration id .*registration id' "${quick[@]}" --cert "$work/name.pem"
KN_TEST_CLOCK=$(($(date +%s) - 864000)) LD_PRELOAD=$build/tests/whole_clock.so openssl x509 -req -in "$work/well.csr" \
  -CA "$work/pki/intermediate.pem" -CAkey "$work/pki/intermediate.key" -CAcreateserial -days 1 -out "$work/expired.pem" 2>/dev/null
ill "expired" '^FAIL +validity .*has expired' "${quick[@]}" --cert "$work/expired.pem"
ill "name of the service" '^FAIL +DNS .*no-such-host.invalid|^- +TLS' --endpoint no-such-host.invalid
ill "nobody listens" '^OK +DNS|^FAIL +TLS' --endpoint 127.0.0.1:1
ill "unknown CA" '^OK +DNS|^FAIL +TLS .*certificate' --endpoint "localhost:$port" --ca "$work/pki/root.pem"
ill "endpoint" '^FAIL +endpoint' --endpoint 'https://localhost'
KN_TEST_CLOCK=1000000000 LD_PRELOAD=$build/tests/whole_clock.so ill "clock" \
  '^FAIL +clock .*2001-09-09T01:46:40Z is in the past|^FAIL +validity .*not valid yet' "${quick[@]}"

# ---- through a proxy ----
mkfifo "$work/proxy.in"
"$build/tests/whole_proxy" <"$work/proxy.in" >"$work/proxy.port" &
exec 7>"$work/proxy.in" # the proxy ends when this is closed
wait_until 20 test -s "$work/proxy.port" || fail "no proxy"
proxy=127.0.0.1:$(cat "$work/proxy.port")
for kind in http socks5h; do
  name="doctor --proxy $kind"
  run 0 "$keynym" doctor "${net[@]}" --proxy "$kind://$proxy"
  has '^- +DNS .*the proxy resolves'
  has '^OK +TLS .*with the device.s certificate'
done
exec 7>&-
ill "no proxy there" '^FAIL +TLS .*127.0.0.1' "${net[@]}" --proxy http://127.0.0.1:1

# ---- a service that does not like the certificate ----
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/s.key" -out "$work/s.pem" -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost 2>/dev/null
for version in tls1_2 tls1_3; do
  openssl s_server -accept 127.0.0.1:0 -key "$work/s.key" -cert "$work/s.pem" -CAfile "$work/s.pem" -Verify 1 \
    -verify_return_error -$version >"$work/s.out" 2>&1 </dev/null &
  other=$!
  wait_until 20 grep -q '^ACCEPT' "$work/s.out" || { kill $other; fail "openssl s_server did not start"; }
  # with TLS 1.2 the server goes away while the client still sends: the alert may be lost in that
  ill "certificate refused, $version" '^FAIL +TLS |next: .*certificate' \
    --endpoint "localhost:$(sed -n 's/^ACCEPT.*://p' "$work/s.out" | head -n 1)" --ca "$work/s.pem"
  kill $other 2>/dev/null || true
  wait $other 2>/dev/null || true
done
name="doctor --json, ill"
run 1 "$keynym" doctor --json "${quick[@]}" --key "$(uri nobody)"
has '"ok":[[:space:]]*false'
has '"status":[[:space:]]*"FAIL"'
has '"next"'
name="doctor without a configuration"
: >"$work/keynym.cnf"
run 1 "$keynym" doctor "${net[@]}"
has '^FAIL +configuration .*nobody says which key'
has '^OK +TLS .*without a device certificate'
name="doctor, configuration file missing"
KEYNYM_CONF=$work/none.cnf run 1 "$keynym" doctor "${quick[@]}"
has '^FAIL +configuration .*none.cnf'
name="doctor, symmetric key"
(umask 077 && head -c 48 /dev/urandom | base64 -w 0 >"$work/sas.b64")
"$keynym" key import-symmetric --pin-source "$pin" "$(uri sas)" "$work/sas.b64" >/dev/null
printf '[keynym_hsm]\nregistration_id = device-9\nsymmetric_key = %s;type=secret-key\npin_source = %s\n' "$(uri sas)" "$pin" >"$work/keynym.cnf"
run 0 "$keynym" doctor "${net[@]}"
has '^OK +registration id +device-9'
has '^OK +symmetric key +signs in its token'
printf '[keynym_hsm]\nsymmetric_key = %s\n' "$work/none.b64" >"$work/keynym.cnf"
ill "symmetric key" '^FAIL +registration id|^FAIL +symmetric key .*none.b64' "${quick[@]}"
echo "hsm show and doctor say what is so"
