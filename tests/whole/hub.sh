#!/usr/bin/env bash
# keynym hub with a key in a token: what was registered sends, shows its twin, and listens. hub.sh ROOT BUILD
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

new_device hub
start_dps "$work/dps"
keynym provision --endpoint "localhost:$port" --id-scope "$scope" "${identity[@]}" --output "$work/hub.json"
at=(--registration "$work/hub.json" --hub "localhost:$port")

printf '{"up":true}' | "$keynym" hub send "${at[@]}" "${identity[@]}" --content-type application/json \
  --properties room=7 - >"$work/out" 2>&1 || { cat "$work/out"; fail "hub send"; }
has '^accepted by the hub: 11 bytes$'
"$dps" events --dir "$work/dps" --device device-01 >"$work/out"
has 'up'
has 'room'

"$dps" twin update --dir "$work/dps" --device device-01 --desired '{"interval":9}' >/dev/null
keynym hub twin "${at[@]}" "${identity[@]}"
has '"interval":[[:space:]]*9'

"$dps" send --dir "$work/dps" --device device-01 --body $'first\x1b[2J' >/dev/null
"$dps" send --dir "$work/dps" --device device-01 --body second --property a=b >/dev/null
keynym hub listen "${at[@]}" "${identity[@]}" --duration 60 --events 2
has '^connected$'
has '^message \[.*\]: first\?\[2J$' # no control character reaches the terminal
has '^message \[(.*&)?a=b\]: second$'
"$dps" send --dir "$work/dps" --device device-01 --body third >/dev/null
keynym hub listen "${at[@]}" "${identity[@]}" --duration 60 --events 1 --json
has '^\{"event":"message","body":"third"'

refused 4 '0 of 1 messages came in time' hub listen "${at[@]}" "${identity[@]}" --duration 1 --events 1
refused 2 'say which hub and device' hub twin "${identity[@]}"
refused 2 'holds no assignedHub' hub twin --registration "$work/chain.pem" "${identity[@]}"
refused 2 'one FILE is needed' hub send "${at[@]}" "${identity[@]}"
refused 3 'cannot open' hub send "${at[@]}" "${identity[@]}" "$work/nothing"
refused 2 'carries a user' hub twin "${at[@]}" "${identity[@]}" --proxy http://user:secret@127.0.0.1:1
! grep -q secret "$work/out" || fail "the proxy's password was printed"
refused 4 "cannot be reached" hub twin --device-id device-01 --hub localhost:1 "${identity[@]}" --timeout 1
echo "the hub takes what the token's key proves"
