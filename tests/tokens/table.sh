#!/usr/bin/env bash
# Writes the table of docs/tokens.md, between its markers. table.sh WORK FILE TOKEN...
set -euo pipefail
work=$1 file=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
name_of() { sed -nE 's/^name="(.*)"$/\1/p' "$here/$1.sh"; }
ran=()
for token in "$@"; do [ -f "$work/$token/reason" ] || ran+=("$token"); done
operations=$(for token in "${ran[@]}"; do cut -d'|' -f1 "$work/$token/results"; done | awk '!seen[$0]++')
{
  printf '| operation |'
  for token in "${ran[@]}"; do printf ' %s |' "$(name_of "$token")"; done
  printf '\n|---|'
  for token in "${ran[@]}"; do printf '%s' '---|'; done
  printf '\n'
  notes=()
  while read -r operation; do
    printf '| %s |' "$operation"
    for token in "${ran[@]}"; do
      IFS='|' read -r _ result why < <(grep -F "$operation|" "$work/$token/results" || echo "||")
      mark=""
      why=$(sed -E "s/^keynym [a-z -]*: //; s/ \(id [0-9a-f]+\)//; s/token '[^']*'/the token/g; s/the key '[^']*'/the key/
        s/it may also (sign|decrypt), .*/it may also \1, which was not asked for/; s/[[:space:]]+\$//" <<<"$why")
      if [ -n "$why" ] && [[ $result =~ ^(no|own)$ ]]; then
        mark=""
        for i in "${!notes[@]}"; do [ "${notes[$i]}" != "$why" ] || mark=$((i + 1)); done
        [ -n "$mark" ] || { notes+=("$why"); mark=${#notes[@]}; }
        mark=" ($mark)"
      fi
      printf ' %s |' "$result$mark"
    done
    printf '\n'
  done <<<"$operations"
  printf '\n'
  for i in "${!notes[@]}"; do printf '%d. %s\n' $((i + 1)) "${notes[$i]}"; done
} >"$work/table"
awk -v table="$work/table" '
  /^<!-- matrix begins/ { print; while ((getline line < table) > 0) print line; skip = 1; next }
  /^<!-- matrix ends/ { skip = 0 }
  !skip' "$file" >"$work/docs"
cp "$work/docs" "$file"
