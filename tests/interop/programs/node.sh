title="Node.js" packages=nodejs
roles="server client"
configure="\`node --openssl-config=/etc/ssl/openssl.cnf --openssl-shared-config\`; then \`cert:\` and \`key:\` with the contents of \`device.pem\` and \`device.alias.pem\`"
missing() {
  [ -x /usr/bin/node ] || { echo "/usr/bin/node is not installed (Debian: $packages)"; return; }
  case $(/usr/bin/node -p process.versions.openssl) in 3.*) ;; *) echo "/usr/bin/node has no OpenSSL 3" ;; esac
}
version() { # a node of another origin than Debian has an OpenSSL of its own
  /usr/bin/node -p '`${process.versions.node} (OpenSSL ${process.versions.openssl}, ` +
    `${process.config.variables.node_shared_openssl ? "the system\u0027s" : "its own"})`'
}
run_node() { echo tested /usr/bin/node --openssl-config="$work/openssl.cnf" --openssl-shared-config; }

server() {
  free_port
  cat >server.js <<'JS'
const https = require('https'), fs = require('fs');
const [chain, key, ca, port] = process.argv.slice(2);
const read = fs.readFileSync;
https.createServer({ cert: read(chain), key: read(key), ca: read(ca), requestCert: true, rejectUnauthorized: true },
  (request, response) => response.end('CN=' + request.socket.getPeerCertificate().subject.CN + '\n'))
  .listen(Number(port), '127.0.0.1');
JS
  start server $(run_node) server.js "$chain" "$key" "$ca" "$port"
  wait_listen "$port" "$pid" server.log
  https_mutual
}

client() {
  peer_server
  cat >client.js <<'JS'
const https = require('https'), fs = require('fs');
const [chain, key, ca, port] = process.argv.slice(2);
const read = fs.readFileSync;
https.get({ host: 'localhost', family: 4, port: Number(port), cert: read(chain), key: read(key), ca: read(ca) },
  response => response.pipe(process.stdout));
JS
  $(run_node) client.js "$chain" "$key" "$ca" "$port" >answer
  saw_client answer
}
