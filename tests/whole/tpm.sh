#!/usr/bin/env bash
# TPM attestation, from the TPM to the hub: swtpm, keynym, keynym-dps. tpm.sh ROOT BUILD
. "$(dirname "$0")/lib.sh" "$1" "$2"

# refused WORDS COMMAND...: fails, and says so
refused() {
  local words=$1
  shift
  ! "$@" >"$work/out" 2>&1 || fail "not refused: $*"
  grep -qF -- "$words" "$work/out" || { cat "$work/out"; fail "\"$words\" is not said by: $*"; }
}

member() { grep -oE "\"$2\":[[:space:]]*\"[^\"]*\"" "$1" | cut -d'"' -f4; }

# provision TRANSPORT [option...]
provision() {
  local transport=$1 at=$https
  shift
  [ "$transport" != amqp ] || at=$amqp
  "$keynym" provision --quiet --id-scope "$scope" --endpoint "localhost:$at" --transport "$transport" --attestation tpm \
    --ca "$work/state/ca.pem" "$@"
}

# nothing but the two keys and the identity, no slot taken
tpm_is_clean() {
  [ -z "$(tpm2_getcap handles-transient)$(tpm2_getcap handles-loaded-session)" ] || fail "something is left in the TPM: $1"
}

start_tpm "$work/one"
start_tpm "$work/two"
use_tpm "$work/one"
"$keynym" tpm show --json >"$work/one.json"
id=$(member "$work/one.json" registrationId)
member "$work/one.json" endorsementKey | tr -d '\n' >"$work/one.ek"
[ "$(base64 -d "$work/one.ek" | wc -c)" = 316 ] || fail "the endorsement key has not 316 bytes"
[ "$(member "$work/one.json" storageRootKey | base64 -d | wc -c)" = 284 ] || fail "the storage root key has not 284 bytes"
[ "$id" = "$(base64 -d "$work/one.ek" | sha256sum | head -c 64 | tr a-f A-F | basenc --base16 -d | base32 -w0 | tr -d = | tr A-Z a-z)" ] ||
  fail "the registration id is not the digest of the endorsement key"
# the TCG's template, by tpm2-tools
tpm2_createek -Q -G rsa -c "$work/ek.ctx" -u "$work/tcg.ek"
tpm2_flushcontext -t
base64 -d "$work/one.ek" | cmp - "$work/tcg.ek" || fail "the endorsement key is not that of the TCG's template"
"$keynym" tpm show | grep -q "^registration id   $id$" || fail "the text does not say the registration id"
tpm_is_clean "after tpm show"
echo "ok   tpm show"

"$dps" enrollment create --dir "$work/state" --id "$id" --endorsement-key-file "$work/one.ek" --hub localhost >/dev/null
start_dps "$work/state" --https-port 0 --amqp-port 0
https=$(grep -oE '"https":\{[^}]*' "$work/dps.json" | grep -oE '[0-9]+$')
amqp=$(grep -oE '"amqp":\{[^}]*' "$work/dps.json" | grep -oE '[0-9]+$')
mqtt=$(grep -oE '"mqtt":\{[^}]*' "$work/dps.json" | grep -oE '[0-9]+$')
hub_send() { # TRANSPORT PORT TEXT
  printf '%s' "$3" | "$keynym" hub send --quiet --hub "localhost:$2" --device-id "$id" --transport "$1" --attestation tpm \
    --ca "$work/state/ca.pem" -
}

refused "the TPM has no identity key yet" hub_send https "$https" early
for transport in https amqp amqp-ws; do
  provision "$transport" --output "$work/$transport.json" || fail "$transport: not registered"
  [ "$(member "$work/$transport.json" deviceId)" = "$id" ] || fail "$transport: another device id"
  tpm_is_clean "$transport"
  hub_send https "$https" "after-$transport"
  "$dps" events --dir "$work/state" | grep "after-$transport" >/dev/null || fail "$transport: the hub has no message"
done
hub_send mqtt "$mqtt" by-mqtt
hub_send amqp "$amqp" by-amqp
[ "$("$dps" events --dir "$work/state" | grep -cE 'by-(mqtt|amqp)')" = 2 ] || fail "the hub has no message by MQTT or AMQP"
# the hub has forgotten the device: it registers again, over what carries a TPM's keys, and signs with the new key
"$dps" connection-string --dir "$work/state" --host "localhost:$https" --out "$work/connection" >/dev/null
for transport in mqtt https; do
  "$keynym" enroll forget --connection "$work/connection" --ca "$work/state/ca.pem" "$id" >/dev/null
  printf again | "$keynym" hub send --registration "$work/https.json" --hub "localhost:${!transport}" --transport "$transport" \
    --ca "$work/state/ca.pem" - >"$work/out" 2>&1 || { cat "$work/out"; fail "$transport: not registered again"; }
  grep -q 'registered again: localhost' "$work/out" || { cat "$work/out"; fail "$transport: it is not told"; }
  tpm_is_clean "$transport: registered again"
done
[ "$(tpm2_getcap handles-persistent | tr -d -- '- \n')" = 0x810000010x810001000x81010001 ] || fail "other handles: $(tpm2_getcap handles-persistent)"
echo "ok   registered over https, amqp and amqp-ws; the hub takes tokens that the TPM signs"

