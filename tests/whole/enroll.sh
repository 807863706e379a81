#!/usr/bin/env bash
# keynym enroll against keynym-dps: every verb, each attestation, and what is refused. enroll.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
json() { "$build/tests/whole_json" "$@" <"$work/out"; }
is() { # PATH VALUE
  [ "$(json "$1")" = "$2" ] || { cat "$work/out"; fail "$name: $1 is '$(json "$1")', not '$2'"; }
}
has() { grep -qE -- "$1" "$work/out" || { cat "$work/out"; fail "$name: the output does not have: $1"; }; }
run() { # STATUS COMMAND...: standard output to out, the rest behind it
  local want=$1 got=0
  shift
  timeout 120 "$@" >"$work/out" 2>"$work/err" </dev/null || got=$?
  if [ $got != "$want" ]; then cat "$work/out" "$work/err"; fail "$name: status $got instead of $want"; fi
  ! grep -qF -- "$secret" "$work/out" "$work/err" || fail "$name: the service's key was printed"
}
refused() { # STATUS TEXT COMMAND...
  local want=$1 text=$2
  shift 2
  run "$want" "$@"
  cat "$work/err" >>"$work/out"
  has "$text"
  has 'next: '
}

"$root/softhsm_config/new-pki.sh" "$work/pki"
start_dps "$work/dps" --https-port 0
port=$("$build/tests/whole_json" mqtt.port <"$work/dps.json")
https=$("$build/tests/whole_json" https.port <"$work/dps.json")
"$dps" connection-string --dir "$work/dps" --host "localhost:$https" --out "$work/connection"
secret=$(sed 's/.*SharedAccessKey=//' "$work/connection")
run_enroll() { local want=$1 verb=$2; shift 2; run "$want" "$keynym" enroll "$verb" --connection "$work/connection" --ca "$work/dps/ca.pem" "$@"; }
refuse() { local want=$1 text=$2 verb=$3; shift 3; refused "$want" "$text" "$keynym" enroll "$verb" --connection "$work/connection" --ca "$work/dps/ca.pem" "$@"; }

# ---- X.509 ----
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/own.key" -out "$work/own.pem" -days 2 -subj /CN=dev-1 2>/dev/null
cat "$work/own.key" "$work/own.pem" >"$work/both.pem"
name="create, X.509"
run_enroll 0 create dev-1 --cert "$work/both.pem" --hub hub.example.net --device-id device-1 --json
is registrationId dev-1
is attestation.type x509
is iotHubHostName hub.example.net
is deviceId device-1
is provisioningStatus enabled
[ -n "$(json etag)" ] || fail "no ETag"
[ "$(json attestation.x509.clientCertificates.primary.info.sha1Thumbprint)" = \
  "$(openssl x509 -in "$work/own.pem" -noout -fingerprint -sha1 | cut -d= -f2 | tr -d :)" ] || fail "another thumbprint"
name="create, twice" && refuse 1 'keynym enroll update' create dev-1 --cert "$work/own.pem"
name="create, a group by its signing certificate"
run_enroll 0 create fleet --group --cert "$work/pki/intermediate.pem" --allocation static --hub hub.example.net --reprovision reset --json
is enrollmentGroupId fleet
is allocationPolicy static
is reprovisionPolicy.migrateDeviceData false
name="create, twin and edge"
echo '{"tags":{"site":"north"},"properties":{"desired":{"speed":3}}}' >"$work/twin.json"
run_enroll 0 create dev-2 --symmetric-key --twin "$work/twin.json" --iot-edge --disabled --json
is initialTwin.tags.site north
is capabilities.iotEdge true
is provisioningStatus disabled
name="create, TPM"
{
  printf '\x01\x3a\x00\x01\x00\x0b\x00\x03\x00\xb2\x00\x20' # TPM2B_PUBLIC of an RSA key: attributes, policy
  printf '\x83\x71\x97\x67\x44\x84\xb3\xf8\x1a\x90\xcc\x8d\x46\xa5\xd7\x24\xfd\x52\xd7\x6e\x06\x52\x0b\x64\xf2\xa1\xda\x1b\x33\x14\x69\xaa'
  printf '\x00\x06\x00\x80\x00\x43\x00\x10\x08\x00\x00\x00\x00\x00\x01\x00' # AES-128-CFB, no scheme, 2048 bits
  printf '\xc1' && head -c 254 /dev/urandom && printf '\x01'
} | base64 -w 0 >"$work/ek"
run_enroll 0 create dev-3 --endorsement-key "$work/ek" --json
is attestation.type tpm
is attestation.tpm.endorsementKey "$(cat "$work/ek")"
name="create, a definition"
echo '{"registrationId":"dev-4","attestation":{"type":"symmetricKey"},"provisioningStatus":"disabled"}' >"$work/dev-4.json"
run_enroll 0 create dev-4 --definition "$work/dev-4.json" --enabled --json
is provisioningStatus enabled

