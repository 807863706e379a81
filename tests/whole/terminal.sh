#!/usr/bin/env bash
# What keynym shows on a terminal: a line that tells what long work is at and goes away, colours in their places; and nothing of that
# anywhere else. terminal.sh ROOT BUILD
. "$(dirname "$0")/lib.sh" "$1" "$2"
start_tpm "$work/tpm"
use_tpm "$work/tpm"
export KEYNYM_CONF=$work/none.cnf
: >"$work/none.cnf"
unset NO_COLOR
export TERM=xterm
esc=$'\033'
key=tpm2:handle=0x81000200
"$keynym" key generate "$key" >/dev/null
"$root/softhsm_config/new-pki.sh" "$work/pki" >/dev/null 2>&1
"$keynym" ca request --key "$key" --subject device-01 --output "$work/device.csr" >/dev/null
"$root/softhsm_config/new-pki.sh" "$work/pki" "$work/device.csr" "$work/chain.pem" >/dev/null 2>&1
"$dps" group create --dir "$work/dps" --id g --certificate "$work/pki/intermediate.pem" --hub localhost >/dev/null
"$dps" serve --dir "$work/dps" --free-ports --retry-after 1 --assign-after 2 >"$work/dps.json" 2>"$work/dps.log" &
server=$!
wait_until 20 test -s "$work/dps.json" || { cat "$work/dps.log"; fail "keynym-dps did not start"; }
mqtt=$("$build/tests/whole_json" mqtt.port <"$work/dps.json")
https=$("$build/tests/whole_json" https.port <"$work/dps.json")
scope=$("$build/tests/whole_json" idScope <"$work/dps.json")
register=("$keynym" provision --endpoint "localhost:$mqtt" --id-scope "$scope" --ca "$work/dps/ca.pem" --key "$key" --cert "$work/chain.pem")
shown() { cat -v "$work/tty" | head -c 3000; }
# on COLUMNS COMMAND...: on a terminal
on() {
  local columns=$1
  shift
  "$build/tests/whole_pty" "$columns" "$@" >"$work/tty" </dev/null || { shown; fail "$*"; }
}
visible() { sed "s/.*\r$esc\[K//" "$work/tty"; } # what is left on the screen

# a registration that takes two seconds, to a pipe and on a terminal
"${register[@]}" >"$work/pipe" 2>"$work/pipe.err" </dev/null
[ ! -s "$work/pipe.err" ] || { cat "$work/pipe.err"; fail "something on standard error"; }
! grep -q "$esc" "$work/pipe" || fail "an escape sequence in a pipe"
on 100 "${register[@]}"
grep -qE "$esc\[Kregistering with localhost:$mqtt: assigning, next request in 1.000 s \([0-9]+ s\)" "$work/tty" || { shown; fail "the line is not shown"; }
visible | cmp - "$work/pipe" || { shown; fail "something else is left on the screen"; }
# standard output elsewhere: the line is on the terminal, the output is the pipe's
PTY_OUT=$work/out on 100 "${register[@]}"
cmp "$work/out" "$work/pipe" || fail "standard output is another"
grep -q "$esc\[K" "$work/tty" && [ -z "$(visible)" ] || { shown; fail "the line alone"; }
# cut to the width
on 24 "${register[@]}"
grep -oE "$esc\[Kregistering[^$esc]+" "$work/tty" | tr -d "$esc\r" | sed 's/^\[K//' >"$work/lines"
[ -s "$work/lines" ] && ! grep -E '^.{24,}' "$work/lines" || { shown; cat "$work/lines"; fail "a line is too long, or none is there"; }

# quiet
for quiet in --json --quiet --verbose; do
  on 100 "${register[@]}" $quiet
  ! grep -q "$esc" "$work/tty" || { shown; fail "$quiet: an escape sequence"; }
done
TERM=dumb on 100 "${register[@]}"
! grep -q "$esc" "$work/tty" || { shown; fail "TERM=dumb: an escape sequence"; }
on 100 env -u TERM "${register[@]}"
! grep -q "$esc" "$work/tty" || { shown; fail "without TERM: an escape sequence"; }
# a PIN that comes from a descriptor may be one that is typed
(umask 077; printf right >"$work/pin")
second=tpm2:handle=0x81000201
"$keynym" key generate "$second;pin-source=$work/pin" >/dev/null
"$keynym" ca request --key "$second;pin-source=$work/pin" --subject device-02 --output "$work/second.csr" >/dev/null
"$root/softhsm_config/new-pki.sh" "$work/pki" "$work/second.csr" "$work/second.pem" >/dev/null 2>&1
on 100 "$keynym" provision --endpoint "localhost:$mqtt" --id-scope "$scope" --ca "$work/dps/ca.pem" --key "$second;pin-source=fd:5" \
  --cert "$work/second.pem" 5<"$work/pin"
