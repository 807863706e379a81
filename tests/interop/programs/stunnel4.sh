title="stunnel" command=stunnel4 packages=stunnel4
roles="server client"
configure="\`cert = device.pem\`, \`key = device.alias.pem\`"
version() { stunnel4 -version 2>&1 | sed -n 's/^stunnel \([^ ]*\) .*/\1/p'; }

run_stunnel() { # stdin: the service
  {
    printf 'foreground = yes\npid =\nsyslog = no\ndebug = info\n[service]\naccept = 127.0.0.1:%s\n' "$port"
    printf 'cert = %s\nkey = %s\nCAfile = %s\nverifyChain = yes\n' "$chain" "$key" "$ca"
    cat
  } >stunnel.conf
  start stunnel tested stunnel4 stunnel.conf
  wait_listen "$port" "$pid" stunnel.log
}

server() {
  free_port
  cat >answer.sh <<'SH'
while IFS=$'\r' read -r line && [ -n "$line" ]; do :; done
printf 'HTTP/1.0 200 OK\r\n\r\n%s\n' "$SSL_CLIENT_DN"
SH
  run_stunnel <<CONF
exec = /bin/bash
execArgs = bash $dir/answer.sh
CONF
  https_mutual
}

client() {
  peer_server
  local upstream=$port
  free_port
  run_stunnel <<CONF
client = yes
connect = 127.0.0.1:$upstream
checkHost = localhost
CONF
  curl -sS --fail --max-time 30 -o answer "http://127.0.0.1:$port/"
  saw_client answer
}