# ---- get, update, ETags ----
name=get
run_enroll 0 get dev-1
has '^dev-1 +x509 +enabled +hub.example.net'
run_enroll 0 get fleet --group --json
is attestation.type x509
name=update
run_enroll 0 get dev-1 --json
etag=$(json etag)
run_enroll 0 update dev-1 --disabled --hub other.example.net --json
is provisioningStatus disabled
is iotHubHostName other.example.net
is deviceId device-1
[ "$(json etag)" != "$etag" ] || fail "the ETag is the old one"
[ "$(json attestation.x509.clientCertificates.primary.info.sha1Thumbprint)" = \
  "$(openssl x509 -in "$work/own.pem" -noout -fingerprint -sha1 | cut -d= -f2 | tr -d :)" ] || fail "the certificate was lost"
name="update, old ETag" && refuse 1 'get it again' update dev-1 --enabled --etag "$etag"
name="delete, old ETag" && refuse 1 'get it again' delete dev-1 --etag "$etag"
name="get, nobody" && refuse 3 'keynym enroll list' get nobody
name="update, nobody" && refuse 3 'keynym enroll list' update nobody --enabled

# ---- list, bulk ----
name=bulk
for i in $(seq 23); do printf '%s{"registrationId":"bulk-%s","attestation":{"type":"symmetricKey"}}' "$([ "$i" = 1 ] || echo ,)" "$i"; done |
  sed 's/^/[/; s/$/]/' >"$work/bulk.json"
run_enroll 0 bulk --mode create "$work/bulk.json" --json
is total 23
is sent 23
is errors '[]'
name="bulk, some refused"
run_enroll 1 bulk --mode create "$work/bulk.json"
has '^0 of 23 done'
grep -q 'bulk-23: error code 409201' "$work/err" || { cat "$work/err"; fail "$name: not named"; }
name=list
run_enroll 0 list
[ "$(wc -l <"$work/out")" = 27 ] || { cat "$work/out"; fail "$name: not 27 lines"; }
run_enroll 0 list "SELECT * FROM enrollments WHERE provisioningStatus = 'disabled'" --json
is 0.registrationId dev-1
is 1.registrationId dev-2
is 2 ''
run_enroll 0 list --group
has '^fleet '
name="list, a query that is none" && refuse 1 'status 400' list 'SELECT nonsense'
name="bulk delete"
run_enroll 0 bulk --mode delete "$work/bulk.json" --quiet
run_enroll 0 list
[ "$(wc -l <"$work/out")" = 4 ] || { cat "$work/out"; fail "$name: not 4 lines"; }

# ---- keys: into files ----
name=keys
run_enroll 0 keys dev-2 --output "$work/dev-2.keys"
[ "$(stat -c %a "$work/dev-2.keys")" = 600 ] || fail "others can read the keys"
[ "$(sed -n 1p "$work/dev-2.keys")" = "$("$dps" enrollment key --dir "$work/dps" --id dev-2)" ] || fail "another key"
[ ! -s "$work/out" ] || fail "$name: something was printed"
name="keys, X.509"
run_enroll 1 keys dev-1 --output "$work/none"
grep -q 'not a symmetric key' "$work/err" || fail "$name: not said"
run_enroll 0 create sensors --group --symmetric-keys "$work/dev-2.keys"
"$keynym" enroll device-key --symmetric-keys "$work/dev-2.keys" --output "$work/sensor-7.key" sensor-7
[ "$(cat "$work/sensor-7.key")" = "$("$dps" group key --dir "$work/dps" --id sensors --device sensor-7)" ] || fail "another derived key"
[ "$(stat -c %a "$work/sensor-7.key")" = 600 ] || fail "others can read the device's key"

# a file that exists is not overwritten, nor is the service asked for keys
name="keys, file exists"
echo precious >"$work/precious"
refuse 1 'precious: exists' keys dev-2 --output "$work/precious"
refused 1 'precious: exists' "$keynym" enroll device-key --symmetric-keys "$work/dev-2.keys" --output "$work/precious" sensor-7
(umask 077 && sed "s/localhost:$https/localhost:1/" "$work/connection" >"$work/nobody")
refused 1 'precious: exists' "$keynym" enroll keys --connection "$work/nobody" --output "$work/precious" dev-2
ln -s nowhere "$work/dangling"
refuse 1 'dangling: exists' keys dev-2 --output "$work/dangling"
[ "$(cat "$work/precious")" = precious ] && [ ! -e "$work/nowhere" ] || fail "$name: it was written to"

# ---- registrations ----
name=registrations
printf '[keynym_hsm]\nregistration_id = sensor-7\nsymmetric_key = %s\n' "$work/sensor-7.key" >"$work/keynym.cnf"
KEYNYM_CONF=$work/keynym.cnf "$keynym" provision --attestation symmetric-key --id-scope "$scope" --endpoint "localhost:$port" --ca "$work/dps/ca.pem" --quiet
run_enroll 0 state sensor-7 --json
is status assigned
run_enroll 0 states sensors
has '^sensor-7 +assigned'
run_enroll 0 forget sensor-7
name="state, forgotten" && refuse 3 'status 404' state sensor-7
name=delete
run_enroll 0 delete dev-1
run_enroll 0 delete fleet --group
name="get, deleted" && refuse 3 'status 404' get dev-1

