#!/usr/bin/env bash
# The check of layers must find planted breaches. layers_selftest.sh ROOT
set -euo pipefail
root=$(cd "${1:?ROOT is missing}" && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
for folder in backends provider hsm_api prov_client dps_emulator; do cp -r "$root/$folder" "$copy/"; done
plant() { # FILE INCLUDE
  cp "$copy/$1" "$copy/kept"
  printf '#include "%s"\n' "$2" >> "$copy/$1"
  if "$root/tests/lint/layers.sh" "$copy" >/dev/null; then echo "not found: $2 in $1"; exit 1; fi
  cp "$copy/kept" "$copy/$1"
}
plant provider/kn_ossl_init.c kn_backend.h
plant hsm_api/hsm_x509.c pkcs11/p11_key.h
plant prov_client/kn_prov.c kn_key.h
plant prov_client/kn_prov.c keynym_hsm.h
plant prov_client/cmd/kn_cmd_provision.c kn_key.h
plant dps_emulator/dps_main.c kn_err.h
plant backends/kn_key.c kn_ossl.h
"$root/tests/lint/layers.sh" "$copy" >/dev/null
echo "7 of 7 planted breaches found"
