#!/usr/bin/env bash
# keynym provision --retry-state: what a device must wait for is not forgotten when it starts anew. retry.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
run() { # STATUS [option]...
  local want=$1 got=0
  shift
  timeout 120 "$keynym" provision --attestation symmetric-key --id-scope "$scope" --endpoint "localhost:$port" --ca "$work/dps/ca.pem" \
    --retry-state "$work/state" "$@" >"$work/out" 2>&1 </dev/null || got=$?
  [ $got = "$want" ] || { cat "$work/out"; fail "$name: status $got instead of $want"; }
}
has() { grep -qE -- "$1" "$work/out" || { cat "$work/out"; fail "$name: the output does not have: $1"; }; }
failures() { [ "$(cut -d' ' -f3 "$work/state")" = "$1" ] || { cat "$work/state"; fail "$name: not $1 failures"; }; }

"$dps" enrollment create --dir "$work/dps" --id sensor --symmetric-key --hub hub.example.net >/dev/null
"$dps" enrollment key --dir "$work/dps" --id sensor --out "$work/key"
printf '[keynym_hsm]\nregistration_id = sensor\nsymmetric_key = %s\n' "$work/key" >"$work/keynym.cnf"
export KEYNYM_CONF=$work/keynym.cnf
start_dps "$work/dps"

name="nothing to wait for"
run 0
[ ! -e "$work/state" ] || fail "a state is left after a success"
name="the service fails"
"$dps" fault add --dir "$work/dps" --kind error --status 503 --step register --retry-after 100 >/dev/null
run 4 --timeout 2
failures 1
[ "$(stat -c %a "$work/state")" = 600 ] || fail "the state's mode"
name="too early"
"$dps" fault clear --dir "$work/dps" >/dev/null
run 4 --timeout 2
has 'ends before the pause of [0-9.]+ s after 1 failed'
failures 1 # it was not tried, so it is not counted
name="the pause is waited for"
now=$(date +%s)
printf 'keynym-retry 1 1 %d %d\n' "$now" $((now + 2)) >"$work/state"
run 0 --verbose
has 'after 1 failed registrations the next begins in [12]\.'
[ "$(date +%s)" -ge $((now + 2)) ] || fail "it did not wait"
[ ! -e "$work/state" ] || fail "a state is left after a success"
for damage in "" "keynym-retry 1 -1 0 0" "keynym-retry 1 1 5 99999999999"; do
  name="a damaged state: '$damage'"
  echo "$damage" >"$work/state"
  run 0
  has "warning: the retry state $work/state is not used"
done
name="a state that cannot be kept"
mkdir "$work/state"
run 0
has 'warning: the retry state .* is not kept'
rmdir "$work/state"
name="a refusal counts"
"$dps" enrollment disable --dir "$work/dps" --id sensor >/dev/null
run 1
failures 1
name="spread"
"$dps" enrollment enable --dir "$work/dps" --id sensor >/dev/null
rm "$work/state"
run 0 --spread 1
name="spread, too long" && run 2 --spread 86401
echo "keynym provision remembers what it has to wait for"
