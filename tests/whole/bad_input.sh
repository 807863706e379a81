#!/usr/bin/env bash
# Bad input, each with a message that names what failed and the next step, and an exit status that is not 0; nothing is
# left half done. bad_input.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"

cases=0
refused() { # NAME "TEXT|TEXT..." COMMAND...: must fail, and say each of the texts
  local name=$1 texts=$2 status=0 text
  shift 2
  cases=$((cases + 1))
  "$@" </dev/null >"$work/out" 2>&1 || status=$?
  [ $status != 0 ] || { cat "$work/out"; fail "$name: exit status 0"; }
  [ $status -lt 124 ] || { cat "$work/out"; fail "$name: exit status $status (crash or time-out)"; }
  while [ -n "$texts" ]; do
    text=${texts%%|*}
    grep -qF -- "$text" "$work/out" || { cat "$work/out"; fail "$name: the message does not say: $text"; }
    [ "$text" = "$texts" ] && texts="" || texts=${texts#*|}
  done
  ! grep -qF -- "$(cat "$work/token/pin")" "$work/out" || fail "$name: the message has the PIN"
}

"$root/softhsm_config/new-token.sh" "$work/token" bad-input
export SOFTHSM2_CONF=$work/token/softhsm2.conf
pin=$work/token/pin
uri() { echo "pkcs11:token=bad-input;object=$1?pin-source=$pin"; }
"$root/softhsm_config/new-pki.sh" "$work/pki"
for device in device-01 device-02; do
  "$keynym" key generate "$(uri $device)" >/dev/null
  "$keynym" alias create --output "$work/$device.pem" "$(uri $device)"
  openssl req -new -provider-path "$build/provider" -provider keynym -provider default \
    -key "$work/$device.pem" -subj "/CN=$device" -out "$work/$device.csr"
  "$root/softhsm_config/new-pki.sh" "$work/pki" "$work/$device.csr" "$work/$device.chain.pem"
done
"$keynym" cert import --key "$(uri device-01)" "$work/device-01.chain.pem" >/dev/null
"$dps" group create --dir "$work/dps" --id fleet --certificate "$work/pki/intermediate.pem" \
  --hub hub.example.net >/dev/null
start_dps "$work/dps"
provision() { # [option...]: with what the server needs, unless an option says otherwise
  local given=" $* " all=("$@")
  [[ $given == *" --id-scope "* ]] || all+=(--id-scope "$scope")
  [[ $given == *" --endpoint "* ]] || all+=(--endpoint "localhost:$port")
  [[ $given == *" --ca "* ]] || all+=(--ca "$work/dps/ca.pem")
  timeout 60 "$keynym" provision "${all[@]}"
}
prov() { local name=$1 texts=$2; shift 2; refused "$name" "$texts" provision "$@"; }

# it works when nothing is wrong, so that what fails below fails for its own reason
provision --key "$(uri device-01)" >"$work/out" 2>&1 || { cat "$work/out"; fail "the control registration"; }

# token and key
(umask 077; echo "not the PIN" >"$work/wrong-pin")
refused "wrong PIN" "the PIN is wrong|bad-input|CKR_PIN_INCORRECT|next" \
  "$keynym" key show "pkcs11:token=bad-input;object=device-01?pin-source=$work/wrong-pin"
prov "wrong PIN while provisioning" "the PIN is wrong|next" \
  --key "pkcs11:token=bad-input;object=device-01?pin-source=$work/wrong-pin"
chmod 644 "$work/wrong-pin"
refused "PIN file open to others" "mode 0644|chmod 600" \
  "$keynym" key show "pkcs11:token=bad-input;object=device-01?pin-source=$work/wrong-pin"
refused "no PIN" "wants a PIN|pin-source" "$keynym" key show "pkcs11:token=bad-input;object=device-01"
refused "PIN on the command line" "holds a PIN|mode 0600" \
  "$keynym" key show "pkcs11:token=bad-input;object=device-01?pin-value=0000"
refused "no such token" "no token matches|token=nowhere|'bad-input'|next" "$keynym" key show "pkcs11:token=nowhere;object=device-01"
prov "no such token while provisioning" "no token matches|next" --key "pkcs11:token=nowhere;object=device-01"
refused "no such key" "no key matches|device-99|next" "$keynym" key show "$(uri device-99)"
prov "no such key while provisioning" "no key matches|device-99" --key "$(uri device-99)" --cert "$work/device-01.chain.pem"
refused "two keys match" "more than one|device-01|device-02|id=" "$keynym" key show "pkcs11:token=bad-input?pin-source=$pin"
refused "key exists" "exists already" "$keynym" key generate "$(uri device-01)"
refused "missing module" "cannot be loaded|/nowhere/module.so|next" \
  "$keynym" token list --module /nowhere/module.so
refused "not a module" "cannot be loaded" "$keynym" token list --module "$(command -v true)"
refused "misspelt attribute" "'obj'|spelling" "$keynym" key show "pkcs11:token=bad-input;obj=device-01?pin-source=$pin"
refused "unknown usage" "usage 'encrypt'|RSA:2048|sign decrypt" "$keynym" key generate --algorithm RSA:2048 --usage encrypt "$(uri device-03)"
refused "usage of another kind of key" "usage 'sign,decrypt'|EC:P-256|sign derive" "$keynym" key generate --usage sign,decrypt "$(uri device-03)"
refused "unknown algorithm" "EC:P-999|EC:P-256" "$keynym" key generate --algorithm EC:P-999 "$(uri device-03)"

# symmetric keys
(umask 077; head -c 48 /dev/urandom | base64 -w 0 >"$work/sas.b64"; echo "not base64!" >"$work/bad.b64"; head -c 3 /dev/urandom | base64 >"$work/short.b64")
cp "$work/sas.b64" "$work/open.b64"; chmod 644 "$work/open.b64"
"$keynym" key import-symmetric "$(uri sas)" "$work/sas.b64" >/dev/null
refused "symmetric key exists" "exists already" "$keynym" key import-symmetric "$(uri sas)" "$work/sas.b64"
refused "symmetric key open to others" "open.b64|mode 0644|chmod 600" "$keynym" key import-symmetric "$(uri sas-2)" "$work/open.b64"
refused "symmetric key not base64" "bad.b64|not base64" "$keynym" key import-symmetric "$(uri sas-2)" "$work/bad.b64"
refused "symmetric key too short" "short.b64|16 to 64 bytes" "$keynym" key import-symmetric "$(uri sas-2)" "$work/short.b64"
refused "no symmetric key file" "nowhere.b64|No such file" "$keynym" key import-symmetric "$(uri sas-2)" "$work/nowhere.b64"
refused "no symmetric key" "no key matches|sas-2" "$keynym" key show "pkcs11:token=bad-input;object=sas-2;type=secret-key?pin-source=$pin"

# alias files
sed 's/^MI/!!/' "$work/device-01.pem" >"$work/damaged.pem"
refused "malformed alias PEM" "malformed|damaged.pem|next" "$keynym" key show "$work/damaged.pem"
head -n 3 "$work/device-01.pem" >"$work/cut.pem"
refused "truncated alias PEM" "malformed|cut.pem" "$keynym" key show "$work/cut.pem"
refused "malformed alias PEM in openssl" "keynym|malformed" openssl pkey -provider-path "$build/provider" \
  -provider keynym -provider default -in "$work/damaged.pem" -noout
refused "no alias file" "nowhere.pem|No such file" "$keynym" key show "$work/nowhere.pem"

# certificates
refused "certificate file without one" "device-01.csr|whole certificates in PEM|next" "$keynym" cert import --key "$(uri device-01)" "$work/device-01.csr"
awk '/BEGIN/ { n++ } n == 2 && /^MI/ { sub("MI", "!!") } { print }' "$work/device-01.chain.pem" >"$work/half.pem"
refused "chain damaged behind its first" "half.pem|whole certificates in PEM" "$keynym" cert import --key "$(uri device-01)" "$work/half.pem"
refused "chain of another key stored" "does not match" "$keynym" cert import --key "$(uri device-02)" "$work/device-01.chain.pem"
prov "chain that does not match the key" "does not match|next" --key "$(uri device-02)" --cert "$work/device-01.chain.pem"
prov "no certificate" "no certificate matches|cert import" --key "$(uri device-02)"
prov "no certificate file" "nowhere.pem" --key "$(uri device-01)" --cert "$work/nowhere.pem"

# the service
closed=$(awk 'BEGIN { srand(); print 20000 + int(rand() * 10000) }')
prov "DPS unreachable" "refused|next" --key "$(uri device-01)" --endpoint "127.0.0.1:$closed"
prov "server certificate of an unknown CA" "certificate|next" --key "$(uri device-01)" --ca "$work/pki/root.pem"
prov "no CA file" "nowhere.pem" --key "$(uri device-01)" --ca "$work/nowhere.pem"
prov "wrong id scope" "401|next" --key "$(uri device-01)" --id-scope 0ne00000000
prov "unknown transport" "mqtt" --key "$(uri device-01)" --transport pigeon

# a device that is not enrolled: its certificate is of another CA
"$root/softhsm_config/new-pki.sh" "$work/stranger"
"$root/softhsm_config/new-pki.sh" "$work/stranger" "$work/device-02.csr" "$work/stranger.chain.pem"
prov "device not enrolled" "401002|CA certificate not found|next" --key "$(uri device-02)" --cert "$work/stranger.chain.pem"
"$dps" group disable --dir "$work/dps" --id fleet >/dev/null
prov "group disabled" "next" --key "$(uri device-01)"
"$dps" group enable --dir "$work/dps" --id fleet >/dev/null

# the result file is not touched by a failure
echo old >"$work/result.json"
prov "no such key, with --output" "no key matches" --key "$(uri device-99)" --cert "$work/device-01.chain.pem" --output "$work/result.json"
[ "$(cat "$work/result.json")" = old ] || fail "a failure has changed the result file"

# the command line
refused "unknown command" "provison|next" "$keynym" provison
refused "unknown option" "--pni|next" "$keynym" key show --pni x y
refused "no operand" "next" "$keynym" key show

# a service whose certificate has another name
kill "$server" && wait "$server" || fail "keynym-dps did not end well"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$work/other.key" -out "$work/other.pem" \
  -subj "/CN=other.example.net" -addext "subjectAltName = DNS:other.example.net" -days 2 2>/dev/null
start_dps "$work/dps" --cert "$work/other.pem" --key "$work/other.key"
prov "wrong host name" "name|next" --key "$(uri device-01)" --ca "$work/other.pem"
kill "$server" && wait "$server" || fail "keynym-dps did not end well"
start_dps "$work/dps"

# and it still works
provision --key "$(uri device-01)" --output "$work/result.json" >"$work/out" 2>&1 || { cat "$work/out"; fail "the last control registration"; }
grep -qF hub.example.net "$work/result.json" || fail "the result is not in the file"
kill -0 "$server" || fail "keynym-dps died"
echo "$cases of $cases refused with a message that says why"
