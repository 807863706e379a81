# Takes its parameters in C_Initialize, which p11-kit gives it from the module's registration (x-init-reserved).
name="NSS softokn"
module=$(ls /usr/lib/*/libsoftokn3.so /usr/lib/*/nss/libsoftokn3.so 2>/dev/null | head -n 1)
label="NSS Certificate DB" query="&module-name=nss-matrix"
packages() { printf '%s\n' libnss3 libnss3-tools; }
start() {
  mkdir -p "$work/db"
  reserved="configdir='sql:$work/db' certPrefix='' keyPrefix='' secmod='secmod.db' flags="
  register nss-matrix "module: $module" "x-init-reserved: $reserved" || cannot_run "it must be registered with p11-kit, which needs a mount namespace (root)"
  run certutil -N -d "sql:$work/db" -f "$pin_file" && note init own "certutil" # its SO PIN is empty, and its label fixed
}
stop() { :; }
