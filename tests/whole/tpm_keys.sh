#!/usr/bin/env bash
# Native keys of a TPM, from the command to TLS: swtpm, keynym, openssl with the provider. tpm_keys.sh ROOT BUILD
. "$(dirname "$0")/lib.sh" "$1" "$2"

start_tpm "$work/tpm"
use_tpm "$work/tpm"
export TSS2_LOG=all+NONE
provider=(-provider-path "$build/provider" -provider keynym -provider default)

# refused WORDS COMMAND...: fails, and says so
refused() {
  local words=$1
  shift
  ! "$@" >"$work/out" 2>&1 || fail "not refused: $*"
  grep -F -- "$words" "$work/out" >/dev/null || { cat "$work/out"; fail "\"$words\" is not said by: $*"; }
}

ec=tpm2:handle=0x81000200 rsa=tpm2:handle=0x81000201
"$keynym" key generate "$ec" >"$work/ec.txt"
grep -F 'custody   proved' "$work/ec.txt" >/dev/null || fail "custody of the new key is not proved"
"$keynym" key generate --algorithm RSA:2048 "$rsa" >/dev/null
"$keynym" key list --json tpm2: >"$work/list.json"
grep -F 81000200 "$work/list.json" >/dev/null && grep -F 81000201 "$work/list.json" >/dev/null || fail "the list lacks a key"
"$keynym" key show --json "$rsa" >"$work/show.json"
grep -E '"custodyProved":[[:space:]]*true' "$work/show.json" >/dev/null || fail "custody is not proved"

refused 'exists already' "$keynym" key generate "$ec"
refused 'nothing is at handle 0x81000999' "$keynym" key show tpm2:handle=0x81000999
refused 'no persistent handle' "$keynym" key show tpm2:handle=0x80000000
refused 'tpm2:handle=' "$keynym" key show tpm2:
refused 'no TPM answers' env KEYNYM_TCTI=swtpm:path=/nowhere "$keynym" key show "$ec"

# certified by an attestation key, and verified with openssl alone
tpm2_createek -Q -c 0x81010001 -G rsa # as docs/tpm-keys.md has it
tpm2_createak -Q -C 0x81010001 -c "$work/ak.ctx" -G ecc -s ecdsa -g sha256 >/dev/null
tpm2_flushcontext -l
tpm2_evictcontrol -Q -C o -c "$work/ak.ctx" 0x81000207
tpm2_flushcontext -t
"$keynym" key show --attestation-key tpm2:handle=0x81000207 --nonce c0ffee0123 "$ec" >"$work/out"
grep -F 'certified by tpm2:handle=0x81000207 (EC:P-256, SHA256)' "$work/out" >/dev/null && grep -E '^  nonce +c0ffee0123$' "$work/out" >/dev/null ||
  { cat "$work/out"; fail "the certification is not told"; }
"$keynym" key show --json --attestation-key tpm2:handle=0x81000207 --nonce c0ffee0123 "$ec" >"$work/certified.json"
of() { "$build/tests/whole_json" "certification.$1" <"$work/certified.json"; }
of attestationPublicKey | sed '/^$/d' >"$work/ak.pub"
for part in statement signature publicArea; do of $part | base64 -d >"$work/$part"; done
openssl dgst -sha256 -verify "$work/ak.pub" -signature "$work/signature" "$work/statement" >/dev/null || fail "the certification's signature"
name=000b$(openssl dgst -sha256 -r "$work/publicArea" | cut -d' ' -f1)
[ "$(of name)" = "$name" ] && od -An -v -tx1 "$work/statement" | tr -d ' \n' | grep "c0ffee0123.*$name" >/dev/null || fail "the statement lacks nonce or name"
tpm2_readpublic -Q -c 0x81000207 -f pem -o "$work/ak.tool"
cmp "$work/ak.pub" "$work/ak.tool" || fail "the attestation key's public part"
tpm2_readpublic -c 0x81000200 | grep -iF "name: $name" >/dev/null || fail "the name is not what tpm2-tools say"
refused 'attestation key' "$keynym" key show --attestation-key "$rsa" "$ec"
refused 'hexadecimal' "$keynym" key show --attestation-key tpm2:handle=0x81000207 --nonce xy "$ec"
refused '--nonce is for --attestation-key' "$keynym" key show --nonce 00 "$ec"
tpm2_evictcontrol -Q -C o -c 0x81000207
tpm2_evictcontrol -Q -C o -c 0x81010001

