#!/usr/bin/env bash
# Checks the rules of docs/architecture.md: who may include what. Prints each breach; exit status 1 when there is one.
# layers.sh ROOT
set -euo pipefail
cd "${1:?ROOT is missing}"

headers() { find "$1" -maxdepth "${2:-9}" -name '*.h' -printf '%f '; } # FOLDER [DEPTH]
pkcs11=$(headers backends/pkcs11) tpm2=$(headers backends/tpm2) contract=kn_backend.h
face=$(headers backends 1) provider=$(headers provider) hsm=$(headers hsm_api)
prov=$(headers prov_client) dps=$(headers dps_emulator)

# "file included" for every #include of the sources
includes=$(find backends provider hsm_api prov_client dps_emulator -name '*.[ch]' -exec grep -HoE '^ *# *include *[<"][^>"]+' {} + |
  sed -E 's/: *# *include *[<"]/ /')

forbid() { # FILES-REGEX WHY NAME...
  local files=$1 why=$2
  shift 2
  awk -v files="$files" -v why="$why" -v names="$*" '
    BEGIN { split(names, n, " "); for (i in n) bad[n[i]] = 1 }
    $1 ~ files { base = $2; sub(/.*\//, "", base); if (base in bad) print $1 ": " $2 ": " why }' <<<"$includes"
}

breaches=$(
  forbid '^(provider|hsm_api|prov_client)/' "only backends/ sees a backend and its contract" $contract $pkcs11 $tpm2
  forbid '^backends/' "a backend does not see the layers above" $provider $hsm $prov $dps
  forbid '^prov_client/[^/]*$' "the library of prov_client sees only the HSM interface" $face $provider keynym_hsm.h
  forbid '^prov_client/cmd/kn_cmd_provision' "keynym provision sees only the HSM library" $face $provider
  forbid '^backends/pkcs11/' "a backend does not see another" $tpm2
  forbid '^backends/tpm2/' "a backend does not see another" $pkcs11
  forbid '^dps_emulator/' "the emulator shares no code" $face $pkcs11 $tpm2 $provider $hsm $prov
  forbid '^(backends|provider|hsm_api|prov_client)/' "nobody shares the emulator's code" $dps
  forbid '^backends/' "a backend does not see the provider's ABI" core.h core_dispatch.h core_object.h
  # a .c includes its own header first, where it has one
  awk '!($1 in seen) && $1 ~ /\.c$/ { seen[$1] = 1; own = $1; sub(/\.c$/, ".h", own); print $1, own, $2 }' <<<"$includes" |
    while read -r file own first; do
      [ ! -f "$own" ] || [ "${own##*/}" = "$first" ] || echo "$file: its own header is not the first that it includes"
    done
)
[ -z "$breaches" ] || { echo "$breaches"; exit 1; }
echo "layers hold"
