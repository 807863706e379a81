#!/usr/bin/env bash
# ./demo: what it shows, that it can run again, what it leaves behind, and what Ctrl-C does. demo.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
demo=("$root/demo" --no-install --no-build --build-dir "$build")
export TMPDIR=$work # so that what it leaves behind is seen

one_run() { # [option...]
  "${demo[@]}" "$@" </dev/null >"$work/out" 2>&1 || { cat "$work/out"; fail "the demo failed"; }
  for text in "PROV_DEVICE_REG_STATUS_CONNECTED" "PROV_DEVICE_REG_STATUS_ASSIGNING" "demo-hub.azure-devices.net!" \
    "Device ID: device-01" "Device ID: device-02" "TLSv1.3" "TLSv1.2" 'verified to group "demo-group"' \
    "BEGIN KEYNYM ALIAS PRIVATE KEY" "no key matches" "refused, exit status"; do
    grep -qF -- "$text" "$work/out" || { cat "$work/out"; fail "the output does not have: $text"; }
  done
  sed -n '/^\[9/,/^\[10/p' "$work/out" >"$work/proof"
  [ "$(grep -c 'custody   proved' "$work/proof")" = 2 ] || fail "custody is not proved for both keys"
  [ "$(grep -cE '  CKA_.* as it must be' "$work/proof")" = 12 ] || fail "not all six facts of both keys are as they must be"
  ! grep -q 'NOT' "$work/proof" || fail "a fact is not as it must be"
}

one_run
one_run --verbose
[ -z "$(find "$work" -name 'keynym-demo.*')" ] || fail "the demo left its directory behind"

# --tpm: a third device with its key in a TPM, and one by TPM attestation
one_run --tpm
for text in "(id 81000200)" "Device ID: device-03" "[15/15]" "registration id  " "accepted by the hub: 30 bytes" \
  "message from the TPM's device" "status 401" "another device is registered by its TPM"; do
  grep -qF -- "$text" "$work/out" || { cat "$work/out"; fail "the output of --tpm does not have: $text"; }
done
[ "$(grep -c 'custody   proved' "$work/out")" = 3 ] || fail "custody is not proved for the key in the TPM"
[ -z "$(pgrep -f -- "swtpm socket.*$work/keynym-demo" || true)" ] || fail "--tpm left a TPM"
[ -z "$(find "$work" -name 'keynym-demo.*')" ] || fail "--tpm left its directory behind"

# --keep: everything is there, the PIN is nowhere but in its file
one_run --keep "$work/kept"
[ -s "$work/kept/device-01.json" ] || fail "--keep did not keep the result"
[ "$(stat -c %a "$work/kept/pin")" = 600 ] || fail "the PIN file is not of mode 0600"
if grep -rlF -- "$(cat "$work/kept/pin")" "$work/out" "$work/kept" | grep -vE '/kept/pin$'; then fail "the PIN is in a file"; fi
status=0
"${demo[@]}" --keep "$work/kept" >"$work/out" 2>&1 || status=$?
[ $status = 2 ] || fail "--keep of a directory that is not empty: exit status $status"

# Ctrl-C in the middle: no process, no directory
set -m # a process group of its own, in which SIGINT is not ignored
"${demo[@]}" </dev/null >"$work/out" 2>&1 &
group=$!
set +m
wait_until 60 grep -q "listening on" "$work/out" || { cat "$work/out"; fail "the demo did not get as far as the server"; }
kill -INT -- -$group
status=0
wait $group || status=$?
[ $status = 130 ] || fail "after Ctrl-C the exit status is $status, not 130"
[ -z "$(pgrep -g $group || true)" ] || fail "Ctrl-C left processes: $(pgrep -ag $group)"
[ -z "$(pgrep -f -- "--dir $work/keynym-demo" || true)" ] || fail "Ctrl-C left the server"
[ -z "$(find "$work" -name 'keynym-demo.*')" ] || fail "Ctrl-C left the directory behind"
echo "the demo does what it says"
