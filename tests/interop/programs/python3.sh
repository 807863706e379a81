# The system's Python, whose ssl module uses the system's OpenSSL.
title="Python ssl" command=/usr/bin/python3 packages=python3
roles="server client"
configure="\`context.load_cert_chain(\"device.pem\", \"device.alias.pem\")\`"
version() { /usr/bin/python3 -c 'import platform; print(platform.python_version())'; }

server() {
  free_port
  cat >server.py <<'PY'
import http.server, ssl, sys
chain, key, ca, port = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = dict(field[0] for field in self.connection.getpeercert()["subject"])["commonName"]
        answer = b"CN=" + name.encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer))) # the connection ends without a close_notify
        self.end_headers()
        self.wfile.write(answer)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
context.load_cert_chain(chain, key)
context.verify_mode = ssl.CERT_REQUIRED
server = http.server.HTTPServer(("127.0.0.1", int(port)), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
PY
  start server tested /usr/bin/python3 -I server.py "$chain" "$key" "$ca" "$port"
  wait_listen "$port" "$pid" server.log
  https_mutual
}

client() {
  peer_server
  cat >client.py <<'PY'
import ssl, sys, urllib.request
chain, key, ca, port = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(chain, key)
sys.stdout.write(urllib.request.urlopen("https://localhost:%s/" % port, context=context, timeout=20).read().decode())
PY
  tested /usr/bin/python3 -I client.py "$chain" "$key" "$ca" "$port" >answer
  saw_client answer
}