grep -q ASSIGNED "$work/tty" && ! grep -q "$esc" "$work/tty" || { shown; fail "a PIN may be typed: an escape sequence"; }

# an error and a signal: the line is gone before
status=0
"$build/tests/whole_pty" 100 "$keynym" provision --endpoint localhost:1 --id-scope "$scope" --ca "$work/dps/ca.pem" --key "$key" \
  --cert "$work/chain.pem" >"$work/tty" </dev/null || status=$?
[ $status = 4 ] || { shown; fail "exit status $status"; }
visible | sed "s/$esc\[[0-9]*m//g" | grep -q '^keynym: provisioning failed: ' || { shown; fail "the error"; }
grep -qF "$esc[31mkeynym: provisioning failed:$esc[0m" "$work/tty" || { shown; fail "the error's colour"; }
for signal in INT TERM; do
  "$build/tests/whole_pty" 100 "${register[@]}" >"$work/tty" </dev/null &
  background=$!
  wait_until 20 grep -q 'assigning' "$work/tty" || { shown; fail "it does not get so far"; }
  kill -$signal $background
  status=0
  wait $background || status=$?
  background=""
  [ $status = $((128 + $(kill -l $signal))) ] || { shown; fail "SIG$signal: exit status $status"; }
  visible | sed "s/$esc\[[0-9]*m//g" | grep -q 'cancelled\|stopped\|ended' || { shown; fail "SIG$signal: the line is left"; }
done

# control characters of the service do not reach the terminal
"$dps" fault add --dir "$work/dps" --kind throttle --count 1 --retry-after 1 --message "$(printf 'a\033[2Jb')" >/dev/null
on 200 "${register[@]}"
! grep -qF "$esc[2J" "$work/tty" || { shown; fail "an escape sequence of the service"; }

# many enrollments
"$dps" connection-string --dir "$work/dps" --host "localhost:$https" --out "$work/connection" >/dev/null
for i in $(seq 30); do printf '%s{"registrationId":"many-%s","attestation":{"type":"symmetricKey"}}' "$([ "$i" = 1 ] && echo '[' || echo ',')" "$i"; done >"$work/bulk.json"
echo ']' >>"$work/bulk.json"
"$dps" fault add --dir "$work/dps" --kind delay --step service --delay 800 >/dev/null
bulk=("$keynym" enroll bulk --connection "$work/connection" --ca "$work/dps/ca.pem" --mode create "$work/bulk.json")
on 80 "${bulk[@]}"
grep -q '10 of 30' "$work/tty" || { shown; fail "enroll bulk: how far it is"; }
[ "$(visible)" = '30 of 30 done' ] || { shown; fail "enroll bulk: what is left"; }

# colours
doctor=("$keynym" doctor --endpoint "localhost:$mqtt" --ca "$work/dps/ca.pem")
export KEYNYM_HSM_KEY=$key KEYNYM_HSM_CERTIFICATE=$work/chain.pem
"${doctor[@]}" >"$work/pipe" </dev/null || true
"$build/tests/whole_pty" 200 "${doctor[@]}" >"$work/tty" </dev/null || true
grep -qF "$esc[32mOK   $esc[0m" "$work/tty" || { shown; fail "doctor has no colours"; }
! grep -q "$esc" "$work/pipe" || fail "doctor: an escape sequence in a pipe"
NO_COLOR=1 "$build/tests/whole_pty" 200 "${doctor[@]}" >"$work/tty" </dev/null || true
! grep -q "^$esc" "$work/tty" || { shown; fail "NO_COLOR: colours"; }
NO_COLOR="" "$build/tests/whole_pty" 200 "${doctor[@]}" >"$work/tty" </dev/null || true
grep -q "^$esc\[32m" "$work/tty" || { shown; fail "NO_COLOR is empty: no colours"; }
TERM=dumb "$build/tests/whole_pty" 200 "${doctor[@]}" >"$work/tty" </dev/null || true
! grep -q "^$esc" "$work/tty" || { shown; fail "TERM=dumb: colours"; }
echo "the terminal gets what is for a terminal"
