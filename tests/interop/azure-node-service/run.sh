#!/usr/bin/env bash
# Microsoft's own Node.js service client, unmodified and as published, against keynym-dps on a real name and port 443.
# Needs root, for a network and a mount namespace of its own. See --help.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
  cat <<'TEXT'
Usage: tests/interop/azure-node-service/run.sh BUILD

Installs the package of package-lock.json below BUILD, then runs, in a network and mount namespace where the name of a
provisioning service is this machine, keynym-dps of BUILD and the service client with every call that it has: enrollments of
each kind, groups, ETags, bulk operations, queries with pages, attestation mechanisms and registrations. Then a wrong key.
TEXT
}

case ${1:-} in
--help | -h) usage; exit 0 ;;
"") usage >&2; exit 2 ;;
esac

if [ "$1" != --work ]; then
  build=$(cd "$1" && pwd)
  [ "$(id -u)" = 0 ] || { echo "azure-node-service: needs root, for namespaces" >&2; exit 1; }
  modules=$build/azure-node-service
  mkdir -p "$modules"
  cp "$here"/package.json "$here"/package-lock.json "$here/service.js" "$modules"
  (cd "$modules" && npm ci --no-audit --no-fund --ignore-scripts --silent)
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  unshare --net --mount "$0" --work "$work" "$build"
  exit
fi

work=$2 build=$3
dps=$build/dps_emulator/keynym-dps
name=keynym.azure-devices-provisioning.net
unset OPENSSL_CONF OPENSSL_MODULES SSL_CERT_FILE SSL_CERT_DIR NODE_OPTIONS NODE_EXTRA_CA_CERTS
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy ALL_PROXY all_proxy
cd "$work"
ip link set lo up
printf '127.0.0.1 localhost %s\n' "$name" >hosts
mount --bind hosts /etc/hosts

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout root.key -subj "/CN=Fleet root" -days 2 -out root.pem \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>>openssl.log
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout leaf.key -subj "/CN=npm-x509" -days 2 -out leaf.pem \
  2>>openssl.log
"$dps" connection-string --dir state --host "$name" --out service.txt
"$dps" serve --dir state --name "$name" --https-port 443 >start.json 2>dps.log &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
for _ in $(seq 300); do [ -s start.json ] && break; sleep 0.1; done
[ -s start.json ] || { cat dps.log >&2; exit 1; }
export NODE_EXTRA_CA_CERTS=$work/state/ca.pem
node "$build/azure-node-service/service.js" service.txt root.pem leaf.pem || { tail -n 40 dps.log >&2; exit 1; }

# Negative control: the key of another state folder.
"$dps" connection-string --dir other --host "$name" --out wrong.txt
if node "$build/azure-node-service/service.js" wrong.txt root.pem leaf.pem >wrong.log 2>&1 || ! grep -q 401002 wrong.log; then
  echo "azure-node-service: a wrong key was not refused with 401002" >&2
  cat wrong.log >&2
  exit 1
fi
echo "ok   a wrong key is refused"
# No key of the service, and none of an enrollment, is in the log.
key=$(sed 's/.*SharedAccessKey=//' service.txt)
! grep -qF -e "$key" -e primaryKey dps.log || { echo "azure-node-service: a key is in the log" >&2; exit 1; }
