#!/usr/bin/env bash
# --json on every command there is: one JSON document after success, nothing after a failure (or the report that keynym(1)
# promises), and an exit status that is not 0. The commands are those of the help; one that is not here fails. json.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"

children() { "$keynym" "$@" --help | sed -n '/^Commands/,/^$/p' | awk 'NR > 1 && NF && $1 != "help" { print $1 }'; }
leaves() {
  local group child found
  children | while read -r group; do
    found=$(children "$group")
    [ -n "$found" ] || echo "$group"
    for child in $found; do echo "$group $child"; done
  done
}
is_document() { "$build/tests/whole_json" <"$1" >/dev/null; } # FILE: one JSON document and no more
declare -A seen # what was tried of a command: g, b
# run STATUS|any COMMAND... -- ARGUMENT...
run() {
  local name want=$1
  shift
  words=()
  while [ "$1" != -- ]; do words+=("$1"); shift; done
  shift
  name="${words[*]}"
  status=0
  timeout 60 "$keynym" "${words[@]}" --json "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  what="keynym $name --json $*"
  [ "$want" = any ] || [ $status = "$want" ] || { cat "$work/out" "$work/err"; fail "status $status instead of $want: $what"; }
}
one_document() { is_document "$work/out" || { cat "$work/out"; fail "not one JSON document: $what"; }; }
member() { # PATH VALUE
  [ "$("$build/tests/whole_json" "$1" <"$work/out")" = "$2" ] || { cat "$work/out"; fail "$1 is not '$2': $what"; }
}
# good COMMAND... -- ARGUMENT...: ends with 0 and one document
good() { run 0 "$@"; one_document; seen[${words[*]}]+=g; }
# bad STATUS COMMAND... -- ARGUMENT...: fails, and says nothing on standard output
bad() {
  run "$@"
  [ $status != 0 ] || fail "status 0: $what"
  [ ! -s "$work/out" ] || { cat "$work/out"; fail "printed after a failure: $what"; }
  grep -q '^keynym' "$work/err" || { cat "$work/err"; fail "nothing is said of the failure: $what"; }
  seen[${words[*]}]+=b
}
# reports STATUS COMMAND... -- ARGUMENT...: fails with a document
reports() { run "$@"; [ $status != 0 ] || fail "status 0: $what"; one_document; }

# ---- a token, a TPM, a public-key infrastructure, a service ----
"$root/softhsm_config/new-pki.sh" "$work/pki" >/dev/null 2>&1
mkdir "$work/token" "$work/token/tokens"
printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n' "$work/token/tokens" \
  >"$work/token/softhsm2.conf"
