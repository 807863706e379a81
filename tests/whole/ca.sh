#!/usr/bin/env bash
# keynym ca: a root, an intermediate and a device whose keys are in a token, and what is refused. ca.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
run() { # STATUS COMMAND...
  local want=$1 got=0
  shift
  timeout 120 "$@" >"$work/out" 2>"$work/err" </dev/null || got=$?
  [ $got = "$want" ] || { cat "$work/out" "$work/err"; fail "$name: status $got instead of $want"; }
  ! grep -qF "$(cat "$pin")" "$work/out" "$work/err" || fail "$name: the PIN was printed"
}
has() { cat "$work/out" "$work/err" | grep -E -- "$1" >/dev/null || { cat "$work/out" "$work/err"; fail "$name: the output does not have: $1"; }; }
refused() { # TEXT ARGUMENT...: status 2, and nothing is written
  local text=$1
  shift
  run 2 "$keynym" ca "$@" --pin-source "$pin" --output "$work/none.pem"
  has "$text"
  has 'next: '
  [ ! -e "$work/none.pem" ] || fail "$name: a file was written"
}
extension() { openssl x509 -in "$1" -noout -ext "$2" 2>/dev/null | tail -n 1 | sed 's/^ *//'; }

"$root/softhsm_config/new-token.sh" "$work/token" ca
export SOFTHSM2_CONF=$work/token/softhsm2.conf KEYNYM_CONF=/dev/null
pin=$work/token/pin
uri() { echo "pkcs11:token=ca;object=$1"; }
for key in root:EC:P-384 intermediate:EC:P-256 device:EC:P-256 rsa:RSA:2048; do
  "$keynym" key generate --algorithm "${key#*:}" --pin-source "$pin" "$(uri "${key%%:*}")" >/dev/null
done
ca() { "$keynym" ca "$@" --pin-source "$pin"; }

# ---- root, intermediate, device ----
name=root
run 0 "$keynym" ca root --key "$(uri root)" --pin-source "$pin" --subject "Factory root" --output "$work/root.pem"
has '^certificate 1 +CN=Factory root$'
has "SHA-256 +$(openssl x509 -in "$work/root.pem" -noout -fingerprint -sha256 | cut -d= -f2 | tr -d :)$"
[ "$(extension "$work/root.pem" basicConstraints)" = "CA:TRUE" ] || fail "the root is no authority"
openssl verify -CAfile "$work/root.pem" -check_ss_sig "$work/root.pem" >/dev/null || fail "the root does not verify"
name=intermediate
ca request --key "$(uri intermediate)" --subject "Factory line 1" --output "$work/intermediate.csr"
openssl req -in "$work/intermediate.csr" -verify -noout 2>/dev/null || fail "the request does not verify"
run 0 "$keynym" ca sign --profile intermediate --key "$(uri root)" --cert "$work/root.pem" --pin-source "$pin" --days 30 \
  --output "$work/intermediate.pem" "$work/intermediate.csr"
[ "$(extension "$work/intermediate.pem" basicConstraints)" = "CA:TRUE, pathlen:0" ] || fail "the intermediate is no authority for devices"
[ "$(grep -c BEGIN "$work/intermediate.pem")" = 2 ] || fail "not the whole chain"
name="device, through an alias"
"$keynym" alias create --pin-source "$pin" --output "$work/intermediate.alias" "$(uri intermediate)"
for device in device rsa; do
  ca request --key "$(uri $device)" --subject "$device-01" --output "$work/$device.csr"
  run 0 "$keynym" ca sign --key "$work/intermediate.alias" --cert "$work/intermediate.pem" --pin-source "$pin" --days 10 \
    --output "$work/$device.pem" --json "$work/$device.csr"
  "$build/tests/whole_json" <"$work/out" || fail "no JSON"
  [ "$(extension "$work/$device.pem" extendedKeyUsage)" = "TLS Web Client Authentication" ] || fail "$device: no TLS client"
  [ "$(grep -c BEGIN "$work/$device.pem")" = 3 ] || fail "$device: not the whole chain"
  openssl verify -x509_strict -purpose sslclient -CAfile "$work/root.pem" -untrusted "$work/intermediate.pem" "$work/$device.pem" >/dev/null ||
    fail "$device: the chain does not verify"
done
[ "$(openssl x509 -in "$work/device.pem" -noout -serial)" != "$(openssl x509 -in "$work/rsa.pem" -noout -serial)" ] || fail "the same serial number"

