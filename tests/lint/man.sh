#!/usr/bin/env bash
# Manual pages and --help agree: every option of the one is in the other, and every page can be rendered.
# man.sh ROOT KEYNYM KEYNYM-DPS
set -euo pipefail
shopt -s lastpipe # `... | compare` must be able to set $wrong
root=$1 keynym=$2 dps=$3
unset MANPAGER PAGER
wrong=0
complain() { echo "$*"; wrong=1; }
page_options() { sed 's/\\-/-/g; s/\\f[BIRP]//g' "$root/docs/man/$1" | grep -oE -- '--[a-z][a-z0-9-]+' | sort -u; }
help_options() { { grep -oE -- '--[a-z][a-z0-9-]+' || true; } | sort -u; }
compare() { # PAGE, help text on stdin
  local page=$1 help
  help=$(help_options)
  for option in $help; do
    page_options "$page" | grep -qx -- "$option" || complain "$page does not have $option, which --help has"
  done
  for option in $(page_options "$page"); do
    grep -qx -- "$option" <<<"$help" || complain "$page has $option, which --help has not"
  done
}
subcommands() { "$keynym" --help | sed -n '/^Commands/,/^$/p' | awk 'NR > 1 && NF { print $1 }' | grep -v '^help$'; }

for page in "$root"/docs/man/*; do
  man --warnings -E UTF-8 -l -Tutf8 "$page" 2>&1 >/dev/null | grep . && complain "$page is not rendered cleanly" || true
done
for command in $(subcommands); do
  [ -f "$root/docs/man/keynym-$command.1" ] || { complain "keynym-$command.1 is missing"; continue; }
  { "$keynym" "$command" --help
    "$keynym" "$command" --help | sed -n '/^Commands/,/^$/p' | awk 'NR > 1 && NF && $1 != "help" { print $1 }' |
      while read -r child; do "$keynym" "$command" "$child" --help; done; } | compare "keynym-$command.1"
done
{ "$keynym" --help; } | compare keynym.1
{ "$dps" --help
  "$dps" --help | sed -n '/^Commands/,/^$/p' | sed -nE 's/^  ([a-z-]+( [a-z-]+)?)  .*/\1/p' |
    while read -r words; do # shellcheck disable=SC2086 # one or two words
      "$dps" $words --help; done; } | compare keynym-dps.1
[ $wrong = 0 ] && echo "manual pages and --help agree"
exit $wrong
