#!/usr/bin/env bash
# new-pki.sh DIR: a test PKI in DIR: root CA and intermediate CA, with keys in files (mode 0600).
# new-pki.sh DIR CSR OUT [device|server]: signs a request with the intermediate CA, for a device (a TLS client) or for a
# TLS server on localhost, and writes the chain to OUT: its certificate, intermediate, root. For tests and
# demonstrations: a real CA keeps its keys in hardware as well.
set -euo pipefail
umask 077
unset OPENSSL_CONF
dir=${1:?DIR is missing}
mkdir -p "$dir"

extensions() { # SECTION: what the certificate may be used for (RFC 5280)
  case $1 in
  root)
    echo "basicConstraints = critical, CA:true"
    echo "keyUsage = critical, keyCertSign, cRLSign"
    ;;
  intermediate)
    echo "basicConstraints = critical, CA:true, pathlen:0"
    echo "keyUsage = critical, keyCertSign, cRLSign"
    ;;
  device)
    echo "basicConstraints = critical, CA:false"
    echo "keyUsage = critical, digitalSignature"
    echo "extendedKeyUsage = clientAuth"
    ;;
  server)
    echo "basicConstraints = critical, CA:false"
    echo "keyUsage = critical, digitalSignature"
    echo "extendedKeyUsage = serverAuth"
    echo "subjectAltName = DNS:localhost, IP:127.0.0.1"
    ;;
  esac
  echo "subjectKeyIdentifier = hash"
  [ "$1" = root ] || echo "authorityKeyIdentifier = keyid"
}

ca_key() { # NAME
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$dir/$1.key" 2>/dev/null
}

if [ $# = 1 ]; then
  ca_key root
  ca_key intermediate
  openssl req -new -key "$dir/root.key" -subj "/CN=Keynym test root CA" -out "$dir/root.csr"
  openssl x509 -req -in "$dir/root.csr" -signkey "$dir/root.key" -sha256 -days 30 \
    -extfile <(extensions root) -out "$dir/root.pem" 2>/dev/null
  openssl req -new -key "$dir/intermediate.key" -subj "/CN=Keynym test intermediate CA" -out "$dir/intermediate.csr"
  openssl x509 -req -in "$dir/intermediate.csr" -CA "$dir/root.pem" -CAkey "$dir/root.key" -CAcreateserial -sha256 \
    -days 20 -extfile <(extensions intermediate) -out "$dir/intermediate.pem" 2>/dev/null
  rm -f "$dir/root.csr" "$dir/intermediate.csr"
else
  csr=$2 out=${3:?OUT is missing} use=${4:-device}
  openssl x509 -req -in "$csr" -CA "$dir/intermediate.pem" -CAkey "$dir/intermediate.key" -CAcreateserial -sha256 \
    -days 10 -extfile <(extensions "$use") -out "$out.leaf" 2>/dev/null
  cat "$out.leaf" "$dir/intermediate.pem" "$dir/root.pem" > "$out"
  rm -f "$out.leaf"
fi
