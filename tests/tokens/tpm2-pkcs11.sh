# On swtpm, behind a resource manager as the kernel has one for a real chip: the module leaves objects in the TPM when it fails.
name="tpm2-pkcs11 on swtpm"
module=$(ls /usr/lib/*/libtpm2_pkcs11.so.1 2>/dev/null | head -n 1)
label=matrix query="&module-path=$module"
packages() { printf '%s\n' libtpm2-pkcs11-1 swtpm tpm2-abrmd libtss2-tcti-tabrmd0 dbus; }
start() {
  mkdir -p "$work/tpm" "$work/store"
  background swtpm socket --tpm2 --tpmstate "dir=$work/tpm" --server "type=unixio,path=$work/tpm.sock" \
    --ctrl "type=unixio,path=$work/tpm.sock.ctrl" --flags not-need-init,startup-clear
  wait_for test -S "$work/tpm.sock" || return 1
  dbus-daemon --session --nofork --nopidfile "--address=unix:path=$work/bus" >>"$work/daemon.log" 2>&1 &
  pids+=($!)
  wait_for test -S "$work/bus" || return 1
  export DBUS_SESSION_BUS_ADDRESS=unix:path=$work/bus
  background tpm2-abrmd --session --allow-root --tcti="swtpm:path=$work/tpm.sock"
  wait_for dbus-send --session --print-reply --dest=com.intel.tss2.Tabrmd /com/intel/tss2/Tabrmd/Tcti \
    org.freedesktop.DBus.Introspectable.Introspect || return 1
  export TPM2_PKCS11_TCTI=tabrmd:bus_type=session TPM2_PKCS11_STORE=$work/store TPM2_PKCS11_LOG_LEVEL=0 TSS2_LOG=all+NONE
  try init "$keynym" token init --module "$module" --pin-source "$pin_file" --so-pin-source "$work/so-pin" "pkcs11:token=$label"
}
stop() { :; }
