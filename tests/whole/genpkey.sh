#!/usr/bin/env bash
# Keys made in the token by openssl genpkey and openssl req, with our provider alone and beside the default one.
# genpkey.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"

"$root/softhsm_config/new-token.sh" "$work/token" made
export SOFTHSM2_CONF=$work/token/softhsm2.conf
pin=$work/token/pin
uri() { echo "pkcs11:token=made;object=$1?pin-source=$pin"; }
both=(-provider-path "$build/provider" -provider default -provider keynym)
alone=(-provider-path "$build/provider" -provider keynym)
run() { "$@" >"$work/out" 2>&1 </dev/null || { cat "$work/out"; fail "$*"; }; }
proved() { run "$keynym" key show "$(uri "$1")"; grep -q 'custody   proved' "$work/out" || { cat "$work/out"; fail "$1: custody"; }; }
is_alias() { [ "$(head -1 "$1")" = "-----BEGIN KEYNYM ALIAS PRIVATE KEY-----" ] || { cat "$1"; fail "$1 is no alias"; }; }

cd "$work"
run openssl genpkey "${alone[@]}" -algorithm EC -pkeyopt group:P-256 -pkeyopt "uri:$(uri alone)" -out alone.pem
run openssl genpkey "${both[@]}" -propquery provider=keynym -algorithm EC -pkeyopt ec_paramgen_curve:P-384 \
  -pkeyopt "uri:$(uri ec)" -out ec.pem
run openssl genpkey "${both[@]}" -propquery provider=keynym -algorithm RSA -pkeyopt usage:sign,decrypt \
  -pkeyopt "uri:$(uri rsa)" -out rsa.pem
run openssl genpkey "${both[@]}" -propquery provider=keynym -algorithm RSA-PSS -pkeyopt rsa_pss_keygen_md:sha256 \
  -pkeyopt rsa_pss_keygen_saltlen:32 -pkeyopt "uri:$(uri pss)" -out pss.pem
run openssl genpkey "${both[@]}" -propquery provider=keynym -algorithm ED25519 -pkeyopt "uri:$(uri ed)" -out ed.pem
for key in alone ec rsa pss ed; do
  is_alias $key.pem
  proved $key
  run openssl req "${both[@]}" -new -key $key.pem -subj "/CN=$key" -out $key.csr
  run openssl req -in $key.csr -verify -noout
done

# keys made on the way to a certificate request
run openssl req "${alone[@]}" -newkey ec -pkeyopt group:P-256 -pkeyopt "uri:$(uri req-ec)" -noenc -keyout req-ec.pem \
  -subj /CN=req -out req-ec.csr
run openssl req "${both[@]}" -propquery '?provider=keynym' -newkey rsa:2048 -pkeyopt "uri:$(uri req-rsa)" -noenc \
  -keyout req-rsa.pem -subj /CN=req -out req-rsa.csr
for key in req-ec req-rsa; do
  is_alias $key.pem
  proved $key
  run openssl req -in $key.csr -verify -noout
done

# decryption and CMS, of a message that openssl encrypted without us
echo "a message" >message
run openssl req "${both[@]}" -x509 -key rsa.pem -subj /CN=rsa -days 1 -out rsa.crt
run openssl cms -encrypt -binary -in message -out message.cms rsa.crt
run openssl cms "${both[@]}" -decrypt -binary -in message.cms -inkey rsa.pem -recip rsa.crt -out back
cmp message back || fail "cms -decrypt"
run openssl genpkey "${both[@]}" -propquery provider=keynym -algorithm EC -pkeyopt group:P-256 -pkeyopt usage:sign,derive \
  -pkeyopt "uri:$(uri agree)" -out agree.pem
run openssl req "${both[@]}" -x509 -key agree.pem -subj /CN=agree -days 1 -out agree.crt
run openssl cms -encrypt -binary -in message -out message.cms agree.crt
run openssl cms "${both[@]}" -decrypt -binary -in message.cms -inkey agree.pem -recip agree.crt -out back
cmp message back || fail "cms -decrypt with an EC key"
run openssl cms "${both[@]}" -sign -binary -in message -signer agree.crt -inkey agree.pem -out signed.cms
run openssl cms -verify -binary -in signed.cms -CAfile agree.crt -purpose any -out back
cmp message back || fail "cms -verify"
run openssl pkeyutl "${both[@]}" -derive -inkey agree.pem -peerkey <(openssl x509 -in agree.crt -noout -pubkey) -out secret
[ "$(stat -c %s secret)" = 32 ] || fail "pkeyutl -derive"

# without a name nothing is made, and the message says what is missing
if openssl genpkey "${alone[@]}" -algorithm EC -pkeyopt group:P-256 -out never.pem >"$work/out" 2>&1; then fail "a key without a name"; fi
grep -q "needs a name there" "$work/out" || { cat "$work/out"; fail "the message does not say what is missing"; }
run "$keynym" key list "pkcs11:token=made?pin-source=$pin"
[ "$(grep -c '^key ' "$work/out")" = 8 ] || { cat "$work/out"; fail "not eight keys"; }
! grep -qF "$(cat "$pin")" ./*.pem || fail "an alias has the PIN"
echo "openssl genpkey and req make keys in the token"
