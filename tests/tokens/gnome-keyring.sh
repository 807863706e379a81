name="gnome-keyring"
module=$(ls /usr/lib/*/pkcs11/gnome-keyring-pkcs11.so 2>/dev/null | head -n 1)
label="User Key Storage" query="&module-path=$module"
packages() { printf '%s\n' gnome-keyring gnome-keyring-pkcs11 dbus; }
start() {
  export HOME=$work/home XDG_DATA_HOME=$work/home/data XDG_RUNTIME_DIR=$work/home/run XDG_CACHE_HOME=$work/home/cache
  mkdir -p "$XDG_DATA_HOME" "$XDG_RUNTIME_DIR/keyring" "$XDG_CACHE_HOME"
  dbus-daemon --session --nofork --nopidfile "--address=unix:path=$work/bus" >>"$work/daemon.log" 2>&1 &
  pids+=($!)
  wait_for test -S "$work/bus" || return 1
  export DBUS_SESSION_BUS_ADDRESS=unix:path=$work/bus GNOME_KEYRING_CONTROL=$XDG_RUNTIME_DIR/keyring
  background gnome-keyring-daemon --foreground --components=pkcs11 "--control-directory=$XDG_RUNTIME_DIR/keyring"
  wait_for test -S "$XDG_RUNTIME_DIR/keyring/pkcs11" || return 1
  note init own "the daemon makes it"
}
stop() { :; }
