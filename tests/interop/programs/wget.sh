# GnuTLS: no OpenSSL, no alias; the key by its URI, through p11-kit.
title="wget (GnuTLS)" command=wget packages=wget
reason="peer did not return a certificate" # wget goes on without one, and the server says so
roles="client"
configure="\`certificate = device.pem\`, \`private_key = pkcs11:token=...;object=...;type=private?pin-source=/etc/keynym/pin\` (\`.wgetrc\`)"
version() { wget --version | sed -n '1s/^GNU Wget \([^ ]*\).*/\1/p'; }
missing() {
  command -v wget >/dev/null || { echo "wget is not installed (Debian: $packages)"; return; }
  wget --version | grep 'ssl/gnutls' >/dev/null || echo "wget is not built with GnuTLS"
}

client() {
  peer_server
  tested wget --no-config -4 --tries 1 --timeout 20 --ca-certificate "$ca" --certificate "$chain" --private-key "$uri" -O answer \
    "https://localhost:$port/" 2>wget.log || { cat wget.log; fail wget; }
  saw_client answer
}
