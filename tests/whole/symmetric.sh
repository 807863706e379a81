#!/usr/bin/env bash
# A device with a symmetric key, from the enrollment to the hub: the key in a file, and in the token, where it stays.
# symmetric.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
"$root/softhsm_config/new-token.sh" "$work/token" sas
export SOFTHSM2_CONF=$work/token/softhsm2.conf
pin=$work/token/pin
umask 077
for device in in-token in-file wrong; do
  head -c 48 /dev/urandom | base64 -w 0 >"$work/$device.b64"
done
for device in in-token in-file; do
  "$dps" enrollment create --dir "$work/dps" --id $device --symmetric-key --primary-key-file "$work/$device.b64" \
    --hub hub.example.net >/dev/null
done
"$keynym" key import-symmetric --pin-source "$pin" "pkcs11:token=sas;object=in-token" "$work/in-token.b64" >/dev/null
rm "$work/in-token.b64" # from here on it is in the token only
cat >"$work/keynym.cnf" <<CNF
[keynym_hsm]
registration_id = in-token
symmetric_key = pkcs11:token=sas;object=in-token
pin_source = $pin
CNF
start_dps "$work/dps"
provision() { # CONFIG-LINE... : the rest of the section without a name
  timeout 60 "$keynym" provision --attestation symmetric-key --id-scope "$scope" --endpoint "localhost:$port" --ca "$work/dps/ca.pem" \
    >"$work/out" 2>&1 </dev/null
}
export KEYNYM_CONF=$work/keynym.cnf
provision || { cat "$work/out"; fail "the key in the token"; }
grep -q 'Device ID: in-token' "$work/out" || { cat "$work/out"; fail "another device"; }
printf '[keynym_hsm]\nregistration_id = in-file\nsymmetric_key = %s\n' "$work/in-file.b64" >"$work/keynym.cnf"
provision || { cat "$work/out"; fail "the key in a file"; }
grep -q 'Device ID: in-file' "$work/out" || { cat "$work/out"; fail "another device"; }
# the control: another key is refused
printf '[keynym_hsm]\nregistration_id = in-file\nsymmetric_key = %s\n' "$work/wrong.b64" >"$work/keynym.cnf"
if provision; then fail "a wrong key was accepted"; fi
grep -q 'not authorized' "$work/out" || { cat "$work/out"; fail "not refused as unauthorized"; }
# and a key that is not there
printf '[keynym_hsm]\nregistration_id = x\nsymmetric_key = pkcs11:token=sas;object=nobody\npin_source = %s\n' "$pin" >"$work/keynym.cnf"
if provision; then fail "a key that is not there"; fi
grep -q 'no key matches' "$work/out" || { cat "$work/out"; fail "no cause"; }
echo "symmetric keys provision from where they are"
