title="lighttpd (mod_openssl)" command=lighttpd packages="lighttpd lighttpd-mod-openssl"
roles="server"
configure="\`ssl.pemfile = \"device.pem\"\`, \`ssl.privkey = \"device.alias.pem\"\`"
version() { lighttpd -v | sed -n 's,^lighttpd/\([^ ]*\).*,\1,p'; }
missing() {
  command -v lighttpd >/dev/null && [ -f /usr/lib/lighttpd/mod_openssl.so ] ||
    echo "lighttpd with mod_openssl is not installed (Debian: $packages)"
}

server() {
  free_port
  mkdir www
  printf 'printf "Content-Type: text/plain\\r\\n\\r\\nCN=%%s\\n" "$SSL_CLIENT_S_DN_CN"\n' >www/index.sh
  cat >lighttpd.conf <<CONF
server.modules = ( "mod_openssl", "mod_cgi" )
server.document-root = "$dir/www"
server.bind = "127.0.0.1"
server.port = $port
$(! as_root || echo "server.username = \"$user\"")
index-file.names = ( "index.sh" )
cgi.assign = ( ".sh" => "/bin/sh" )
ssl.engine = "enable"
ssl.pemfile = "$chain"
ssl.privkey = "$key"
ssl.ca-file = "$ca"
ssl.verifyclient.activate = "enable"
ssl.verifyclient.enforce = "enable"
ssl.verifyclient.depth = 3
CONF
  start lighttpd tested lighttpd -D -f lighttpd.conf
  wait_listen "$port" "$pid" lighttpd.log
  https_mutual
}
