#!/usr/bin/env bash
# Runs the test programs of a build under valgrind: no invalid access, no definite leak. valgrind.sh BUILD [REGEX]
# Left out: programs that start themselves again, dump core, search their own memory or run for long; the sanitizers' lanes
# have them.
set -euo pipefail
build=${1:?BUILD is missing} regex=${2:-.}
suppressions=$(cd "$(dirname "$0")" && pwd)/support/valgrind.supp
left_out='^test_(fault_(claims|matrix|process|sessions|threads)|hsm_.*|kn_log|ossl_(crypt|generate|kinds|process)|p11_pin_memory|p11_process|prov_client_(command|many))$'
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
one() {
  local program=$1 name
  name=$(basename "$program")
  if timeout 300 valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
    --child-silent-after-fork=yes --suppressions="$suppressions" "$program" >"$logs/$name" 2>&1; then
    echo "valgrind: $name clean"
  else
    echo "valgrind: $name FAILED"
    tail -n 60 "$logs/$name"
    return 1
  fi
}
# The tests of the HSM library are processes of their own: "PROGRAM TEST" each.
one_of_many() {
  local program=$1 test=$2 name
  name=$(basename "$program").$test
  if timeout 300 valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
    --child-silent-after-fork=yes --suppressions="$suppressions" "$program" "$test" >"$logs/$name" 2>&1; then
    echo "valgrind: $name clean"
  else
    echo "valgrind: $name FAILED"
    tail -n 60 "$logs/$name"
    return 1
  fi
}
export -f one one_of_many
export logs suppressions
tests=$(dirname "$suppressions")/..
for name in test_hsm_contract test_hsm_identity test_hsm_sdk; do
  grep -qE "$regex" <<<"$name" || continue
  grep -oE 'cmocka_unit_test\(\w+' "$tests/contract/$name.c" | cut -d'(' -f2 | sed "s|^|$build/tests/$name |"
done | xargs -r -P "$(nproc)" -L1 bash -c 'one_of_many "$0" "$1"'
find "$build/tests" -maxdepth 1 -type f -executable -name 'test_*' -printf '%f\n' | sort |
  grep -E "$regex" | grep -vE "$left_out" | sed "s|^|$build/tests/|" | xargs -P "$(nproc)" -I{} bash -c 'one {}'
