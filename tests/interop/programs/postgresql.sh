title="PostgreSQL" packages="postgresql postgresql-client"
roles="server client"
configure_server="\`ssl_cert_file = 'device.pem'\`, \`ssl_key_file = 'device.alias.pem'\` (owner root and mode 0640, or the server's user and 0600)"
configure_client="libpq: \`sslcert=device.pem sslkey=device.alias.pem\` (mode 0600 or, of root, 0640)"
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
missing() { [ -x "$bin/postgres" ] && [ -x "$bin/psql" ] || echo "postgres and psql are not installed (Debian: $packages)"; }
version() { "$bin/postgres" --version | sed 's/^postgres (PostgreSQL) \([^ ]*\).*/\1/'; }

database() { # CHAIN KEY [tested]
  free_port
  mkdir data
  chmod 750 data
  ! as_root || chown "$user" data
  as_user "$bin/initdb" -D "$dir/data" -U postgres -A reject --no-sync >initdb.log 2>&1 || { cat initdb.log; fail initdb; }
  echo "hostssl all all 127.0.0.1/32 trust clientcert=verify-ca" >data/pg_hba.conf
  start postgres as_user ${3:-} "$bin/postgres" -D "$dir/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c fsync=off -c ssl=on -c "ssl_cert_file=$1" -c "ssl_key_file=$2" -c "ssl_ca_file=$ca"
  wait_listen "$port" "$pid" postgres.log
  wait_until 20 grep -qE 'ready to accept|FATAL' postgres.log
}
query() { # CHAIN KEY [tested]
  ${3:-} timeout --foreground 30 "$bin/psql" -XAt "host=localhost hostaddr=127.0.0.1 port=$port user=postgres dbname=postgres
    sslmode=verify-full sslrootcert=$ca sslcert=$1 sslkey=$2" \
    -c "select version || ': ' || client_dn from pg_stat_ssl where pid = pg_backend_pid()"
}

server() {
  database "$chain" "$key" tested
  query "$(peer_chain client)" "$(peer_key client)" >answer || { tail -n 5 postgres.log; fail "psql"; }
  contains answer ': /CN=peer-client$'
  tls_look -starttls postgres
  ! query "$ca" /nonexistent >/dev/null 2>&1 || fail "the server takes clients without a certificate"
  detail "$(cut -d: -f1 answer): the server saw CN=peer-client, the client CN=token-server"
}

client() {
  database "$(peer_chain server)" "$(peer_key server)"
  query "$chain" "$key" tested >answer
  contains answer ': /CN=token-client$'
  detail "$(cut -d: -f1 answer): the server saw CN=token-client"
}
