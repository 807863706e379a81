#!/usr/bin/env bash
# The completion for bash has every command and option: it is what generate.sh makes of the help. completion.sh ROOT KEYNYM
set -euo pipefail
made=$("$1/prov_client/completion/generate.sh" "$2")
if ! diff "$1/prov_client/completion/keynym.bash" - <<<"$made"; then
  echo "make it anew: prov_client/completion/generate.sh KEYNYM >prov_client/completion/keynym.bash"
  exit 1
fi
bash -n "$1/prov_client/completion/keynym.bash"
echo "the completion is that of the help"