# ---- what is refused before anything is sent ----
name="connection string open to others"
cp "$work/connection" "$work/open" && chmod 644 "$work/open"
refused 1 'chmod 600' "$keynym" enroll list --connection "$work/open"
name="connection string behind a link" && ln -s connection "$work/link"
refused 1 'symbolic link' "$keynym" enroll list --connection "$work/link"
name="connection string in a folder or a pipe" && mkfifo -m 600 "$work/fifo"
refused 1 'not a regular file' "$keynym" enroll list --connection "$work"
refused 1 'not a regular file' "$keynym" enroll list --connection "$work/fifo"
name="connection string missing" && refused 3 'No such file' "$keynym" enroll list --connection "$work/none"
bad() { (umask 077 && printf '%s\n' "$2" >"$work/bad"); name="connection string: $1"; refused 2 "$3" "$keynym" enroll list --connection "$work/bad"; }
bad "empty" "" 'HostName='
bad "no key" 'HostName=a;SharedAccessKeyName=b' 'HostName='
bad "no base64" 'HostName=a;SharedAccessKeyName=b;SharedAccessKey=!!' 'not base64'
bad "twice" 'HostName=a;HostName=b;SharedAccessKeyName=b;SharedAccessKey=AAAA' 'HostName='
bad "host" 'HostName=https://a/;SharedAccessKeyName=b;SharedAccessKey=AAAA' 'endpoint'
name="another key"
(umask 077 && printf 'HostName=localhost:%s;SharedAccessKeyName=provisioningserviceowner;SharedAccessKey=%s\n' "$https" \
  "$(head -c 32 /dev/urandom | base64 -w 0)" >"$work/wrong")
refused 1 'check the connection string' "$keynym" enroll list --connection "$work/wrong" --ca "$work/dps/ca.pem"
name="unknown CA" && refused 1 'certificate' "$keynym" enroll list --connection "$work/connection" --ca "$work/pki/root.pem"
name="id" && refuse 2 '1 to 128' get 'a/b'
name="no attestation" && refuse 2 '--cert' create dev-9
name="two attestations" && refuse 2 'exclude each other' create dev-9 --symmetric-key --cert "$work/own.pem"
name="TPM of a group" && refuse 2 'not of a group' create g --group --endorsement-key "$work/ek"
name="no certificate" && refuse 2 'holds no certificate' create dev-9 --cert "$work/own.key"
name="policy" && refuse 2 '--allocation' create dev-9 --symmetric-key --allocation nearest
name="definition of another" && refuse 2 'is not dev-9' create dev-9 --definition "$work/dev-4.json"
echo '{"a":' >"$work/broken.json"
name="definition, broken" && refuse 2 'broken.json' create dev-9 --definition "$work/broken.json"
name="bulk, broken" && refuse 2 'broken.json' bulk --mode create "$work/broken.json"
name="bulk, empty" && { echo '[]' >"$work/empty.json"; refuse 2 'no enrollments' bulk --mode create "$work/empty.json"; }
name="bulk, mode" && refuse 1 'status 400' bulk --mode replace "$work/bulk.json"
name="nobody listens"
(umask 077 && sed "s/localhost:$https/localhost:1/" "$work/connection" >"$work/nowhere")
refused 4 'cannot be reached' "$keynym" enroll list --connection "$work/nowhere"

# ---- throttled: asked again ----
name="throttled"
"$dps" fault add --dir "$work/dps" --kind throttle --step service --retry-after 1 --count 2 >/dev/null
run_enroll 0 list
"$dps" fault clear --dir "$work/dps" >/dev/null
"$dps" fault add --dir "$work/dps" --kind throttle --step service --retry-after 200 >/dev/null
name="throttled for longer" && refuse 4 'status 429' list --timeout 5
"$dps" fault clear --dir "$work/dps" >/dev/null
# ---- a write that may have been done is not sent again; a question is ----
name="5xx"
"$dps" fault add --dir "$work/dps" --kind error --step service --status 503 --retry-after 1 --count 1 >/dev/null
refuse 4 'status 503' create once --symmetric-key --timeout 20
run_enroll 0 create once --symmetric-key
"$dps" fault clear --dir "$work/dps" >/dev/null
"$dps" fault add --dir "$work/dps" --kind error --step service --status 503 --retry-after 1 --count 1 >/dev/null
run_enroll 0 get once
"$dps" fault clear --dir "$work/dps" >/dev/null
name="pages"
for i in $(seq 130); do printf '%s{"registrationId":"page-%s","attestation":{"type":"symmetricKey"}}' "$([ "$i" = 1 ] || echo ,)" "$i"; done |
  sed 's/^/[/; s/$/]/' >"$work/pages.json"
run_enroll 0 bulk --mode create "$work/pages.json" --quiet
run_enroll 0 list
[ "$(grep -c '^page-' "$work/out")" = 130 ] || fail "$name: not all 130"
echo "keynym enroll does what it says"
