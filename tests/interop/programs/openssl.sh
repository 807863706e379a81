# The commands of openssl, as server, as client, and those that sign.
title="openssl" command=openssl packages=openssl
roles="s_server s_client req x509 ca cms dgst pkeyutl"
configure="key file: \`-key device.alias.pem\`"
configure_s_server="\`-cert device.pem -cert_chain device.pem -key device.alias.pem\`"
configure_s_client=$configure_s_server
configure_x509="\`-CA ca.pem -CAkey ca.alias.pem\`"
configure_ca="\`private_key = ca.alias.pem\`"
configure_req="\`-key device.alias.pem\`, or the URI itself"
configure_cms="\`-signer device.pem -certfile issuers.pem -inkey device.alias.pem\`"
configure_dgst="\`-sign device.alias.pem\`"
configure_pkeyutl="\`-sign -inkey device.alias.pem\`"
version() { openssl version | cut -d' ' -f2; }

s_server() {
  local version
  start server tested openssl s_server -accept 0 -www -cert "$chain" -cert_chain "$chain" -key "$key" \
    -CAfile "$ca" -Verify 3 -verify_return_error
  wait_until 20 grep -qE '^ACCEPT|^[0-9A-F]+:error' server.log
  port=$(sed -n 's/^ACCEPT .*:\([0-9]*\)$/\1/p' server.log)
  for version in 1.2 1.3; do
    https_get --tlsv$version --tls-max $version
    contains answer 'Subject: CN ?= ?peer-client'
  done
  https_refuses
  detail "TLSv1.2 and TLSv1.3: the server saw CN=peer-client, the client CN=token-server"
}

s_client() {
  local version
  peer_server
  for version in -tls1_2 -tls1_3; do
    printf 'GET / HTTP/1.0\r\n\r\n' | tested openssl s_client -connect "localhost:$port" $version \
      -CAfile "$ca" -verify_return_error -verify_hostname localhost -cert "$chain" -cert_chain "$chain" -key "$key" \
      -quiet >answer 2>client.log || { cat client.log; fail s_client; }
    saw_client answer
  done
  detail "TLSv1.2 and TLSv1.3: the server saw CN=token-client"
}

# Asked of the program itself, with a key in a file: newer releases can.
software_can() { # ROLE: a signature with a software key of the algorithm
  local dir
  dir=$(mktemp -d "$work/unable.XXXXXX")
  openssl req -x509 -newkey "${KN_INTEROP_ALGORITHM%%:*}" -noenc -keyout "$dir/key" -subj /CN=software -out "$dir/crt" 2>/dev/null
  case $1 in
  cms) openssl cms -sign -binary -nodetach -in "$dir/crt" -signer "$dir/crt" -inkey "$dir/key" -outform DER -out "$dir/out" ;;
  dgst) openssl dgst -sha256 -sign "$dir/key" -out "$dir/out" "$dir/crt" ;;
  esac >/dev/null 2>&1
}
unable() {
  case $KN_INTEROP_ALGORITHM.$1 in
  ED25519.cms | ED25519.dgst) software_can "$1" || echo "openssl $1 takes no Ed25519 keys, in files either" ;;
  esac
}

req() {
  local name
  for name in "$key" "$uri"; do
    tested openssl req -new -key "$name" -subj "/CN=request" -out request.csr
    openssl req -in request.csr -noout -verify
    tested openssl req -x509 -key "$name" -subj "/CN=self" -out self.pem
    openssl verify -CAfile self.pem self.pem
  done
  detail "request and self-signed certificate, by alias and by URI"
}

new_ca() { # ca.pem: a CA whose key is in the token; request.csr: what it shall sign
  tested openssl req -x509 -key "$key" -subj "/CN=CA in a token" -addext "basicConstraints = critical, CA:true" -days 3 -out ca.pem
  openssl req -new -key "$(peer_key client)" -subj "/CN=somebody" -out request.csr
}

x509() {
  new_ca
  tested openssl x509 -req -in request.csr -CA ca.pem -CAkey "$key" -CAcreateserial -days 2 -out leaf.pem
  openssl verify -CAfile ca.pem leaf.pem
  tested openssl x509 -x509toreq -in ca.pem -signkey "$key" -out again.csr
  openssl req -in again.csr -noout -verify
  detail "certificate of another key, signed"
}

ca() {
  new_ca
  touch index.txt
  cat >ca.cnf <<CONF
[ca]
default_ca = own
[own]
database = index.txt
new_certs_dir = .
certificate = ca.pem
private_key = $key
serial = serial
default_md = sha256
default_days = 2
default_crl_days = 2
policy = any
[any]
commonName = supplied
CONF
  tested openssl ca -config ca.cnf -batch -notext -create_serial -in request.csr -out leaf.pem
  openssl verify -CAfile ca.pem leaf.pem
  tested openssl ca -config ca.cnf -gencrl -out ca.crl
  openssl crl -in ca.crl -CAfile ca.pem -noout 2>&1 | grep 'verify OK'
  detail "certificate and revocation list"
}

cms() {
  echo "a message" >message
  tested openssl cms -sign -binary -nodetach -in message -signer "$chain" -certfile "$work/pki/intermediate.pem" -inkey "$key" -outform DER -out message.p7
  openssl cms -verify -binary -inform DER -in message.p7 -CAfile "$ca" -purpose any -out verified
  diff message verified
  detail "signed message, verified"
}

public_key() { openssl x509 -in "$chain" -noout -pubkey -out public.pem; }

dgst() {
  local digest
  public_key
  for digest in sha256 sha384 sha512; do
    tested openssl dgst -$digest -sign "$key" -out signature "$chain"
    openssl dgst -$digest -verify public.pem -signature signature "$chain"
  done
  detail "SHA-256, SHA-384, SHA-512"
}

pkeyutl() {
  public_key
  if [ "$KN_INTEROP_ALGORITHM" = ED25519 ]; then # signs the message, not a digest
    tested openssl pkeyutl -sign -rawin -inkey "$key" -in "$chain" -out signature
    openssl pkeyutl -verify -rawin -pubin -inkey public.pem -in "$chain" -sigfile signature
    detail "a file with -rawin"
    return
  fi
  openssl dgst -sha256 -binary -out digest "$chain"
  tested openssl pkeyutl -sign -inkey "$key" -in digest -pkeyopt digest:sha256 -out signature
  openssl pkeyutl -verify -pubin -inkey public.pem -in digest -pkeyopt digest:sha256 -sigfile signature
  tested openssl pkeyutl -sign -rawin -inkey "$key" -in "$chain" -digest sha256 -out signature
  openssl pkeyutl -verify -rawin -pubin -inkey public.pem -in "$chain" -digest sha256 -sigfile signature
  detail "a digest, and a file with -rawin"
}
