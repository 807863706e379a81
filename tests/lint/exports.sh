#!/usr/bin/env bash
# Exported symbols = documented symbols. exports.sh LIBRARY SYMBOL...
set -euo pipefail
library=${1:?LIBRARY is missing}
shift
have=$(nm -D --defined-only --format=posix "$library" | cut -d' ' -f1 | sed 's/@.*//' | sort)
want=$(printf '%s\n' "$@" | sort)
[ "$have" = "$want" ] || { diff <(echo "$want") <(echo "$have") | sed 's/^</missing:/; s/^>/not documented:/'; exit 1; }
echo "$(wc -l <<<"$have") exported symbols, all documented"
