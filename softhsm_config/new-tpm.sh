#!/usr/bin/env bash
# new-tpm.sh DIR: starts a throw-away software TPM (swtpm) with its state in DIR, and prints the TCTI that reaches it.
# new-tpm.sh --stop DIR: ends it. It listens on a socket in DIR, so it needs no port and nobody else reaches it; it runs on its own
# (DIR/tpm.pid) until it is stopped. Started again on the same DIR, it is the same TPM.
set -euo pipefail
case ${1:-} in
--stop)
  [ $# = 2 ] || { sed -n '2,4p' "$0" >&2; exit 2; }
  pid=$(cat "$2/tpm.pid" 2>/dev/null) || exit 0
  # swtpm removes the file at its end: a number that is still there is ours
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 60); do [ -e "$2/tpm.pid" ] && kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
  [ ! -e "$2/tpm.pid" ] || kill -KILL "$pid" 2>/dev/null || true # swtpm 0.10.2 now and then goes on after SIGTERM
  rm -f "$2/tpm.pid" "$2/tpm.sock" "$2/tpm.sock.ctrl"
  exit 0
  ;;
esac
[ $# = 1 ] || { sed -n '2,4p' "$0" >&2; exit 2; }
command -v swtpm >/dev/null || { echo "new-tpm.sh: swtpm is missing; next: apt-get install swtpm" >&2; exit 1; }
umask 077
mkdir -p "$1/tpm"
dir=$(cd "$1" && pwd)
[ ! -e "$dir/tpm.pid" ] || { echo "new-tpm.sh: a TPM runs in $dir already; next: new-tpm.sh --stop $dir" >&2; exit 1; }
[ ${#dir} -le 90 ] || { echo "new-tpm.sh: $dir is too long for the name of a socket; next: use a shorter directory" >&2; exit 1; }
# The control socket must be named like the other, with .ctrl behind it: tpm2-tss's TCTI knows no other. As a daemon, swtpm has / as
# its working directory: all names are absolute.
swtpm socket --tpm2 --tpmstate "dir=$dir/tpm" --server "type=unixio,path=$dir/tpm.sock" --ctrl "type=unixio,path=$dir/tpm.sock.ctrl" \
  --flags not-need-init,startup-clear --pid "file=$dir/tpm.pid" --log "file=$dir/tpm.log" --daemon
for _ in $(seq 200); do [ -S "$dir/tpm.sock" ] && [ -s "$dir/tpm.pid" ] && break; sleep 0.05; done
[ -S "$dir/tpm.sock" ] && [ -s "$dir/tpm.pid" ] || { echo "new-tpm.sh: swtpm did not start; see $dir/tpm.log" >&2; exit 1; }
echo "swtpm:path=$dir/tpm.sock"
