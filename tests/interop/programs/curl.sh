title="curl" command=curl packages=curl
roles="client"
configure="\`--cert device.pem --key device.alias.pem\`"
version() { curl --version | sed -n '1s/^curl \([^ ]*\).*/\1/p'; }

client() {
  peer_server
  tested curl -4sS --max-time 30 --cacert "$ca" --cert "$chain" --key "$key" -o answer "https://localhost:$port/"
  saw_client answer
}
