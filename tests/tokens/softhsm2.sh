name="SoftHSM2"
module=$(ls /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so 2>/dev/null | head -n 1)
label=matrix query="&module-path=$module"
packages() { echo softhsm2; }
start() {
  mkdir -p "$work/tokens"
  printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$work/tokens" >"$work/softhsm2.conf"
  export SOFTHSM2_CONF=$work/softhsm2.conf
  try init "$keynym" token init --module "$module" --pin-source "$pin_file" --so-pin-source "$work/so-pin" "pkcs11:token=$label"
}
stop() { :; }
