title="nginx" command=nginx packages=nginx
roles="server client"
configure_server="\`ssl_certificate device.pem; ssl_certificate_key device.alias.pem;\`"
configure_client="\`proxy_ssl_certificate device.pem; proxy_ssl_certificate_key device.alias.pem;\`"
version() { nginx -v 2>&1 | sed 's,.*/,,'; }

nginx_conf() { # stdin: the server block
  local kind
  ! as_root || echo "user $user;"
  echo "env SOFTHSM2_CONF;"
  echo "daemon off; worker_processes 4; pid nginx.pid; error_log stderr; events { worker_connections 64; }"
  echo "http {"
  echo "access_log off; keepalive_timeout 0;"
  for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path tmp.$kind;"; done
  cat
  echo "}"
}
run_nginx() {
  start nginx tested nginx -p "$dir" -c nginx.conf -e stderr
  wait_listen "$port" "$pid" nginx.log
}

server() {
  free_port
  nginx_conf >nginx.conf <<CONF
server {
  listen 127.0.0.1:$port ssl reuseport;
  ssl_certificate $chain;
  ssl_certificate_key $key;
  ssl_client_certificate $ca;
  ssl_verify_client on;
  ssl_verify_depth 3;
  location / { return 200 "\$ssl_client_s_dn worker \$pid\n"; }
}
CONF
  ! as_root || chown -R "$user" tokens # as users have it: SoftHSM2 writes its token at every login
  run_nginx
  # 8 clients, 50 handshakes each, none of them resumed
  local i workers clients=()
  for i in 1 2 3 4 5 6 7 8; do
    curl -4sS --fail --no-sessionid --cacert "$ca" --cert "$(peer_chain client)" --key "$(peer_key client)" \
      "https://localhost:$port/[1-50]" >"answers.$i" &
    clients+=($!)
  done
  wait "${clients[@]}" || { cat nginx.log; fail "a request failed"; }
  [ "$(cat answers.* | grep -c '^CN=peer-client worker')" = 400 ] || fail "not 400 answers"
  workers=$(cat answers.* | sort -u | wc -l)
  [ "$workers" = 4 ] || fail "not 4 workers have answered, but $workers"
  https_mutual
  detail "400 handshakes by 4 workers of $user; the server saw CN=peer-client, the client CN=token-server"
}

client() {
  peer_server
  local upstream=$port
  free_port
  nginx_conf >nginx.conf <<CONF
server {
  listen 127.0.0.1:$port;
  location / {
    proxy_pass https://127.0.0.1:$upstream;
    proxy_ssl_certificate $chain;
    proxy_ssl_certificate_key $key;
    proxy_ssl_trusted_certificate $ca;
    proxy_ssl_verify on;
    proxy_ssl_verify_depth 3;
    proxy_ssl_name localhost;
  }
}
CONF
  run_nginx
  curl -sS --fail --max-time 30 -o answer "http://127.0.0.1:$port/"
  saw_client answer
}
