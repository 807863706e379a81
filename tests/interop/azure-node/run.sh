#!/usr/bin/env bash
# Microsoft's own Node.js clients, unmodified and as published, against keynym-dps on real names and default ports.
# Needs root, for a network and a mount namespace of its own. See --help.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
  cat <<'TEXT'
Usage: tests/interop/azure-node/run.sh BUILD [TRANSPORT...]

Installs the packages of package-lock.json below BUILD, then runs, in a network and mount namespace where the names of
Azure are this machine, keynym-dps of BUILD and three devices per transport (default: mqtt mqtt-ws amqp amqp-ws https):
it registers with a certificate, with a key of its own and with a key derived from a group's, sends a message to the hub it was assigned to, gets and updates its twin, and receives a message and a
change of its desired properties. What arrived is compared with what was sent.

  --work DIR   (internal) inside the namespaces
TEXT
}

case ${1:-} in
--help | -h) usage; exit 0 ;;
"") usage >&2; exit 2 ;;
esac

if [ "$1" != --work ]; then
  build=$(cd "$1" && pwd)
  shift
  [ "$(id -u)" = 0 ] || { echo "azure-node: needs root, for namespaces" >&2; exit 1; }
  modules=$build/azure-node
  mkdir -p "$modules"
  cp "$here"/package.json "$here"/package-lock.json "$modules"
  (cd "$modules" && npm ci --no-audit --no-fund --ignore-scripts --silent)
  cp "$here/device.js" "$modules"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  unshare --net --mount "$0" --work "$work" "$build" "$@"
  exit
fi

work=$2 build=$3
shift 3
[ $# -gt 0 ] || set -- mqtt mqtt-ws amqp amqp-ws https
dps=$build/dps_emulator/keynym-dps
hub=hub1.azure-devices.net
unset OPENSSL_CONF OPENSSL_MODULES SSL_CERT_FILE SSL_CERT_DIR NODE_OPTIONS NODE_EXTRA_CA_CERTS
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy ALL_PROXY all_proxy
cd "$work"

# The names of Azure are this machine: this is all it takes to point an SDK at keynym-dps.
ip link set lo up
printf '127.0.0.1 localhost global.azure-devices-provisioning.net %s\n' "$hub" >hosts
mount --bind hosts /etc/hosts

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
key root
openssl req -x509 -new -key root.key -subj "/CN=Fleet root" -days 2 -out root.pem \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
printf 'extendedKeyUsage=clientAuth\n' >leaf.ext
for transport; do
  key "x509-$transport"
  openssl req -new -key "x509-$transport.key" -subj "/CN=x509-$transport" -out leaf.csr
  openssl x509 -req -in leaf.csr -CA root.pem -CAkey root.key -CAcreateserial -days 1 -extfile leaf.ext \
    -out "x509-$transport.pem" 2>>openssl.log
done

"$dps" group create --dir state --id fleet --certificate root.pem >/dev/null
"$dps" group create --dir state --id keys --symmetric-key >/dev/null
for transport; do
  "$dps" enrollment create --dir state --id "key-$transport" --symmetric-key >/dev/null
  "$dps" enrollment key --dir state --id "key-$transport" --out "key-$transport.key"
  "$dps" group key --dir state --id keys --device "derived-$transport" --out "derived-$transport.key"
done
"$dps" serve --dir state --hub "$hub" --retry-after 1 --log-level debug >start.json 2>dps.log &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
for _ in $(seq 300); do [ -s start.json ] && break; sleep 0.1; done
scope=$(sed -n 's/.*"idScope":"\([^"]*\)".*/\1/p' start.json)
[ -n "$scope" ] || { cat dps.log >&2; exit 1; }
export NODE_EXTRA_CA_CERTS=$work/state/ca.pem

problem() {
  echo "azure-node: $1" >&2
  echo "--- the device:" >&2
  cat "$2" >&2
  echo "--- the server:" >&2
  tail -n 40 dps.log >&2
  exit 1
}

# await FILE WORD PID: until the device has said it, or ended
await() {
  local i
  for i in $(seq 700); do
    grep -q "^$2" "$1" && return 0
    kill -0 "$3" 2>/dev/null || break
    sleep 0.1
  done
  grep -q "^$2" "$1" || problem "no \"$2\" in time" "$1"
}

# device TRANSPORT ID [arguments of device.js...]
device() {
  local transport=$1 id=$2 log=$2.log pid
  shift 2
  : >"$log"
  node "$build/azure-node/device.js" "$transport" "$scope" "$id" "$@" >"$log" 2>&1 &
  pid=$!
  await "$log" listening "$pid"
  grep -qx "registered $hub" "$log" || problem "$id was not assigned to $hub" "$log"
  "$dps" send --dir state --device "$id" --body "for $id" --property k=v >/dev/null
  "$dps" twin update --dir state --device "$id" --desired '{"n":7}'
  wait "$pid" || problem "$id failed over $transport" "$log"
  grep -qx "message for $id v" "$log" || problem "$id did not get its message" "$log"
  if [ "$transport" != https ]; then # the hub has no twins over HTTPS
    grep -qx "desired 7" "$log" || problem "$id did not get its desired properties" "$log"
    "$dps" twin show --dir state --device "$id" | grep -q '"reported":{"alive":true,"$version":2}' ||
      problem "what $id reported is not in its twin" "$log"
  fi
  "$dps" events --dir state --device "$id" >events
  if [ "$(wc -l <events)" != 1 ] || ! grep -q "\"body\":\"{\\\\\"from\\\\\":\\\\\"$id\\\\\"}\"" events ||
    ! grep -q "\"transport\":\"$transport\",.*\"\$.ct\":\"application/json\"" events; then
    problem "what $id sent is not what arrived: $(cat events)" "$log"
  fi
  "$dps" registrations --dir state --id "$id" --json | grep -q "\"transport\":\"$transport\"" ||
    problem "$id registered over another transport" "$log"
  # the message was completed: nothing is left for the next session
  echo "ok   $id"
}

for transport; do
  device "$transport" "x509-$transport" x509 "x509-$transport.pem" "x509-$transport.key"
  device "$transport" "key-$transport" key "key-$transport.key"
  device "$transport" "derived-$transport" key "derived-$transport.key"
done

# Negative controls: a certificate of nobody, and the key of another device.
key other
openssl req -x509 -new -key other.key -subj "/CN=stranger" -days 1 -out stranger.pem
for transport; do
  if node "$build/azure-node/device.js" "$transport" "$scope" stranger x509 stranger.pem other.key >stranger.log 2>&1; then
    problem "a stranger was accepted over $transport" stranger.log
  fi
  grep -q "^FAILED register: \(.*Unauthorized\|.*401\|amqp:unauthorized-access\)" stranger.log ||
    problem "a stranger was refused for another reason over $transport" stranger.log
  if node "$build/azure-node/device.js" "$transport" "$scope" "key-$transport" key "derived-$transport.key" >wrong.log 2>&1; then
    problem "a wrong key was accepted over $transport" wrong.log
  fi
  grep -q "^FAILED register: " wrong.log || problem "a wrong key was refused for another reason over $transport" wrong.log
  echo "ok   stranger and wrong key refused over $transport"
done