# ---- proof of possession, enrollment, registration ----
name="proof of possession"
"$dps" certificate add --dir "$work/dps" --id line-1 --certificate "$work/intermediate.pem" >/dev/null
code=$("$dps" certificate code --dir "$work/dps" --id line-1 | head -n 1)
ca proof --key "$(uri intermediate)" --cert "$work/intermediate.pem" --code "$code" --output "$work/proof.pem"
"$dps" certificate verify --dir "$work/dps" --id line-1 --certificate "$work/proof.pem" >/dev/null || fail "the proof is refused"
"$dps" group create --dir "$work/dps" --id fleet --ca-reference line-1 --hub hub.example.net >/dev/null
start_dps "$work/dps"
for device in device rsa; do
  run 0 "$keynym" provision --id-scope "$scope" --endpoint "localhost:$port" --ca "$work/dps/ca.pem" --key "$(uri $device)" \
    --cert "$work/$device.pem" --pin-source "$pin"
  has 'Device ID: '"$device-01"
done
name=show
run 0 "$keynym" ca show "$work/device.pem"
has '^certificate 3 +CN=Factory root$'
many() { for _ in $(seq "$1"); do cat "$work/root.pem"; done; }
name="show, as many as there may be"
many 16 >"$work/many.pem"
run 0 "$keynym" ca show "$work/many.pem"
has '^certificate 16 '
name="show, one too many"
many 17 >"$work/many.pem"
run 2 "$keynym" ca show "$work/many.pem"
has 'many.pem.*1 to 16 whole certificates'

# ---- what is refused ----
name="nothing is overwritten"
run 1 "$keynym" ca root --key "$(uri root)" --pin-source "$pin" --subject other --output "$work/root.pem"
has 'root.pem: exists'
sign=(sign --key "$(uri intermediate)" --cert "$work/intermediate.pem")
name="outlives its issuer" && refused 'would outlive it' "${sign[@]}" --days 400 "$work/device.csr"
name="another authority's certificate" && refused 'not that of the key' sign --key "$(uri intermediate)" --cert "$work/root.pem" "$work/device.csr"
name="a device is no authority" && refused 'may not sign' sign --key "$(uri device)" --cert "$work/device.pem" --days 1 "$work/rsa.csr"
name="no authority below" && refused 'no authority below' "${sign[@]}" --profile intermediate --days 1 "$work/intermediate.csr"
name="profile" && refused '--profile' "${sign[@]}" --profile server "$work/device.csr"
name="no request" && refused 'no certificate request' "${sign[@]}" "$work/root.pem"
name="damaged request"
openssl req -in "$work/device.csr" -outform DER -out "$work/der"
printf '\x00' | dd of="$work/der" bs=1 seek=$(($(stat -c %s "$work/der") - 3)) conv=notrunc 2>/dev/null
openssl req -inform DER -in "$work/der" -out "$work/damaged.csr" 2>/dev/null || cp "$work/root.pem" "$work/damaged.csr"
refused 'not signed with its own key|no certificate request' "${sign[@]}" --days 1 "$work/damaged.csr"
name="weak key"
openssl req -new -newkey rsa:1024 -nodes -keyout /dev/null -subj /CN=weak -out "$work/weak.csr" 2>/dev/null
refused 'too weak' "${sign[@]}" --days 1 "$work/weak.csr"
name="name of a device"
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj '/CN=two words' -out "$work/words.csr" 2>/dev/null
refused 'registration id' "${sign[@]}" --days 1 "$work/words.csr"
name="subject" && refused 'common name' root --key "$(uri root)" --subject "$(printf 'x%.0s' $(seq 70))"
name="key missing"
run 1 "$keynym" ca root --key "$(uri nobody)" --pin-source "$pin" --subject x --output "$work/none.pem"
has 'nobody'
name="PIN in the URI"
run 2 "$keynym" ca root --key "$(uri root)?pin-value=1234" --subject x --output "$work/none.pem"
has 'PIN'
name="wrong PIN"
(umask 077 && echo 000000 >"$work/wrong")
run 1 "$keynym" ca root --key "$(uri root)" --pin-source "$work/wrong" --subject x --output "$work/none.pem"
has 'PIN is wrong'
[ ! -e "$work/none.pem" ] || fail "a file was written"
echo "keynym ca does what it says"
