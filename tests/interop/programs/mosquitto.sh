title="mosquitto" command=mosquitto packages="mosquitto mosquitto-clients"
roles="server client"
configure_server="\`certfile device.pem\`, \`keyfile device.alias.pem\`, \`cafile ca.pem\`"
configure_client="mosquitto_pub, mosquitto_sub: \`--cert device.pem --key device.alias.pem --cafile ca.pem\`"
version() { { mosquitto -h || true; } | sed -n 's/^mosquitto version \([^ ]*\).*/\1/p'; }

broker() { # CHAIN KEY [tested]
  free_port
  cat >mosquitto.conf <<CONF
listener $port 127.0.0.1
certfile $1
keyfile $2
cafile $ca
require_certificate true
use_identity_as_username true
log_dest stderr
log_type all
user $user
CONF
  start broker ${3:-} mosquitto -c mosquitto.conf
  wait_listen "$port" "$pid" broker.log
}
pass_message() { # CHAIN KEY [tested]: publishes and reads one
  local tls=(-h localhost -p "$port" --cafile "$ca" --cert "$1" --key "$2")
  ${3:-} timeout --foreground 30 mosquitto_pub "${tls[@]}" -i publisher -t keynym -r -m "a message"
  ${3:-} timeout --foreground 30 mosquitto_sub "${tls[@]}" -i reader -t keynym -C 1 -W 20 >message
  contains message '^a message$'
}

server() {
  broker "$chain" "$key" tested
  pass_message "$(peer_chain client)" "$(peer_key client)"
  contains broker.log "as publisher .*u'peer-client'"
  tls_look
  ! timeout --foreground 30 mosquitto_pub -h localhost -p "$port" --cafile "$ca" -t keynym -m x >without 2>&1 ||
    fail "the broker takes clients without a certificate"
  detail "the broker saw CN=peer-client, the client CN=token-server"
}

client() {
  broker "$(peer_chain server)" "$(peer_key server)"
  pass_message "$chain" "$key" tested
  contains broker.log "as publisher .*u'token-client'"
  contains broker.log "as reader .*u'token-client'"
  detail "mosquitto_pub and mosquitto_sub: the broker saw CN=token-client"
}
