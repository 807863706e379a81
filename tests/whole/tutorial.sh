#!/usr/bin/env bash
# docs/tutorial.md: the commands of part 1 are run, as they stand there; those of the other parts exist. tutorial.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
tutorial=$root/docs/tutorial.md
pids=""
# whatever a part that failed has left running
finish() {
  local status=$?
  [ ! -s "$work/keynym-tutorial/start.json" ] || pids=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$work/keynym-tutorial/start.json")
  [ -z "$pids" ] || kill "$pids" 2>/dev/null || true
  rm -rf -- "$work"
  exit $status
}
trap finish EXIT

# blocks FROM TO: what is in the sh blocks between two headings
blocks() {
  awk -v from="$1" -v to="$2" '
    index($0, from) == 1 { inside = 1 }
    to != "" && index($0, to) == 1 { inside = 0 }
    /^ *```sh$/ { code = inside; next }
    /^ *```$/ { code = 0; next }
    code { sub(/^   /, ""); print }' "$tutorial"
}

# ---- part 1, in one shell that stops at the first failure, as if all were installed ----
blocks '## Part 1' '## Part 2' >"$work/part-1.sh"
[ "$(grep -c '^keynym ' "$work/part-1.sh")" -ge 20 ] || fail "only $(grep -c '^keynym ' "$work/part-1.sh") commands found"
(
  cd "$work"
  unset KEYNYM
  PATH=$build/prov_client:$build/dps_emulator:$PATH OPENSSL_MODULES=$build/provider bash -euxm part-1.sh
) >"$work/out" 2>&1 </dev/null || { cat "$work/out"; fail "part 1 of the tutorial"; }
has() { grep -qE -- "$1" "$work/out" || { cat "$work/out"; fail "the output does not have: $1"; }; }
[ "$(grep -c 'custody   proved' "$work/out")" = 3 ] || fail "not three proofs of custody"
has '^tutorial +x509 +enabled +localhost'
has '"assignedHub":[[:space:]]*"localhost"'
has '^device-01 +assigned'
has '^accepted by the hub: 21 bytes'
has 'temperature'
has '"status":[[:space:]]*"assigned"'
has 'The enrollment group is disabled'
[ ! -e "$work/keynym-tutorial" ] || fail "something is left"

# ---- the other parts: each command of keynym is one, and has the options that it is given ----
blocks '## Part 2' '' | sed -e ':a' -e '/\\$/N; s/\\\n//; ta' | grep '^keynym ' >"$work/others"
count=0
while read -r line; do
  read -ra words <<<"$line"
  path=("${words[1]}")
  if [[ ${words[2]:-} =~ ^[a-z][a-z-]*$ ]]; then path+=("${words[2]}"); fi
  help=$("$keynym" "${path[@]}" --help) || fail "no such command: $line"
  for word in "${words[@]}"; do
    [[ $word != --* ]] || grep -qE -- "^  $word( |\$)" <<<"$help" || fail "no option $word: $line"
  done
  count=$((count + 1))
done <"$work/others"
[ $count -ge 8 ] || fail "only $count commands in the other parts"
for part in 2 3 4; do
  sed -n "/^## Part $part/,/^## Part $((part + 1))/p" "$tutorial" | grep -q '^Not run by the test:' || fail "part $part does not say that it is not run"
done
echo "the tutorial works"
