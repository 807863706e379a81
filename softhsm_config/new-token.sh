#!/usr/bin/env bash
# new-token.sh DIR LABEL: a throw-away SoftHSM2 token in DIR, with a configuration and PIN files of its own.
# Makes DIR/softhsm2.conf, DIR/tokens/, DIR/pin and DIR/so-pin (mode 0600). The user's SoftHSM is not touched: whoever
# uses the token sets SOFTHSM2_CONF=DIR/softhsm2.conf. Needs `keynym` in PATH or in $KEYNYM.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,4p' "$0" >&2; exit 2; }
dir=$1 label=$2
umask 077
mkdir -p "$dir/tokens"
dir=$(cd "$dir" && pwd)
cat > "$dir/softhsm2.conf" <<CONF
directories.tokendir = $dir/tokens
objectstore.backend = file
log.level = ERROR
slots.removable = false
CONF
# Written by a shell builtin and a pipe: a PIN is in no argument list and no environment.
for name in pin so-pin; do
  [ -s "$dir/$name" ] || od -An -N8 -tx1 /dev/urandom | tr -d ' \n' > "$dir/$name"
done
SOFTHSM2_CONF=$dir/softhsm2.conf "${KEYNYM:-keynym}" token init \
  --pin-source "$dir/pin" --so-pin-source "$dir/so-pin" "pkcs11:token=$label"