refused 'transport "mqtt" cannot carry attestation "tpm"' provision mqtt
refused 'transport "mqtt-ws" cannot carry attestation "tpm"' provision mqtt-ws
echo "ok   MQTT is refused"

# Another TPM: not the enrollment's endorsement key.
use_tpm "$work/two"
refused "401" provision https --registration-id "$id"
refused "SASL TPM was refused" provision amqp --registration-id "$id"
[ "$(tpm2_getcap handles-persistent | grep -c 0x81000100)" = 0 ] || fail "another TPM got a key"
echo "ok   another TPM is refused"

# tpm2-pkcs11 keeps a primary key of type ECC where the storage root key belongs.
tpm2_evictcontrol -Q -C o -c 0x81000001
tpm2_createprimary -Q -C o -G ecc -c "$work/ecc.ctx"
tpm2_evictcontrol -Q -C o -c "$work/ecc.ctx" 0x81000001
tpm2_flushcontext -t
refused "the key at 0x81000001 is of type ECC, and the storage root key must be RSA; tpm2-pkcs11" "$keynym" tpm show
tpm_is_clean "after a refused storage root key"
"$keynym" tpm show --tpm "tpm2:srk-handle=0x81000002" >"$work/out" || fail "another handle does not help"
tpm2_getcap handles-persistent | grep 0x81000002 >/dev/null || fail "the storage root key is not at the other handle"
echo "ok   something else at the handle of the storage root key"

# Authorizations of the hierarchies.
(umask 077 && printf 'owner-secret\n' >"$work/owner" && printf 'endorse-secret' >"$work/endorsement" && printf 'wrong' >"$work/wrong")
start_tpm "$work/three"
use_tpm "$work/three"
tpm2_changeauth -c owner owner-secret
tpm2_changeauth -c endorsement endorse-secret
refused "the TPM refuses the authorization" "$keynym" tpm show
refused "the TPM refuses the authorization" "$keynym" tpm show --tpm "tpm2:owner-auth=$work/owner;endorsement-auth=$work/wrong"
auth="tpm2:owner-auth=$work/owner;endorsement-auth=$work/endorsement"
"$keynym" tpm show --tpm "$auth" --json >"$work/three.json" || fail "the authorizations do not serve"
member "$work/three.json" endorsementKey | tr -d '\n' >"$work/three.ek"
"$dps" enrollment create --dir "$work/state" --id three --endorsement-key-file "$work/three.ek" --hub localhost >/dev/null
refused "the TPM refuses the authorization" provision https --registration-id three
[ "$(tpm2_getcap handles-persistent | grep -c 0x81000100)" = 0 ] || fail "a key was kept without the owner's authorization"
tpm_is_clean "after a missing authorization"
provision https --registration-id three --tpm "$auth" || fail "not registered with authorizations"
chmod 644 "$work/owner"
refused "the PIN source cannot be used" provision https --registration-id three --tpm "$auth"
! grep -rqE 'owner-secret|endorse-secret' "$work/out" "$work/dps.log" || fail "an authorization was printed"
echo "ok   hierarchies with authorizations"

# An identity key that somebody removed.
use_tpm "$work/one"
tpm2_evictcontrol -Q -C o -c 0x81000100
refused "the TPM has no identity key yet" hub_send https "$https" none
provision https || fail "not registered again"

# The TPM goes away and comes back; one that is not there.
end "${tpms[0]}"
unset "tpms[0]"
refused "no TPM answers" "$keynym" tpm show
refused "no TPM answers" hub_send https "$https" gone
rm -f "$work/one/s" "$work/one/s.ctrl"
start_tpm "$work/one"
hub_send https "$https" back || fail "the identity key is not there after the TPM came back"
refused "no TPM answers" env KEYNYM_TCTI=device:/dev/null/none "$keynym" tpm show
refused "the key URI has an attribute that is not known" "$keynym" tpm show --tpm tpm2:handle=1
refused "names no file" "$keynym" tpm show --tpm tpm2:owner-auth=secret
echo "ok   a TPM that is not there"

# The one of the demo: it is ended whether it hears SIGTERM or not, and is the same TPM when it is started again.
new_tpm() { "$root/softhsm_config/new-tpm.sh" "$@"; }
id() { KEYNYM_TCTI=$1 "$keynym" tpm show --json | sed -n 's/.*"registrationId":[[:space:]]*"\([^"]*\)".*/\1/p'; }
tcti=$(new_tpm "$work/four")
first=$(id "$tcti")
new_tpm --stop "$work/four"
[ -n "$first" ] && [ "$(id "$(new_tpm "$work/four")")" = "$first" ] || fail "new-tpm.sh started another TPM"
tpm_pid=$(cat "$work/four/tpm.pid")
kill -STOP "$tpm_pid"
new_tpm --stop "$work/four"
ended() { ! grep -q '^State:[[:space:]]*[^ZX]' "/proc/$tpm_pid/status"; } # or nobody has asked for its exit status yet
wait_until 5 ended || { kill -KILL "$tpm_pid"; fail "new-tpm.sh left a TPM that does not hear"; }
[ ! -e "$work/four/tpm.pid" ] && [ ! -e "$work/four/tpm.sock" ] || fail "new-tpm.sh left files"
echo "ok   new-tpm.sh"
