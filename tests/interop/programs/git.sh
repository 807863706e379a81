# Debian's git links libcurl with GnuTLS: the key by its URI, through p11-kit.
title="git (https, GnuTLS)" packages="git python3"
reason="error reading X.509 key"
roles="client"
configure="\`http.sslCert = device.pem\`, \`http.sslKey = pkcs11:token=...;object=...;type=private?pin-source=/etc/keynym/pin\`"
missing() {
  command -v git >/dev/null && [ -x /usr/bin/python3 ] || { echo "git and python3 are not installed (Debian: $packages)"; return; }
  ldd "$(git --exec-path)/git-remote-https" | grep libcurl-gnutls >/dev/null || echo "git is not built with libcurl-gnutls"
}
version() { git --version | sed 's/^git version //'; }

client() {
  free_port
  git init -q --bare www/repository.git
  git -C www/repository.git update-server-info
  cat >server.py <<'PY'
import http.server, ssl, sys
chain, key, ca, port = sys.argv[1:]
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        print(dict(field[0] for field in self.connection.getpeercert()["subject"]), flush=True)
        super().do_GET()
    def __init__(self, *arguments):
        super().__init__(*arguments, directory="www")
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
context.load_cert_chain(chain, key)
context.verify_mode = ssl.CERT_REQUIRED
server = http.server.HTTPServer(("127.0.0.1", int(port)), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
PY
  start peer /usr/bin/python3 -I server.py "$(peer_chain server)" "$(peer_key server)" "$ca" "$port"
  wait_listen "$port" "$pid" peer.log
  HOME=$dir GIT_TERMINAL_PROMPT=0 tested timeout --foreground 30 git -c http.sslCAInfo="$ca" -c http.sslCert="$chain" -c http.sslKey="$uri" \
    ls-remote "https://localhost:$port/repository.git" >git.log 2>&1 || { cat git.log; fail git; }
  contains peer.log "'commonName': 'token-client'"
  detail "the server saw CN=token-client"
}