export SOFTHSM2_CONF=$work/token/softhsm2.conf
(umask 077; for name in pin so-pin; do head -c 8 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$work/token/$name"; done)
pin=(--pin-source "$work/token/pin")
start_tpm "$work/tpm"

# ---- token, key, alias, cert ----
bad 1 token init -- "${pin[@]}" --so-pin-source "$work/nothing" pkcs11:token=json
good token init -- "${pin[@]}" --so-pin-source "$work/token/so-pin" pkcs11:token=json
member state ready
bad any token init -- "${pin[@]}" --so-pin-source "$work/token/so-pin" pkcs11:token=json
good token list --
KEYNYM_TCTI=swtpm:path=$work/tpm/s good token list --
"$build/tests/whole_json" <"$work/out" 0.token 1.token 2.token 3.token | grep -qx TPM || { cat "$work/out"; fail "the TPM is not listed"; }
bad any token list -- --module "$work/nothing"
key="pkcs11:token=json;object=device"
good key generate -- "${pin[@]}" "$key"
member custodyProved true
bad any key generate -- "${pin[@]}" "$key"
good key generate-symmetric -- "${pin[@]}" "pkcs11:token=json;object=hmac"
bad any key generate-symmetric -- "${pin[@]}" "pkcs11:token=json;object=hmac"
(umask 077; head -c 32 /dev/urandom | base64 -w 0 >"$work/hmac")
good key import-symmetric -- "${pin[@]}" "pkcs11:token=json;object=imported" "$work/hmac"
bad any key import-symmetric -- "${pin[@]}" "pkcs11:token=json;object=second" "$work/nothing"
good key list -- "${pin[@]}" pkcs11:token=json
# a label that is no UTF-8: \xff, half a sequence
good key generate -- "${pin[@]}" "pkcs11:token=json;object=a%FFb%C3"
good key list -- "${pin[@]}" pkcs11:token=json
"$build/tests/whole_json" 0.label 1.label 2.label 3.label <"$work/out" | grep -qx $'a\xef\xbf\xbdb\xef\xbf\xbd' || fail "the label is not shown"
bad 3 key list -- "${pin[@]}" pkcs11:token=nothing
good key show -- "${pin[@]}" "$key"
bad 3 key show -- "${pin[@]}" "pkcs11:token=json;object=nothing"
reports 1 key show -- "${pin[@]}" "pkcs11:token=json;object=imported;type=secret-key"
good key generate -- "${pin[@]}" "pkcs11:token=json;object=gone"
good key delete -- "${pin[@]}" "pkcs11:token=json;object=gone"
member deleted "pkcs11:token=json;object=gone"
member algorithm EC:P-256
bad 3 key delete -- "${pin[@]}" "pkcs11:token=json;object=gone"
good key delete -- "${pin[@]}" "pkcs11:token=json;object=hmac;type=secret-key"
member algorithm HMAC
bad 3 key delete -- "${pin[@]}" "pkcs11:token=json;object=hmac;type=secret-key"
good key show -- "${pin[@]}" "$key"
good alias create -- "${pin[@]}" "$key"
member file ''
good alias create -- "${pin[@]}" --output "$work/device.pem" "$key"
member file "$work/device.pem"
[ "$("$build/tests/whole_json" pem <"$work/out")" = "$(cat "$work/device.pem")" ] || fail "pem is not what is in the file"
bad 1 alias create -- "${pin[@]}" --output "$work/device.pem" "$key"
bad 3 alias create -- "${pin[@]}" "pkcs11:token=json;object=nothing"
good alias show -- "$work/device.pem"
bad any alias show -- "$work/pki/root.pem"

# ---- ca ----
good key generate -- "${pin[@]}" "pkcs11:token=json;object=root"
root_key=(--key "pkcs11:token=json;object=root" "${pin[@]}")
good ca root -- "${root_key[@]}" --subject 'Test root' --output "$work/root.pem"
member 0.subject 'CN=Test root'
bad 1 ca root -- "${root_key[@]}" --subject 'Test root' --output "$work/root.pem"
good ca request -- --key "$work/device.pem" --subject device-01 --output "$work/device.csr"
member commonName device-01
bad 1 ca request -- --key "$work/device.pem" --subject device-01 --output "$work/device.csr"
good ca sign -- "${root_key[@]}" --cert "$work/root.pem" --output "$work/chain.pem" "$work/device.csr"
bad 2 ca sign -- "${root_key[@]}" --cert "$work/root.pem" --output "$work/other.pem" "$work/root.pem"
good ca proof -- "${root_key[@]}" --cert "$work/root.pem" --code 0123456789 --output "$work/proof.pem"
member 0.subject CN=0123456789
bad 1 ca proof -- "${root_key[@]}" --cert "$work/root.pem" --code 0123456789 --output "$work/proof.pem"
good ca show -- "$work/chain.pem"
member 1.subject 'CN=Test root'
bad 3 ca show -- "$work/nothing"
good cert import -- --key "$key" "${pin[@]}" "$work/chain.pem"
member 0.subject CN=device-01
bad 3 cert import -- --key "pkcs11:token=json;object=nothing" "${pin[@]}" "$work/chain.pem"
good cert show -- "${pin[@]}" "$key"
member 0.subject CN=device-01
"$build/tests/whole_json" 0.pem <"$work/out" | openssl x509 -noout -subject | grep -q device-01 || fail "pem is no certificate"
bad 3 cert show -- "${pin[@]}" "pkcs11:token=json;object=nothing"

# ---- hsm, tpm ----
identity=(--key "$work/device.pem" --cert "$work/chain.pem")
export KEYNYM_CONF=$work/none.cnf
: >"$work/none.cnf"
good hsm show -- "${identity[@]}"
member registrationId device-01
reports 1 hsm show -- --key "$work/device.pem" --cert "$work/nothing"
bad 2 hsm show -- "--key=pkcs11:token=json;object=device?pin-value=1"
good key generate -- "tpm2:handle=0x81000200;tcti=swtpm:path=$work/tpm/s"
member certification ''
bad 1 key show -- --attestation-key "tpm2:handle=0x81000200;tcti=swtpm:path=$work/tpm/s" "tpm2:handle=0x81000200;tcti=swtpm:path=$work/tpm/s"
bad 2 key show -- --nonce 00 "$key"
bad any key show -- "${pin[@]}" --attestation-key "tpm2:handle=0x81000200;tcti=swtpm:path=$work/tpm/s" "$key"
good tpm show -- --tpm "tpm2:tcti=swtpm:path=$work/tpm/s"
bad any tpm show -- --tpm "tpm2:tcti=swtpm:path=$work/tpm/nothing"

# ---- provision, doctor, hub ----
"$dps" group create --dir "$work/dps" --id fleet --certificate "$work/root.pem" --hub localhost >/dev/null
start_dps "$work/dps" --https-port 0
port=$("$build/tests/whole_json" mqtt.port <"$work/dps.json")
https=$("$build/tests/whole_json" https.port <"$work/dps.json")
net=(--ca "$work/dps/ca.pem")
good provision -- --endpoint "localhost:$port" --id-scope "$scope" "${net[@]}" "${identity[@]}" --output "$work/hub.json"
member status assigned
bad 2 provision -- "${net[@]}"
reports 4 provision -- --endpoint localhost:1 --id-scope "$scope" "${net[@]}" "${identity[@]}" --timeout 1
member error KN_PROV_E_UNREACHABLE
printf '[keynym_hsm]\nkey = %s\ncertificate = %s\n' "$work/device.pem" "$work/chain.pem" >"$work/keynym.cnf"
KEYNYM_CONF=$work/keynym.cnf good doctor -- --endpoint "localhost:$port" "${net[@]}"
member ok true
KEYNYM_CONF=$work/keynym.cnf reports 1 doctor -- --endpoint localhost:1 "${net[@]}" --timeout 1
member ok false
KEYNYM_TCTI=swtpm:path=$work/tpm/s reports 1 doctor -- --tpm tpm2: --endpoint localhost:1 --timeout 1
"$build/tests/whole_json" checks <"$work/out" | grep -q '"check":"lockout","status":"OK"' || { cat "$work/out"; fail "doctor says nothing of the TPM"; }
bad 2 doctor -- --timeout none
at=(--registration "$work/hub.json" --hub "localhost:$port" "${net[@]}" "${identity[@]}")
echo text >"$work/message"
good hub send -- "${at[@]}" "$work/message"
member accepted true
bad 3 hub send -- "${at[@]}" "$work/nothing"
good hub twin -- "${at[@]}"
bad 4 hub twin -- --hub localhost:1 --device-id device-01 "${net[@]}" "${identity[@]}" --timeout 1
"$dps" send --dir "$work/dps" --device device-01 --body hello >/dev/null
run 0 hub listen -- "${at[@]}" --events 1 --duration 60
[ "$(wc -l <"$work/out")" = 2 ] || { cat "$work/out"; fail "not two events: $what"; }
printf 'a\377\0b' >"$work/binary"
"$dps" send --dir "$work/dps" --device device-01 --file "$work/binary" >/dev/null
run 0 hub listen -- "${at[@]}" --events 1 --duration 60
tail -1 "$work/out" >"$work/line"
[ "$("$build/tests/whole_json" bodyBase64 body <"$work/line")" = "$(base64 <"$work/binary")" ] || { cat "$work/out"; fail "another body"; }
while read -r line; do
  echo "$line" >"$work/line"
  is_document "$work/line" || fail "a line is no JSON: $line"
done <"$work/out"
seen["hub listen"]+=g
bad 2 hub listen -- "${identity[@]}"

# ---- enroll ----
"$dps" connection-string --dir "$work/dps" --host "localhost:$https" --out "$work/connection"
service=(--connection "$work/connection" "${net[@]}")
good enroll create -- "${service[@]}" --symmetric-key dev-1
bad 1 enroll create -- "${service[@]}" --symmetric-key dev-1
good enroll get -- "${service[@]}" dev-1
bad 3 enroll get -- "${service[@]}" nobody
good enroll update -- "${service[@]}" --disabled dev-1
bad 3 enroll update -- "${service[@]}" --disabled nobody
good enroll list -- "${service[@]}"
bad 1 enroll list -- "${service[@]}" 'SELECT nonsense'
echo '[{"registrationId":"dev-2","attestation":{"type":"symmetricKey"}}]' >"$work/bulk.json"
good enroll bulk -- "${service[@]}" --mode create "$work/bulk.json"
reports 1 enroll bulk -- "${service[@]}" --mode create "$work/bulk.json"
bad 3 enroll bulk -- "${service[@]}" --mode create "$work/nothing"
good enroll keys -- "${service[@]}" --output "$work/keys" dev-1
member file "$work/keys"
bad 1 enroll keys -- "${service[@]}" --output "$work/keys" dev-1
good enroll device-key -- --symmetric-keys "$work/keys" --output "$work/device-key" sensor-7
! grep -qF -e "$(sed -n 1p "$work/keys")" -e "$(cat "$work/device-key")" "$work/out" || fail "a key was printed"
bad 1 enroll device-key -- --symmetric-keys "$work/keys" --output "$work/device-key" sensor-7
good enroll state -- "${service[@]}" device-01
member status assigned
bad 3 enroll state -- "${service[@]}" nobody
good enroll states -- "${service[@]}" fleet
member 0.registrationId device-01
bad 3 enroll states -- "${service[@]}" nobody
good enroll forget -- "${service[@]}" device-01
member state deleted
bad 3 enroll forget -- "${service[@]}" device-01
good enroll delete -- "${service[@]}" dev-1
member registrationId dev-1
bad 3 enroll delete -- "${service[@]}" dev-1

# ---- every command, and each of them ----
count=0
while read -r leaf; do
  count=$((count + 1))
  # shellcheck disable=SC2086 # the words of the command
  "$keynym" $leaf --help | grep -q '^  --json ' || fail "keynym $leaf has no --json"
  [[ ${seen[$leaf]:-} == *g* && ${seen[$leaf]:-} == *b* ]] || fail "keynym $leaf is not tried here, once good and once bad"
  read -ra parts <<<"$leaf"
  bad 2 "${parts[@]}" -- --no-such-option
done < <(leaves)
[ $count -gt 25 ] || fail "only $count commands found"
echo "$count commands speak JSON"
