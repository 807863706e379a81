#!/usr/bin/env bash
# SIGINT and SIGTERM end keynym hub listen and keynym provision in order, by that signal, over every transport; and nothing is left.
# signals.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
"$root/softhsm_config/new-token.sh" "$work/token" signals >/dev/null
export SOFTHSM2_CONF=$work/token/softhsm2.conf
"$root/softhsm_config/new-pki.sh" "$work/pki" >/dev/null 2>&1
uri="pkcs11:token=signals;object=device-01?pin-source=$work/token/pin"
{
  "$keynym" key generate "$uri"
  "$keynym" ca request --key "$uri" --subject device-01 --output "$work/device.csr"
  "$root/softhsm_config/new-pki.sh" "$work/pki" "$work/device.csr" "$work/chain.pem"
  "$dps" group create --dir "$work/dps" --id g --certificate "$work/pki/intermediate.pem" --hub localhost
} >"$work/out" 2>&1 || { cat "$work/out"; fail "the preparations"; }
start_dps "$work/dps" --free-ports --log-level debug
port_of() {
  case $1 in
  mqtt | amqp) "$build/tests/whole_json" "$1.port" <"$work/dps.json" ;;
  *) "$build/tests/whole_json" https.port <"$work/dps.json" ;; # WebSocket, too
  esac
}
identity=(--ca "$work/dps/ca.pem" --key "$uri" --cert "$work/chain.pem")
mkdir "$work/tmp" "$work/results"
export TMPDIR=$work/tmp
signals=([2]=INT [15]=TERM)

new_log() { tail -n +$((logged + 1)) "$work/dps.log"; } # what the server said since
log_has() { new_log | grep -q -- "$1"; }
# interrupted WHAT SIGNAL PATTERN COMMAND...: sends the signal when PATTERN is in what it printed
interrupted() {
  local what=$1 number=$2 pattern=$3 status=0 pid
  shift 3
  : >"$work/out"
  logged=$(wc -l <"$work/dps.log")
  "$@" >"$work/out" 2>"$work/err" </dev/null &
  pid=$!
  wait_until 60 grep -qE -- "$pattern" "$work/out" || { kill -9 "$pid"; cat "$work/out" "$work/err"; fail "$what: it does not get so far"; }
  kill -"${signals[number]}" "$pid"
  wait_until 60 sh -c "! kill -0 $pid" || { kill -9 "$pid"; fail "$what: it does not end"; }
  wait "$pid" || status=$?
  [ $status = $((128 + number)) ] || { cat "$work/out" "$work/err"; fail "$what: status $status, not by the signal $number"; }
  [ -z "$(ls -A "$work/tmp")" ] || fail "$what: something is left: $(ls -A "$work/tmp")"
}

for transport in mqtt mqtt-ws amqp amqp-ws https; do
  at=(--transport "$transport" "${identity[@]}")
  "$keynym" provision --id-scope "$scope" --endpoint "localhost:$(port_of "$transport")" "${at[@]}" --quiet
  for number in 2 15; do
    what="hub listen, $transport, SIG${signals[number]}"
    interrupted "$what" $number '"connected"' "$keynym" hub listen --json --device-id device-01 --hub "localhost:$(port_of "$transport")" "${at[@]}"
    ! grep '^keynym' "$work/err" || { cat "$work/err"; fail "$what: that is no failure"; }
    # the connection was closed in its protocol, and not just dropped
    case $transport in
    mqtt*) wait_until 20 log_has ': DISCONNECT' || { new_log; fail "$what: no DISCONNECT"; } ;;
    amqp*) wait_until 20 log_has ': CLOSE' || { new_log; fail "$what: no CLOSE"; } ;;
    https) ;; # there is no connection between two questions that means anything
    esac
    ! log_has 'connection closed' || { new_log; fail "$what: the connection was dropped"; }
  done
done

# in the pause between two questions, and while the service is silent
for fault in "stuck --step status" "delay --delay 60000 --step register"; do
  # shellcheck disable=SC2086 # its words
  "$dps" fault add --dir "$work/dps" --kind $fault >/dev/null
  for number in 2 15; do
    what="provision, ${fault%% *}, SIG${signals[number]}"
    before=$(ls -A "$work/results")
    interrupted "$what" $number "PROV_DEVICE_REG_STATUS_$([[ $fault = stuck* ]] && echo ASSIGNING || echo REGISTERING)" \
      "$keynym" provision --id-scope "$scope" --endpoint "localhost:$(port_of mqtt)" "${identity[@]}" --output "$work/results/hub.json"
    [ "$(ls -A "$work/results")" = "$before" ] || fail "$what: something is left"
    grep -q 'cancelled' "$work/err" || { cat "$work/err"; fail "$what: it is not said"; }
  done
  "$dps" fault clear --dir "$work/dps" >/dev/null
done
# and what it had is what it goes on with
"$keynym" provision --id-scope "$scope" --endpoint "localhost:$(port_of mqtt)" "${identity[@]}" --output "$work/results/hub.json" --quiet
[ "$(ls -A "$work/results")" = hub.json ] || fail "the registration afterwards"
echo "signals end what they should"
