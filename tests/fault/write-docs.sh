#!/usr/bin/env bash
# Runs the fault tests of a build, the matrix with every value, and writes docs/reliability.md from what they found.
# write-docs.sh BUILD          writes it
# write-docs.sh BUILD --check  compares it
set -euo pipefail
build=${1:?BUILD is missing} mode=${2:-}
top=$(cd "$(dirname "$0")/../.." && pwd)
rows=$(mktemp -d)
trap 'rm -rf "$rows"' EXIT
export KN_RELIABILITY=$rows
for program in "$build"/tests/test_fault_*; do
  arguments=()
  case $program in *test_fault_matrix) arguments=(--full) ;; esac
  "$program" "${arguments[@]}" >"$rows/log" 2>&1 || {
    tail -n 40 "$rows/log"
    echo "write-docs: $(basename "$program") failed" >&2
    exit 1
  }
done

table() { # SECTION HEADER
  local columns=${2//[^|]/}
  printf '%s\n%s|\n' "$2" "$(printf '%*s' $((${#columns} - 1)) '' | sed 's/ /|---/g')"
  awk '!seen[$0]++' "$rows/$1" # a test may run twice
}

{
  cat <<'TEXT'
# Reliability

What happens to an open key in a running program, without a restart, when its token, its sessions or its module fail. Every row
below is a test in `tests/fault/`, behind a module that passes calls on to SoftHSM2 and misbehaves where it is told to
(`tests/support/p11_shim.c`). `tests/fault/write-docs.sh BUILD` runs the tests and writes this file.

How it works is in `docs/architecture.md` ("Recovery"); what each Cryptoki value means is in `docs/errors.md`.

## Faults

TEXT
  table peers '| fault | outcome |'
  cat <<'TEXT'
| CKA_ALWAYS_AUTHENTICATE key | any PIN source (`tests/integration/test_p11_login.c`) |
| provider listed before `default` in openssl.cnf | works (`tests/integration/test_ossl_process.c`) |
| two modules at once | both (`tests/integration/test_p11_modules.c`) |
TEXT
  printf '\n## Sessions and modules\n\n'
  table sessions '| fault | outcome |'
  printf '\n## Processes and threads\n\n'
  table processes '| situation | outcome |'
  printf '\n## What does not happen\n\nEach claim has a planted positive: the same check finds what is put there on purpose.\n\n'
  table claims '| claim | how it is shown |'
  printf '\n## Modules that lie\n\n'
  table lies '| lie | outcome |'
  printf '\n## Memory\n\nThe nth allocation fails, for each n of the operation, once and from there on.\n\n'
  table memory '| operation | outcome |'
  cat <<'TEXT'

## Every call, every value

Operation by call by return value (all of `docs/errors.md`, and one that no standard knows), before the token did its work and,
where the value does not exclude it, after. In each cell: the failure names call and value, outputs are untouched, the token did the
work at most once, the PIN was sent once (twice where a first session was lost), no session and no object is left, and the next
operation works. A value that is not listed is a named error.

TEXT
  table matrix '| operation | call | cells | recovered | named error | values that recover |'
  printf '\nOutcomes that are not what the row of the value says:\n\n'
  table exceptions '| operation | call | value | outcome |'
} >"$rows/reliability.md"

if [ "$mode" = --check ]; then
  diff -u "$top/docs/reliability.md" "$rows/reliability.md" ||
    { echo "run: tests/fault/write-docs.sh BUILD"; exit 1; }
else
  cp "$rows/reliability.md" "$top/docs/reliability.md"
fi
