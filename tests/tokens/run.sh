#!/usr/bin/env bash
# The matrix of tokens: every operation on every token of the distribution that can be run here.
#
# run.sh BUILD [--docs FILE] [TOKEN...]
#
# Compares with tests/tokens/expected: an operation that worked and does not any more fails the run, and so does one that works now and
# is not expected to (then docs/tokens.md is out of date). --docs writes the table into FILE, between its markers. A token that cannot be
# run here is told with the reason; with KN_NO_SKIP=1 that fails the run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:?BUILD is missing}" && pwd)
shift
docs=""
if [ "${1:-}" = --docs ]; then docs=$2; shift 2; fi
all="softhsm2 tpm2-pkcs11 nss opencryptoki gnome-keyring"
tokens=${*:-$all}
work=$(mktemp -d /tmp/keynym-tokens.XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 711 "$work"
space=(env KN_NAMESPACE=0)
if unshare --mount --propagation private true 2>/dev/null; then space=(unshare --mount --propagation private env KN_NAMESPACE=1); fi
wrong=0 skipped=0
for token in $tokens; do
  status=0
  "${space[@]}" "$here/one.sh" "$build" "$token" "$work/$token" || status=$?
  results=$work/$token/results
  if [ $status = 3 ]; then
    echo "$token: not run: $(cat "$work/$token/reason")"
    skipped=1
    continue
  elif [ $status != 0 ]; then
    echo "$token: the script failed ($status)"
    wrong=1
    continue
  fi
  while IFS='|' read -r operation result why; do
    printf '%-16s %-24s %-7s %s\n' "$token" "$operation" "$result" "$why"
    expected=$(awk -F'|' -v t="$token" -v o="$operation" '$1 == t && $2 == o { print $3 }' "$here/expected")
    if [ "$expected" != "$result" ]; then
      echo "  ^ expected: ${expected:-nothing}"
      wrong=1
    fi
  done <"$results"
  while IFS='|' read -r t operation _; do
    [ "$t" != "$token" ] || grep -qF "$operation|" "$results" || { echo "$token: $operation was not tried"; wrong=1; }
  done <"$here/expected"
done
if [ -n "$docs" ]; then
  "$here/table.sh" "$work" "$docs" $tokens
  for token in $tokens; do
    [ -f "$work/$token/reason" ] || sed -E "s/^([^|]*\\|[^|]*)\\|.*/$token|\\1/" "$work/$token/results"
  done >"$here/expected"
  wrong=0
fi
if [ $skipped = 1 ] && [ "${KN_NO_SKIP:-0}" = 1 ]; then wrong=1; fi
[ $wrong = 0 ] && echo "the matrix of tokens is as docs/tokens.md says"
exit $wrong