# the doctor: of a TPM, and not of slots and PINs
! "$keynym" doctor --key "$ec" --endpoint 127.0.0.1:1 >"$work/out" 2>&1 || fail "nobody answers, and the doctor is content"
for line in '^OK +TPM +IBM .* by swtpm:path=.*without a resource manager$' '^OK +lockout +0 of [0-9]+ tries' '^OK +slots +3 free for objects, 3 for sessions; 2 kept' \
  '^OK +algorithms +EC P-256, EC P-384, RSA 2048, RSA 3072$' '^OK +key +EC:P-256$' '^OK +six facts'; do
  grep -E "$line" "$work/out" >/dev/null || { cat "$work/out"; fail "the doctor does not say: $line"; }
done
! grep -E '(OK|FAIL|-) +(module|token|PIN source|login|slot) ' "$work/out" || fail "the doctor takes a TPM for a PKCS#11 token"
! "$keynym" doctor --tpm tpm2:srk-handle=0x81000200 --endpoint 127.0.0.1:1 >"$work/out" 2>&1
grep -E '^OK +endorsement key +nothing is at 0x81010001' "$work/out" >/dev/null && grep -E '^FAIL +storage root key another key is at 0x81000200: ECC' "$work/out" >/dev/null ||
  { cat "$work/out"; fail "the doctor on the keys of attestation"; }
[ "$(tpm2_getcap handles-persistent | wc -l)" = 2 ] || fail "the doctor changed the TPM"
! KEYNYM_TCTI=swtpm:path=/nowhere "$keynym" doctor --tpm tpm2: --endpoint 127.0.0.1:1 >"$work/out" 2>&1
grep -E '^FAIL +TPM +no TPM answers' "$work/out" >/dev/null || { cat "$work/out"; fail "the doctor without a TPM"; }

# removed for good, and nothing else with it; what others depend on is not
"$keynym" key generate tpm2:handle=0x81000209 >/dev/null
"$keynym" key delete tpm2:handle=0x81000209 >"$work/out"
grep -F 'deleted EC:P-256 tpm2:handle=0x81000209' "$work/out" >/dev/null || { cat "$work/out"; fail "the deletion is not told"; }
refused 'nothing is at handle 0x81000209' "$keynym" key delete tpm2:handle=0x81000209
tpm2_createprimary -Q -C o -c "$work/storage.ctx" && tpm2_evictcontrol -Q -C o -c "$work/storage.ctx" 0x81000208
tpm2_flushcontext -t
refused 'storage or attestation key' "$keynym" key delete tpm2:handle=0x81000208
tpm2_readpublic -Q -c 0x81000208 || fail "a storage key was deleted"
tpm2_evictcontrol -Q -C o -c 0x81000208
[ "$(tpm2_getcap handles-persistent | wc -l)" = 2 ] || fail "not the two keys are left"
"$keynym" key generate "tpm2:file=$work/stays.pem" >/dev/null
refused 'deleted with its file' "$keynym" key delete "tpm2:file=$work/stays.pem"
"$keynym" key show "tpm2:file=$work/stays.pem" >/dev/null

# certificates of their own, by URI and by alias file, and TLS on both sides
for kind in ec rsa; do
  "$keynym" alias create "${!kind}" --output "$work/$kind.pem"
  openssl req "${provider[@]}" -x509 -new -key "${!kind}" -subj /CN=localhost -addext subjectAltName=DNS:localhost -out "$work/$kind.crt" \
    2>"$work/err" || { cat "$work/err"; fail "openssl req with $kind"; }
  openssl verify -CAfile "$work/$kind.crt" "$work/$kind.crt" >/dev/null || fail "the certificate of $kind"
  printf 'signed in the TPM' >"$work/data"
  openssl dgst "${provider[@]}" -sha384 -sign "$work/$kind.pem" -out "$work/sig" "$work/data"
  openssl x509 -in "$work/$kind.crt" -pubkey -noout >"$work/pub"
  openssl dgst -sha384 -verify "$work/pub" -signature "$work/sig" "$work/data" >/dev/null || fail "a signature of $kind"
done

# a certificate authority whose key is in the TPM, at a handle and by its key file
"$keynym" ca root --key "$rsa" --subject "TPM root" --output "$work/root.crt" >/dev/null
"$keynym" ca request --key "$work/stays.pem" --subject device-02 --output "$work/device.csr" >/dev/null
"$keynym" ca sign --key "$rsa" --cert "$work/root.crt" --output "$work/device.crt" "$work/device.csr" >/dev/null
openssl verify -CAfile "$work/root.crt" "$work/device.crt" >/dev/null || fail "what the TPM's authority signed does not verify"
refused 'nothing is at handle 0x81000999' "$keynym" ca root --key tpm2:handle=0x81000999 --subject other --output "$work/other.crt"
[ ! -e "$work/other.crt" ] || fail "a certificate is left"

