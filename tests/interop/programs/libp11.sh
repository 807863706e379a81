# libp11 as an independent reader of what keynym wrote on the token.
title="libp11" packages="libp11-dev libssl-dev gcc"
reason="test_libp11_reads.c:[0-9]+: found"
roles="reader"
configure="nothing: key, public key and certificate have one id and one label"
unable() { [ "$KN_INTEROP_ALGORITHM" != ED25519 ] || echo "libp11 knows no Ed25519 keys"; }
missing() {
  pkg-config --exists libp11 libcrypto 2>/dev/null && command -v cc >/dev/null ||
    echo "libp11 is not installed (Debian: $packages)"
}
version() { pkg-config --modversion libp11; }

reader() {
  local proxy id
  proxy=$(pkg-config --variable=proxy_module p11-kit-1)
  # shellcheck disable=SC2046 # several words
  cc -std=c11 -D_GNU_SOURCE -Wall -Wextra "$KN_INTEROP/test_libp11_reads.c" -o reads \
    $(pkg-config --cflags --libs libp11 libcrypto)
  id=$(tested "$KEYNYM" key show --json "$work/client.alias.pem" | sed -nE 's/.*"id":[[:space:]]*"([0-9a-f]*)".*/\1/p')
  tested ./reads "$proxy" keynym-interop "$work/token/pin" "$object" "$id" "$chain"
  detail "id, label, public key and certificate are what keynym wrote; a signature verifies"
}
