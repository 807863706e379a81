title="apache2 (prefork)" command=apache2 packages=apache2-bin
roles="server client"
configure_server="\`SSLCertificateFile device.pem\`, \`SSLCertificateKeyFile device.alias.pem\`"
configure_client="\`SSLProxyMachineCertificateFile both.pem\`: the device's certificate and the alias in one file; \`SSLProxyMachineCertificateChainFile device.pem\`"
version() { apache2 -v | sed -n 's,.*Apache/\([^ ]*\).*,\1,p'; }

apache_conf() { # stdin: the rest
  local module modules=/usr/lib/apache2/modules
  echo "ServerRoot $dir"
  echo "ServerName localhost"
  echo "DefaultRuntimeDir $dir"
  echo "PidFile apache.pid"
  echo "ErrorLog apache.log"
  ! as_root || printf 'User %s\nGroup %s\n' "$user" "$user"
  for module in mpm_prefork authz_core ssl headers rewrite proxy proxy_http; do
    echo "LoadModule ${module}_module $modules/mod_$module.so"
  done
  echo "StartServers 4"
  echo "MaxConnectionsPerChild 5"
  echo "Listen 127.0.0.1:$port"
  cat
}
run_apache() {
  start apache tested apache2 -d "$dir" -f "$dir/apache.conf" -D FOREGROUND
  wait_listen "$port" "$pid" apache.log
}

server() {
  local i
  free_port
  apache_conf >apache.conf <<CONF
SSLEngine on
SSLCertificateFile $chain
SSLCertificateKeyFile $key
SSLCACertificateFile $ca
SSLVerifyClient require
SSLVerifyDepth 3
DocumentRoot $dir/www
RewriteEngine on
RewriteRule .* /index.html
Header always set X-Client "%{SSL_CLIENT_S_DN}s"
CONF
  mkdir www
  echo ok >www/index.html
  run_apache
  # children come and go: each one serves five
  for i in {1..40}; do https_get --dump-header answer.header; done
  contains answer.header '^X-Client: CN=peer-client'
  https_refuses
  detail "40 handshakes by children of $user; the server saw CN=peer-client, the client CN=token-server"
}

client() {
  peer_server
  local upstream=$port
  openssl x509 -in "$chain" -out both.pem
  cat "$key" >>both.pem
  free_port
  apache_conf >apache.conf <<CONF
SSLProxyEngine on
SSLProxyMachineCertificateFile both.pem
SSLProxyMachineCertificateChainFile $chain
SSLProxyCACertificateFile $ca
SSLProxyVerify require
SSLProxyVerifyDepth 3
ProxyPass / https://localhost:$upstream/
CONF
  run_apache
  curl -sS --fail --max-time 30 -o answer "http://127.0.0.1:$port/"
  saw_client answer
}