refused 'cannot do this' "$keynym" cert import --key "$ec" "$work/ec.crt"
for serves in ec rsa; do
  openssl s_server "${provider[@]}" -accept 127.0.0.1:0 -key "${!serves}" -cert "$work/$serves.crt" -CAfile <(cat "$work/ec.crt" "$work/rsa.crt") \
    -Verify 1 -verify_return_error -www -naccept 4 >"$work/server.out" 2>&1 </dev/null &
  server=$!
  wait_until 20 grep '^ACCEPT' "$work/server.out" || { cat "$work/server.out"; fail "openssl s_server with $serves"; }
  port=$(grep '^ACCEPT' "$work/server.out" | head -1 | sed 's/.*://')
  for version in tls1_2 tls1_3; do
    for asks in ec rsa; do
      openssl s_client "${provider[@]}" -connect "127.0.0.1:$port" -servername localhost -verify_hostname localhost -verify_return_error \
        -$version -key "$work/$asks.pem" -cert "$work/$asks.crt" -CAfile "$work/$serves.crt" </dev/null >"$work/client.out" 2>&1 ||
        { cat "$work/client.out" "$work/server.out"; fail "$version with $serves at the server and $asks at the client"; }
      grep -F 'Verify return code: 0 (ok)' "$work/client.out" >/dev/null || fail "$version $serves $asks: not verified"
    done
  done
  wait "$server" || { cat "$work/server.out"; fail "openssl s_server with $serves"; }
  server=""
done
[ "$(grep -c 'CN *= *localhost' "$work/server.out")" -ge 4 ] || { cat "$work/server.out"; fail "the server did not see the clients' certificates"; }
[ -z "$(tpm2_getcap handles-transient)$(tpm2_getcap handles-loaded-session)" ] || fail "something is left in the TPM"

# keys in files: ours, and what tpm2-tools encodes (emptyAuth FALSE, a parent at a handle)
"$keynym" key generate "tpm2:file=$work/own.pem" >"$work/own.txt"
grep -F 'custody   proved' "$work/own.txt" >/dev/null || fail "custody of the new key is not proved"
grep -F 'BEGIN TSS2 PRIVATE KEY' "$work/own.pem" >/dev/null && [ "$(stat -c %a "$work/own.pem")" = 600 ] || fail "the key file"
"$keynym" key generate --algorithm RSA:2048 "tpm2:file=$work/own-rsa.pem" >/dev/null
refused 'exists already' "$keynym" key generate "tpm2:file=$work/own.pem"
(
  cd "$work"
  tpm2_createprimary -Q -C o -G ecc -c primary.ctx
  tpm2_evictcontrol -Q -C o -c primary.ctx 0x81000001
  tpm2_flushcontext -t
  tpm2_create -Q -C 0x81000001 -G ecc256 -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|noda' -u tool.pub -r tool.priv
  tpm2_encodeobject -C 0x81000001 -u tool.pub -r tool.priv -o tool.pem
  tpm2_flushcontext -t
  tpm2_flushcontext -l # tpm2_encodeobject leaves its session
) || fail "tpm2-tools"
for file in own own-rsa tool; do
  openssl req "${provider[@]}" -x509 -new -key "$work/$file.pem" -subj /CN=localhost -addext subjectAltName=DNS:localhost -out "$work/$file.crt" \
    2>"$work/err" || { cat "$work/err"; fail "openssl req with $file.pem"; }
  openssl verify -CAfile "$work/$file.crt" "$work/$file.crt" >/dev/null || fail "the certificate of $file.pem"
done
"$keynym" alias create "tpm2:file=$work/own.pem" --output "$work/own.alias.pem"
openssl s_server "${provider[@]}" -accept 127.0.0.1:0 -key "$work/own.pem" -cert "$work/own.crt" -CAfile <(cat "$work/tool.crt" "$work/own-rsa.crt" "$work/own.crt") \
  -Verify 1 -verify_return_error -www -naccept 6 >"$work/server.out" 2>&1 </dev/null &
server=$!
wait_until 20 grep '^ACCEPT' "$work/server.out" || { cat "$work/server.out"; fail "openssl s_server with a key file"; }
port=$(grep '^ACCEPT' "$work/server.out" | head -1 | sed 's/.*://')
for version in tls1_2 tls1_3; do
  for asks in tool own-rsa own.alias; do
    openssl s_client "${provider[@]}" -connect "127.0.0.1:$port" -servername localhost -verify_hostname localhost -verify_return_error \
      -$version -key "$work/$asks.pem" -cert "$work/${asks%.alias}.crt" -CAfile "$work/own.crt" </dev/null >"$work/client.out" 2>&1 ||
      { cat "$work/client.out" "$work/server.out"; fail "$version with $asks.pem"; }
  done
