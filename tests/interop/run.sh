#!/usr/bin/env bash
# Unmodified programs of the distribution use a private key that stays in a SoftHSM2 token. See --help.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

usage() {
  cat <<'TEXT'
Usage: tests/interop/run.sh [OPTIONS] BUILD [NAME...]

Runs tests/interop/programs/NAME.sh (default: all of them) with the provider and
the keynym command of BUILD. Each role of a program runs twice: with its key in the
token, which must work, and with an alias of a key that is not there, which must not.

  --algorithm A   algorithm of the keys, as for keynym key generate; may come several times
                  (default: EC:P-256, RSA:2048 and ED25519, one after the other)
  --jobs N        so many programs at the same time (default: the number of processors)
  --no-skip       a program that is not there is a failure
  --write-docs    write the results to docs/programs.md
  --results FILE  add the results to FILE
  --keep DIR      work in DIR, which must be new, and leave everything there
  --help          this text
TEXT
}

algorithms=() jobs=$(nproc) no_skip=0 write_docs=0 results="" keep="" build="" names=()
while [ $# -gt 0 ]; do
  case $1 in
  --algorithm) algorithms+=("${2:?--algorithm needs a name}"); shift ;;
  --results) results=${2:?--results needs a file}; shift ;;
  --jobs) jobs=${2:?--jobs needs a number}; shift ;;
  --no-skip) no_skip=1 ;;
  --write-docs) write_docs=1 ;;
  --keep) keep=${2:?--keep needs a directory}; shift ;;
  --help | -h) usage; exit 0 ;;
  -*) echo "run.sh: unknown option $1; see --help" >&2; exit 2 ;;
  *) if [ -z "$build" ]; then build=$1; else names+=("$1"); fi ;;
  esac
  shift
