title="Redis" command=redis-server packages="redis-server redis-tools"
roles="server client"
configure_server="\`tls-cert-file device.pem\`, \`tls-key-file device.alias.pem\`, \`tls-ca-cert-file ca.pem\`"
configure_client="redis-cli: \`--tls --cert device.pem --key device.alias.pem --cacert ca.pem\`"
version() { redis-server --version | sed -n 's/.* v=\([^ ]*\).*/\1/p'; }

store() { # CHAIN KEY [tested]
  free_port
  start redis ${3:-} redis-server --port 0 --tls-port "$port" --bind 127.0.0.1 --dir "$dir" --save "" --tls-auth-clients yes \
    --tls-cert-file "$1" --tls-key-file "$2" --tls-ca-cert-file "$ca"
  wait_listen "$port" "$pid" redis.log
}
ask() { # CHAIN KEY [tested], or nothing: a client without a certificate
  local tls=(--tls --sni localhost --cacert "$ca") # redis-cli does not check the name of the host
  [ $# = 0 ] || tls+=(--cert "$1" --key "$2")
  ${3:-} timeout --foreground 30 redis-cli -h localhost -p "$port" "${tls[@]}" ping
}

server() {
  store "$chain" "$key" tested
  ask "$(peer_chain client)" "$(peer_key client)" >answer 2>&1 || { cat answer redis.log; fail redis-cli; }
  contains answer '^PONG$'
  printf 'PING\r\nquit\r\n' | tls_client -ign_eof >talk 2>&1
  contains talk 'subject=CN ?= ?token-server'
  contains talk '\+PONG'
  ask >without 2>&1 || true
  ! grep -q PONG without || fail "the server takes clients without a certificate"
  detail "only with a client certificate; the client saw CN=token-server"
}

client() {
  store "$(peer_chain server)" "$(peer_key server)"
  ask "$chain" "$key" tested >answer 2>&1 || { cat answer; fail redis-cli; }
  contains answer '^PONG$'
  ask >without 2>&1 || true
  ! grep -q PONG without || fail "the server takes clients without a certificate"
  detail "a server that wants a client certificate answered"
}
