title="socat" command=socat packages=socat
roles="server client"
configure="\`OPENSSL-LISTEN:port,cert=device.pem,key=device.alias.pem,cafile=ca.pem\`, the same with \`OPENSSL:host:port\`"
version() { socat -V | sed -n 's/^socat version \([^ ]*\).*/\1/p'; }

server() {
  free_port
  cat >answer.sh <<'SH'
while IFS=$'\r' read -r line && [ -n "$line" ]; do :; done
printf 'HTTP/1.0 200 OK\r\n\r\nCN=%s\n' "$SOCAT_OPENSSL_X509_COMMONNAME"
SH
  start socat tested socat -d -d "OPENSSL-LISTEN:$port,bind=127.0.0.1,reuseaddr,fork,cert=$chain,key=$key,cafile=$ca,verify=1" "EXEC:bash answer.sh"
  wait_listen "$port" "$pid" socat.log
  https_mutual
}

client() {
  peer_server
  printf 'GET / HTTP/1.0\r\n\r\n' |
    tested timeout --foreground 30 socat -t 20 - "OPENSSL:localhost:$port,pf=ip4,cert=$chain,key=$key,cafile=$ca,verify=1" >answer
  saw_client answer
}
