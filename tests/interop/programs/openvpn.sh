title="OpenVPN" command=openvpn packages=openvpn
roles="server client"
configure="\`cert device.pem\`, \`key device.alias.pem\`, \`ca ca.pem\`"
version() { { openvpn --version || true; } | sed -n '1s/^OpenVPN \([^ ]*\).*/\1/p'; }

side() { # NAME MODE LOCAL REMOTE CHAIN KEY [tested]: one end of a tunnel on loopback, without a network device
  start "$1" ${7:-} openvpn --dev null --proto udp --local 127.0.0.1 --lport "$3" --remote 127.0.0.1 "$4" "--tls-$2" --dh none \
    --ca "$ca" --cert "$5" --key "$6" --verb 4 --connect-retry 1 --tls-exit
}
done_or_gone() { grep -qE 'Peer Connection Initiated|TLS Error|SIGTERM|Exiting' "$1.log"; }
tunnel() { # MODE OTHER: of the program under test, and of its peer
  local here there
  free_port
  here=$port
  free_port
  there=$port
  side peer "$2" "$there" "$here" "$(peer_chain "$2")" "$(peer_key "$2")"
  side tunnel "$1" "$here" "$there" "$chain" "$key" tested
  wait_until 30 done_or_gone tunnel
  contains tunnel.log 'Peer Connection Initiated'
  wait_until 30 done_or_gone peer
  contains peer.log 'Peer Connection Initiated'
  contains tunnel.log "VERIFY OK: depth=0, CN=peer-$2"
  contains peer.log "VERIFY OK: depth=0, CN=token-$1"
  detail "$(sed -nE 's/.*Control Channel: (TLSv[0-9.]+).*/\1/p' tunnel.log): it saw CN=peer-$2, its peer CN=token-$1"
}
server() { tunnel server client; }
client() { tunnel client server; }
