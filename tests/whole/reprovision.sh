#!/usr/bin/env bash
# keynym hub when the hub refuses the device: it registers again, and the registration file is the new one or the old one.
# reprovision.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
has() { grep -qE -- "$1" "$work/out" || { cat "$work/out"; fail "the output does not have: $1"; }; }
keynym() { "$keynym" "$@" >"$work/out" 2>&1 || { cat "$work/out"; fail "keynym $*"; }; }
refused() { # STATUS PATTERN ARGUMENT...
  local status=0 wanted=$1 pattern=$2
  shift 2
  "$keynym" "$@" >"$work/out" 2>&1 || status=$?
  [ $status = "$wanted" ] || { cat "$work/out"; fail "exit status $status instead of $wanted: keynym $*"; }
  has "$pattern"
}
of() { "$build/tests/whole_json" "$1" <"$work/hub.json"; }
start() { # OPTION...
  rm -f "$work/dps.json" # what an earlier one printed
  "$dps" serve --dir "$work/dps" --retry-after 1 "$@" >"$work/dps.json" 2>>"$work/dps.log" &
  server=$!
  wait_until 20 test -s "$work/dps.json" || { cat "$work/dps.log"; fail "keynym-dps did not start"; }
  mqtt=$("$build/tests/whole_json" mqtt.port <"$work/dps.json")
  https=$("$build/tests/whole_json" https.port <"$work/dps.json")
  scope=$("$build/tests/whole_json" idScope <"$work/dps.json")
}

new_device again
start --mqtt-port 0 --https-port 0
"$dps" connection-string --dir "$work/dps" --host "localhost:$https" --out "$work/connection" >/dev/null
forget() { "$keynym" enroll forget --connection "$work/connection" --ca "$work/dps/ca.pem" device-01 >/dev/null; }
at=(--registration "$work/hub.json" --hub "localhost:$mqtt" "${identity[@]}")
echo '{"up":true}' >"$work/message"

echo '{"why":"first"}' >"$work/payload"
keynym provision --endpoint "localhost:$mqtt" --id-scope "$scope" "${identity[@]}" --payload "$work/payload" --output "$work/hub.json"
[ "$(of provisioning.idScope) $(of provisioning.endpoint) $(of provisioning.transport) $(of provisioning.attestation) $(of provisioning.payload.why)" = \
  "$scope localhost:$mqtt mqtt x509 first" ] || { cat "$work/hub.json"; fail "the file does not say how it was registered"; }
keynym hub send "${at[@]}" "$work/message"
cp "$work/hub.json" "$work/first.json"

# refused, with what to do; nothing is changed
forget
refused 1 'the hub: .*accept' hub send --no-reprovision "${at[@]}" "$work/message"
has 'next: register again: keynym provision, or without --no-reprovision'
echo '{"assignedHub":"localhost","deviceId":"device-01"}' >"$work/old.json"
cp "$work/old.json" "$work/old.kept"
refused 1 'next: register again: keynym provision --output FILE, .*--id-scope' hub send --registration "$work/old.json" \
  --hub "localhost:$mqtt" "${identity[@]}" "$work/message"
cmp "$work/old.json" "$work/old.kept"
cmp "$work/hub.json" "$work/first.json"

# registers again, and the file is replaced
keynym hub send "${at[@]}" "$work/message"
has '^keynym: the hub refused the device, which registered again: localhost as device-01$'
has '^accepted by the hub: 12 bytes$'
[ "$(of assignedHub) $(of deviceId) $(of provisioning.idScope) $(of provisioning.payload.why)" = "localhost device-01 $scope first" ] ||
  { cat "$work/hub.json"; fail "the new registration"; }
[ "$(stat -c %a "$work/hub.json")" = 600 ] || fail "the mode of the new file"
[ "$(stat -c %i "$work/hub.json")" != "$(stat -c %i "$work/first.json")" ] || fail "the file was not replaced"
"$dps" registrations --dir "$work/dps" >"$work/out"
has 'device-01'
keynym hub send "${at[@]}" --quiet "$work/message"
! grep -E '^(keynym|accepted)' "$work/out" || { cat "$work/out"; fail "something is said although nothing happened"; }

# an old file, and the options in its place
forget
keynym hub send --registration "$work/old.json" --hub "localhost:$mqtt" --id-scope "$scope" --endpoint "localhost:$mqtt" "${identity[@]}" "$work/message"
has 'registered again'
"$build/tests/whole_json" provisioning.idScope <"$work/old.json" | grep -qx "$scope" || fail "the old file was not replaced"

# cannot register: both reasons, and the old file byte by byte
forget
"$dps" group disable --dir "$work/dps" --id g >/dev/null
cp "$work/hub.json" "$work/second.json"
refused 1 'the hub refuses the device \(.*\), and it could not register again: ' hub send "${at[@]}" "$work/message"
cmp "$work/hub.json" "$work/second.json"
[ -z "$(find "$work" -maxdepth 1 -name 'hub.json?*')" ] || fail "a temporary file is left"
"$dps" group enable --dir "$work/dps" --id g >/dev/null

# a file that cannot be replaced: the message is sent, and the failure is told
refused 1 'cannot make a temporary file' hub send --registration <(cat "$work/hub.json") --hub "localhost:$mqtt" "${identity[@]}" "$work/message"
has '^accepted by the hub'
has 'registered again'

# while it listens
"$keynym" hub listen "${at[@]}" --duration 60 --events 1 --json >"$work/heard" 2>"$work/listen.err" &
listener=$!
wait_until 20 grep -q connected "$work/heard" || { cat "$work/heard" "$work/listen.err"; fail "it does not listen"; }
forget
kill $server
wait $server || true
: >"$work/dps.json"
start --mqtt-port "$mqtt" --https-port "$https"
wait_until 30 grep -q '"event":"registered","body":"localhost"' "$work/heard" ||
  { cat "$work/heard" "$work/listen.err"; fail "it did not register again"; }
"$dps" send --dir "$work/dps" --device device-01 --body hello >/dev/null
wait $listener || { cat "$work/heard" "$work/listen.err"; fail "keynym hub listen"; }
grep -q '"event":"message","body":"hello"' "$work/heard" || { cat "$work/heard"; fail "nothing was heard"; }
echo "a device that its hub refuses registers again"
