name="opencryptoki, software token"
module=$(ls /usr/lib/*/opencryptoki/libopencryptoki.so.0 2>/dev/null | head -n 1)
label=matrix query="&module-path=$module"
packages() { printf '%s\n' opencryptoki libopencryptoki0; }
start() {
  [ "$(id -u)" = 0 ] || cannot_run "pkcsslotd needs root"
  # /var/lock is in /run
  mkdir -p "$work/etc" "$work/lib/swtok/TOK_OBJ" "$work/run/lock/opencryptoki/swtok"
  printf 'version opencryptoki-3.1\nslot 0\n{\nstdll = libpkcs11_sw.so\n}\n' >"$work/etc/opencryptoki.conf"
  chgrp -R pkcs11 "$work/etc" "$work/lib" "$work/run/lock" && chmod -R 770 "$work/etc" "$work/lib" "$work/run/lock"
  bind "$work/etc" /etc/opencryptoki && bind "$work/lib" /var/lib/opencryptoki && bind "$work/run" /run ||
    cannot_run "its folders are the system's own, which needs a mount namespace (root)"
  background pkcsslotd -f
  wait_for test -S /run/pkcsslotd.socket || return 1
  try init "$keynym" token init --module "$module" --pin-source "$pin_file" --so-pin-source "$work/so-pin" "pkcs11:token=$label"
}
stop() { :; }