done
wait "$server" || { cat "$work/server.out"; fail "openssl s_server with a key file"; }
server=""
sed 's/^M/N/' "$work/own.pem" >"$work/damaged.pem"
refused "the TPM's key file cannot be used" "$keynym" key show "tpm2:file=$work/damaged.pem"
refused 'No such file' "$keynym" key show "tpm2:file=$work/nowhere.pem"
[ -z "$(tpm2_getcap handles-transient)$(tpm2_getcap handles-loaded-session)" ] || fail "something is left in the TPM"

# decryption and key agreement
"$keynym" key generate --algorithm RSA:2048 --usage sign,decrypt tpm2:handle=0x81000203 >/dev/null
"$keynym" key generate --usage derive tpm2:handle=0x81000204 >/dev/null
openssl pkey "${provider[@]}" -in tpm2:handle=0x81000203 -pubout -out "$work/pub" 2>"$work/err" || { cat "$work/err"; fail "the public key"; }
for padding in rsa_padding_mode:pkcs1 rsa_padding_mode:oaep; do
  openssl pkeyutl -encrypt -pubin -inkey "$work/pub" -in "$work/data" -pkeyopt $padding -out "$work/sealed"
  openssl pkeyutl "${provider[@]}" -decrypt -inkey tpm2:handle=0x81000203 -in "$work/sealed" -pkeyopt $padding -out "$work/opened"
  cmp "$work/data" "$work/opened" || fail "decryption with $padding"
done
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/peer.pem"
openssl pkey -in "$work/peer.pem" -pubout -out "$work/peer.pub"
openssl pkey "${provider[@]}" -in tpm2:handle=0x81000204 -pubout -out "$work/own.pub"
openssl pkeyutl "${provider[@]}" -derive -inkey tpm2:handle=0x81000204 -peerkey "$work/peer.pub" -out "$work/one"
openssl pkeyutl -derive -inkey "$work/peer.pem" -peerkey "$work/own.pub" -out "$work/other"
cmp "$work/one" "$work/other" || fail "key agreement"
refused 'is not for' openssl dgst "${provider[@]}" -sha256 -sign tpm2:handle=0x81000204 -out "$work/sig" "$work/data"

# provisioning, and the hub, by URI and by alias file
"$root/softhsm_config/new-pki.sh" "$work/pki" >/dev/null 2>&1
"$dps" group create --dir "$work/dps" --id g --certificate "$work/pki/intermediate.pem" --hub localhost >/dev/null
start_dps "$work/dps"
printf '{"up":true}' >"$work/message"
for key in "$ec" "$work/ec.pem" "$rsa" "$work/rsa.pem" "$work/own.pem" "$work/own-rsa.pem"; do
  openssl req "${provider[@]}" -new -key "$key" -subj /CN=device-tpm -out "$work/device.csr"
  "$root/softhsm_config/new-pki.sh" "$work/pki" "$work/device.csr" "$work/chain.pem" >/dev/null 2>&1
  identity=(--ca "$work/dps/ca.pem" --key "$key" --cert "$work/chain.pem")
  "$keynym" provision --quiet --endpoint "localhost:$port" --id-scope "$scope" "${identity[@]}" --output "$work/hub.json" >"$work/out" 2>&1 ||
    { cat "$work/out"; fail "provisioning with $key"; }
  "$keynym" hub send --registration "$work/hub.json" --hub "localhost:$port" "${identity[@]}" "$work/message" >"$work/out" 2>&1 ||
    { cat "$work/out"; fail "the hub with $key"; }
done
kill "$server" && wait "$server" || true
server=""

# an authorization, and a wrong one
printf 'of its own' >"$work/pin"
chmod 600 "$work/pin"
"$keynym" key generate --pin-source "$work/pin" tpm2:handle=0x81000202 >/dev/null
refused 'has an authorization' openssl dgst "${provider[@]}" -sha256 -sign tpm2:handle=0x81000202 -out "$work/sig" "$work/data"
openssl dgst "${provider[@]}" -sha256 -sign "tpm2:handle=0x81000202;pin-source=$work/pin" -out "$work/sig" "$work/data"
printf 'another' >"$work/pin"
refused 'PIN is wrong' openssl dgst "${provider[@]}" -sha256 -sign "tpm2:handle=0x81000202;pin-source=$work/pin" -out "$work/sig" "$work/data"
! grep -F another "$work/out" >/dev/null || fail "the authorization is shown"
echo "native TPM keys: all good"
