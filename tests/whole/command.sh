#!/usr/bin/env bash
# keynym token, key, cert and alias, on a real token. command.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
has() { grep -qE -- "$1" "$work/out" || { cat "$work/out"; fail "the output does not have: $1"; }; }
keynym() { "$keynym" "$@" >"$work/out" 2>&1 || { cat "$work/out"; fail "keynym $*"; }; }

"$root/softhsm_config/new-token.sh" "$work/token" commands
export SOFTHSM2_CONF=$work/token/softhsm2.conf
uri="pkcs11:token=commands;object=one"

keynym token list
has '^commands .*ready'
keynym token list --json
has '"token":[[:space:]]*"commands"'

# a token that is set up is not set up again
if "$root/softhsm_config/new-token.sh" "$work/token" commands >"$work/out" 2>&1; then fail "the token was set up again"; fi
has 'exists already'

# a PIN source that is relative to where the user is
cd "$work/token"
for algorithm in EC:P-256 EC:P-384 EC:P-521 RSA:2048 ED25519 ED448 X25519 X448; do
  keynym key generate --pin-source pin --algorithm $algorithm --json "pkcs11:token=commands;object=$algorithm"
  has '"custodyProved":[[:space:]]*true'
  has "\"algorithm\":[[:space:]]*\"$algorithm\""
done
keynym key generate --pin-source pin "$uri"
has '^algorithm EC:P-256$'
keynym key list --pin-source pin "pkcs11:token=commands"
[ "$(grep -c '^key ' "$work/out")" = 9 ] || fail "not nine keys"
keynym key generate --pin-source pin --algorithm RSA:2048 --usage sign,decrypt "pkcs11:token=commands;object=both"

# an alias: with the PIN source inside, usable from anywhere, and readable without the token
keynym alias create --pin-source pin --output "$work/one.pem" "$uri"
! "$keynym" alias create --pin-source pin --output "$work/one.pem" "$uri" >"$work/out" 2>&1 || fail "an alias file was replaced"
has 'one.pem: exists'
has 'next: choose another file'
cd /
[ "$(stat -c %a "$work/one.pem")" = 600 ] || fail "the alias file is open to others"
SOFTHSM2_CONF=/nonexistent keynym alias show "$work/one.pem"
has "pin-source=$work/token/pin"
has 'public key EC:P-256'
keynym key show "$work/one.pem"
has 'custody   proved'
has '^may +sign: yes, decrypt: no, unwrap: no, derive: no$'

# text, JSON and exit status agree on a key that was outside
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/outside.pem" 2>/dev/null
softhsm2-util --import "$work/outside.pem" --token commands --label outside --id aa --pin "$(cat "$work/token/pin")" \
  >/dev/null
for json in "" --json; do
  status=0
  "$keynym" key show $json --pin-source "$work/token/pin" "pkcs11:token=commands;object=outside" >"$work/out" 2>"$work/err" ||
    status=$?
  [ $status = 1 ] || { cat "$work/out" "$work/err"; fail "exit status $status for an imported key"; }
  has 'custody   NOT proved|"custodyProved":[[:space:]]*false'
  grep -q 'custody is not proved: .*CKA_LOCAL is no' "$work/err" || { cat "$work/err"; fail "the reason is not told"; }
done

# a key is removed with its public key, and only the one that is named; an alias of another one of that name removes nothing
gone="pkcs11:token=commands;object=gone"
keynym key generate --pin-source "$work/token/pin" "$gone"
keynym alias create --pin-source "$work/token/pin" --output "$work/gone.pem" "$gone"
keynym key delete --pin-source "$work/token/pin" --json "$gone"
has '"deleted":[[:space:]]*"pkcs11:'
! "$keynym" key show "$work/gone.pem" >"$work/out" 2>&1 || fail "a deleted key was shown"
has 'no private key on token'
! grep -q 'only a public key' "$work/out" || fail "the deleted key's public key stays"
! "$keynym" key delete "$work/gone.pem" >"$work/out" 2>&1 || fail "a key was deleted twice"
has 'no private key on token'
keynym key generate --pin-source "$work/token/pin" "$gone"
! "$keynym" key delete "$work/gone.pem" >"$work/out" 2>&1 || fail "another key was deleted"
keynym key show --pin-source "$work/token/pin" "$gone"
! "$keynym" key delete --pin-source "$work/token/pin" "pkcs11:token=commands" >"$work/out" 2>&1 || fail "one of many keys was deleted"
has 'matches'
keynym key delete --pin-source "$work/token/pin" "$gone"
keynym key list --pin-source "$work/token/pin" "pkcs11:token=commands"
[ "$(grep -c '^key ' "$work/out")" = 11 ] || { cat "$work/out"; fail "not eleven keys"; }

# a chain goes in and comes out
"$root/softhsm_config/new-pki.sh" "$work/pki"
openssl req -new -provider-path "$build/provider" -provider default -provider keynym -key "$work/one.pem" \
  -subj /CN=one -out "$work/one.csr"
"$root/softhsm_config/new-pki.sh" "$work/pki" "$work/one.csr" "$work/chain.pem"
keynym cert import --key "$uri?pin-source=$work/token/pin" "$work/chain.pem"
has '^3 certificates stored'
keynym cert import --key "$uri?pin-source=$work/token/pin" "$work/chain.pem"
"$keynym" cert show "$uri?pin-source=$work/token/pin" >"$work/out" # alone: other registered modules may write to stderr
diff <(grep -v '^ *$' "$work/chain.pem") "$work/out" || fail "another chain came out"

# a symmetric key goes in and does not come out
(umask 077; head -c 48 /dev/urandom | base64 -w 0 >"$work/sas.b64")
sas="pkcs11:token=commands;object=sas;type=secret-key?pin-source=$work/token/pin"
keynym key import-symmetric "$sas" "$work/sas.b64"
has '^algorithm HMAC$'
has 'CKA_EXTRACTABLE +no'
has 'NOT proved'
! grep -qF "$(cut -c 1-20 "$work/sas.b64")" "$work/out" || fail "the symmetric key was printed"
keynym key generate-symmetric --json "pkcs11:token=commands;object=made-sas?pin-source=$work/token/pin"
has '"custodyProved":[[:space:]]*true'
keynym key show "pkcs11:token=commands;object=made-sas;type=secret-key?pin-source=$work/token/pin"
has '^algorithm HMAC$'
! "$keynym" key show "$sas" >"$work/out" 2>&1 || fail "custody of an imported symmetric key was proved"
has '^algorithm HMAC$'
has 'custody is not proved: .*CKA_LOCAL is no'
keynym key list "$sas"
[ "$(grep -c '^key  *HMAC' "$work/out")" = 2 ] || { cat "$work/out"; fail "not two symmetric keys"; }

# what another PKCS#11 program would see is for the token to say; OpenSSL sees the named curve in the request
openssl req -in "$work/one.csr" -noout -text | grep -q 'ASN1 OID: prime256v1' || fail "the curve is not named"
openssl verify -CAfile "$work/pki/root.pem" -untrusted "$work/pki/intermediate.pem" "$work/chain.pem" >/dev/null ||
  fail "the chain does not verify"
echo "the commands do what they say"
