# Programs that still load engines: libp11's, with the same key by its URI. No provider.
title="libp11's engine" packages=libengine-pkcs11-openssl
reason="object not found"
roles="req pkeyutl s_client"
configure="\`-engine pkcs11 -keyform engine -key 'pkcs11:token=...;object=...;type=private?pin-source=/etc/keynym/pin'\`"
configure_pkeyutl=${configure/-key \'/-inkey \'}
unable() { [ "$KN_INTEROP_ALGORITHM" != ED25519 ] || echo "libp11 knows no Ed25519 keys"; }
missing() { [ -f "$(openssl version -e | sed 's/.*"\(.*\)"/\1/')/pkcs11.so" ] || echo "the engine is not installed (Debian: $packages)"; }
version() { dpkg-query -W -f '${Version}' libengine-pkcs11-openssl 2>/dev/null || echo; }
with_token() { # after an error the engine's programs may crash while they end (SoftHSMv2 issue 729): a failure like any other
  SOFTHSM2_CONF=$dir/softhsm2.conf openssl "$@" || fail "openssl $1"
}

req() {
  with_token req -new -engine pkcs11 -keyform engine -key "$uri" -subj /CN=request -out request.csr
  openssl req -in request.csr -noout -verify
  detail "request, verified"
}

pkeyutl() {
  openssl x509 -in "$chain" -noout -pubkey -out public.pem
  openssl dgst -sha256 -binary -out digest "$chain"
  with_token pkeyutl -sign -engine pkcs11 -keyform engine -inkey "$uri" -in digest -pkeyopt digest:sha256 -out signature
  openssl pkeyutl -verify -pubin -inkey public.pem -in digest -pkeyopt digest:sha256 -sigfile signature
  detail "signature, verified with the key of the certificate"
}

s_client() {
  peer_server
  printf 'GET / HTTP/1.0\r\n\r\n' | with_token s_client -connect "localhost:$port" -CAfile "$ca" -verify_return_error \
    -cert "$chain" -cert_chain "$chain" -engine pkcs11 -keyform engine -key "$uri" -quiet >answer
  saw_client answer
}
