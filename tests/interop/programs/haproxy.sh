title="HAProxy" command=haproxy packages=haproxy
roles="server client"
configure_server="\`bind :443 ssl crt both.pem\`: the chain and the alias in one file, or the alias in \`device.pem.key\` beside \`device.pem\`"
configure_client="\`server name host:443 ssl crt both.pem\`, as above"
softhsm=$(ls /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so 2>/dev/null | tail -n 1)
version() { haproxy -v | sed -n '1s/.*version \([^ ]*\).*/\1/p'; }

run_haproxy() { # stdin: the frontend
  {
    echo "defaults"
    echo "  mode http"
    echo "  timeout connect 10s"
    echo "  timeout client 10s"
    echo "  timeout server 10s"
    cat
  } >haproxy.cfg
  # Unless it is root, HAProxy forbids itself new threads, and the process ends if a module wants one, as OpenSC's does
  # (GLib): only SoftHSM2's is loaded.
  sed "s,^module =.*,&\nmodule_path = $softhsm," "$work/openssl.cnf" >openssl.cnf
  start haproxy tested env OPENSSL_CONF="$dir/openssl.cnf" haproxy -db -f haproxy.cfg
  wait_listen "$port" "$pid" haproxy.log
}

server() {
  free_port
  ln -s "$chain" device.pem
  ln -s "$key" device.pem.key
  run_haproxy <<CONF
frontend tls
  bind 127.0.0.1:$port ssl crt $dir/device.pem ca-file $ca verify required
  http-request return status 200 content-type text/plain lf-string "CN=%[ssl_c_s_dn(CN)]\n"
CONF
  https_mutual
}

client() {
  peer_server
  local upstream=$port
  cat "$chain" "$key" >both.pem
  free_port
  run_haproxy <<CONF
listen plain
  bind 127.0.0.1:$port
  server tls 127.0.0.1:$upstream ssl crt $dir/both.pem ca-file $ca verify required verifyhost localhost
CONF
  curl -sS --fail --max-time 30 -o answer "http://127.0.0.1:$port/"
  saw_client answer
}