done
[ -n "$build" ] || { usage >&2; exit 2; }
build=$(cd "$build" && pwd)
[ ${#algorithms[@]} != 0 ] || algorithms=(EC:P-256 RSA:2048 ED25519)
export KEYNYM=$build/prov_client/keynym
[ -x "$KEYNYM" ] && [ -f "$build/provider/keynym.so" ] || { echo "run.sh: $build is not built" >&2; exit 2; }
if [ ${#names[@]} != 0 ]; then
  [ $write_docs = 0 ] || { echo "run.sh: --write-docs is for all programs" >&2; exit 2; }
else
  for file in "$here"/programs/*.sh; do names+=("$(basename "$file" .sh)"); done
fi
for name in "${names[@]}"; do
  [ -f "$here/programs/$name.sh" ] || { echo "run.sh: there is no programs/$name.sh" >&2; exit 2; }
done

# ---- several algorithms: each by a run of its own ----

if [ ${#algorithms[@]} != 1 ] || [ $write_docs = 1 ]; then
  all=$(mktemp "${TMPDIR:-/tmp}/keynym-interop-results.XXXXXX") status=0 child=""
  trap 'rm -f "$all"' EXIT
  trap '[ -z "$child" ] || kill "$child" 2>/dev/null; wait; exit 143' INT TERM HUP
  [ -z "$keep" ] || mkdir "$keep"
  no_skip_option=()
  [ $no_skip = 0 ] || no_skip_option=(--no-skip)
  for algorithm in "${algorithms[@]}"; do
    keep_option=()
    [ -z "$keep" ] || keep_option=(--keep "$keep/${algorithm//:/-}")
    echo "keys: $algorithm"
    "$here/run.sh" --algorithm "$algorithm" --jobs "$jobs" --results "$all" "${no_skip_option[@]}" "${keep_option[@]}" \
      "$build" "${names[@]}" &
    child=$!
    wait "$child" || status=$?
  done
  [ $write_docs = 0 ] || { "$here/write-docs.sh" <"$all" >"$all.md" && cp "$all.md" "$root/docs/programs.md" && rm -f "$all.md"; }
  [ -z "$results" ] || cat "$all" >>"$results"
  exit $status
fi
algorithm=${algorithms[0]}

# Nothing of the caller's environment may choose stores, tokens, keys or configurations.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
for variable in $(compgen -e); do
  case $variable in PATH | TMPDIR | KEYNYM) ;; *) unset "$variable" 2>/dev/null || true ;; esac
done
export LC_ALL=C.UTF-8 PATH

# ---- one token, one PKI ----

# Servers that are started as root have workers of another user; these must be able to read the token and the PIN file,
# and so must programs that refuse to be root.
user=$(id -un) group=$(id -gn)
[ "$(id -u)" != 0 ] || user=www-data group=www-data
umask 027
if [ -n "$keep" ]; then
  mkdir "$keep"
  work=$(cd "$keep" && pwd)
else
  work=$(mktemp -d "${TMPDIR:-/tmp}/keynym-interop.XXXXXX")
fi
chgrp "$group" "$work"
chmod 2750 "$work" # what is made in it gets the group as well
cleanup() {
  local status=$?
  trap - EXIT INT TERM HUP
  for job in $(jobs -p); do kill "$job" 2>/dev/null || true; done
  wait
  if [ -n "$keep" ]; then echo "everything is in $work"; else rm -rf -- "$work"; fi
  exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

cp "$build/provider/keynym.so" "$work/" # where that user can read it
cat >"$work/openssl.cnf" <<CONF
openssl_conf = openssl_init
[openssl_init]
providers = provider_sect
[provider_sect]
default = default_sect
keynym = keynym_sect
[default_sect]
activate = 1
[keynym_sect]
module = $work/keynym.so
log_level = info
activate = 1
CONF

"$root/softhsm_config/new-token.sh" "$work/token" keynym-interop
chgrp -R "$group" "$work/token"
chmod 640 "$work/token/pin"
"$root/softhsm_config/new-pki.sh" "$work/pki"
cp "$work/pki/root.pem" "$work/ca.pem"
export SOFTHSM2_CONF=$work/token/softhsm2.conf
uri() { echo "pkcs11:token=keynym-interop;object=$1?pin-source=$work/token/pin"; }
alias_der() { sed '/^-----/d' "$work/$1.alias.pem" | base64 -d; }
use() { [ "$1" = server ] && echo server || echo device; }
for side in server client; do
  # the program under test: the key is in the token, the file is an alias
  "$KEYNYM" key generate --algorithm "$algorithm" "$(uri "$side-1")" >/dev/null
  "$KEYNYM" alias create --output "$work/$side.alias.pem" "$(uri "$side-1")"
  OPENSSL_CONF=$work/openssl.cnf openssl req -new -key "$work/$side.alias.pem" -subj "/CN=token-$side" -out "$work/$side.csr"
  "$root/softhsm_config/new-pki.sh" "$work/pki" "$work/$side.csr" "$work/$side.chain.pem" "$(use $side)"
  "$KEYNYM" cert import --key "$(uri "$side-1")" "$work/$side.chain.pem" >/dev/null
  # the control: the same alias in every byte but the last of the object's name, which is not in the token
  {
    echo "-----BEGIN KEYNYM ALIAS PRIVATE KEY-----"
    alias_der "$side" | LC_ALL=C sed "s/object=$side-1/object=$side-9/" | base64 -w 64
    echo "-----END KEYNYM ALIAS PRIVATE KEY-----"
  } >"$work/$side.missing.pem"
  # the other end of the connection: no provider, a key in a file
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$work/peer-$side.key" -subj "/CN=peer-$side" \
    -out "$work/$side.csr" 2>/dev/null
  "$root/softhsm_config/new-pki.sh" "$work/pki" "$work/$side.csr" "$work/peer-$side.chain.pem" "$(use $side)"
done
chgrp -R "$group" "$work"
chmod -R g+rX "$work/token/tokens" "$work/token/softhsm2.conf"
chmod g+x "$work/token"
# Some programs refuse a key file, and that is what an alias is to them, that others can read: of root, the group may.
mode=600
[ "$(id -u)" != 0 ] || mode=640
chmod $mode "$work"/*.pem "$work"/*.key

# No file of the programs under test has a secret: the alias is a name and a public key, and the key was made in the token.
stop() { echo "run.sh: $*" >&2; exit 1; }
for side in server client; do
  "$KEYNYM" key show "$work/$side.alias.pem" | grep '^custody *proved' >/dev/null ||
    stop "custody of the $side key is not proved"
  fields=$(alias_der "$side" | openssl asn1parse -inform DER |
    sed -E 's/^[^=]*d=([0-9]+).*(prim|cons): *([^:]*[^: ]) *(:.*)?$/\1 \3/' | grep '^[01]' | tr '\n' ' ')
  [ "$fields" = "0 SEQUENCE 1 INTEGER 1 UTF8STRING 1 cont [ 0 ] " ] ||
    stop "what is in the alias? $fields"
  ! "$KEYNYM" key show "$work/$side.missing.pem" >/dev/null 2>&1 ||
    stop "the control names a key that is there"
done

# ---- the programs ----

export KN_INTEROP=$here KN_INTEROP_WORK=$work KN_INTEROP_USER=$user KN_INTEROP_ALGORITHM=$algorithm
mkdir "$work/ports" "$work/results"
child=""
role() { # in the background, so that a signal is not held up
  timeout -k 10 120 "$here/role.sh" "$@" &
  child=$!
  wait $child
}
run_program() { # NAME: writes results/NAME, one line for each role: title, version, role, result, configuration
  local name=$1 role title="" version roles reason skip="" dir outcome detail status
  trap 'kill $child 2>/dev/null; wait; exit 143' TERM
  eval "$("$here/role.sh" "$name" describe)"
  for role in $roles; do
    dir=$work/$name.$role outcome=ok detail="" status=0
    if [ -n "$skip" ]; then
      outcome=SKIPPED detail=$skip
    elif detail=$("$here/role.sh" "$name" unable "$role") && [ -n "$detail" ]; then
      outcome=UNABLE
    elif ! role "$name" "$role" alias >"$dir.alias.log" 2>&1; then
      outcome=FAILED
    else
      detail=$(sed -n 's/^detail: //p' "$dir.alias.log" | tail -n 1)
      role "$name" "$role" missing >"$dir.missing.log" 2>&1 || status=$?
      if [ $status = 0 ]; then
        outcome=FAILED detail="it works with a key that is not in the token"
      elif [ $status -ge 124 ] && [ $status -lt 193 ]; then # a deadline, or a signal: a bug of its own (255 is socat's exit)
        outcome=FAILED detail="with a key that is not in the token: exit status $status"
      elif ! grep -rqE -- "$reason" "$dir.missing.log" "$dir.missing"; then
        outcome=FAILED detail="with a key that is not in the token it fails, but not with: $reason"
      fi
    fi
    printf '%-8s %-12s %-10s %s\n' "$outcome" "$name" "$role" "$detail"
    [ $outcome != FAILED ] || tail -n 40 "$dir.alias.log" "$dir.missing.log" 2>/dev/null | sed 's/^/    /' || true
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$title" "$version" "$role" "$outcome" \
      "$("$here/role.sh" "$name" configure "$role")" "$algorithm" >>"$work/results/$name"
  done
}
started=$SECONDS
for name in "${names[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
  { run_program "$name" >"$work/$name.out" 2>&1; cat "$work/$name.out"; } & # as one piece
done
wait

# ---- the results ----

count() { awk -F'\t' -v result="$1" 'NF == 6 && $4 == result { n++ } END { print n + 0 }' "$work"/results/*; }
for name in "${names[@]}"; do
  [ -s "$work/results/$name" ] && continue
  echo "FAILED   $name has no result"
  printf '%s\t\t\tFAILED\t\t%s\n' "$name" "$algorithm" >"$work/results/$name"
done
ok=$(count ok) failed=$(count FAILED) skipped=$(count SKIPPED) unable=$(count UNABLE)
echo "$algorithm: $ok passed, $failed failed, $skipped skipped, $unable not possible with such keys, in $((SECONDS - started)) s"
[ -z "$results" ] || for name in "${names[@]}"; do cat "$work/results/$name"; done >>"$results"
[ "$failed" = 0 ] && { [ "$skipped" = 0 ] || [ $no_skip = 0 ]; }
