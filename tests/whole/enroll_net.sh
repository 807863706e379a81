#!/usr/bin/env bash
# keynym enroll through proxies and against servers of another name; groups that refer to a CA certificate, and many groups at once.
# enroll_net.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
has() { grep -qE -- "$1" "$work/out" || { cat "$work/out"; fail "$name: the output does not have: $1"; }; }
is() { # PATH VALUE
  local found
  found=$("$build/tests/whole_json" "$1" <"$work/out") && [ "$found" = "$2" ] || { cat "$work/out"; fail "$name: $1 is not '$2'"; }
}
run() { # STATUS COMMAND...
  local want=$1 got=0
  shift
  timeout 120 "$@" >"$work/out" 2>"$work/err" </dev/null || got=$?
  [ $got = "$want" ] || { cat "$work/out" "$work/err"; fail "$name: status $got instead of $want"; }
  ! grep -qF -e "$secret" -e 'pass:word' "$work/out" "$work/err" || fail "$name: a secret was printed"
}
refused() { # STATUS TEXT COMMAND...
  local want=$1 text=$2
  shift 2
  run "$want" "$@"
  [ ! -s "$work/out" ] || { cat "$work/out"; fail "$name: something was printed"; }
  cp "$work/err" "$work/out"
  has "$text"
  has 'next: '
}
proxy_start() { # [USER PASSWORD]: sets proxy
  rm -f "$work/proxy.in" "$work/proxy.out"
  mkfifo "$work/proxy.in"
  "$build/tests/whole_proxy" "$@" <"$work/proxy.in" >"$work/proxy.out" &
  proxy_pid=$!
  exec 7>"$work/proxy.in" # the proxy ends when this is closed
  wait_until 20 test -s "$work/proxy.out" || fail "no proxy"
  proxy=127.0.0.1:$(head -1 "$work/proxy.out")
}
proxy_saw() { # PATTERN: ends it
  exec 7>&-
  wait "$proxy_pid"
  tail -1 "$work/proxy.out" | grep -qxE -- "$1" || { cat "$work/proxy.out"; fail "$name: the proxy did not see $1"; }
}

"$root/softhsm_config/new-pki.sh" "$work/pki" >/dev/null 2>&1
start_dps "$work/dps" --https-port 0
https=$("$build/tests/whole_json" https.port <"$work/dps.json")
"$dps" connection-string --dir "$work/dps" --host "localhost:$https" --out "$work/connection"
secret=$(sed 's/.*SharedAccessKey=//' "$work/connection")
named() { (umask 077 && sed "s/localhost:/$1:/" "$work/connection" >"$work/connection.$1"); }

# ---- through a proxy, which resolves the name: nobody else knows hub1.keynym.test ----
named hub1.keynym.test
(umask 077 && printf 'user:pass:word\n' >"$work/auth" && printf 'user:wrong\n' >"$work/wrong")
count=0
for kind in http socks5h; do
  proxy_start
  name="$kind" && count=$((count + 1))
  run 0 "$keynym" enroll create "dev-$count" --symmetric-key --ca "$work/dps/ca.pem" --connection "$work/connection.hub1.keynym.test" \
    --proxy "$kind://$proxy" --json
  is registrationId "dev-$count"
  proxy_saw "1 tunnels, 0 refused"
  proxy_start user pass:word
  name="$kind with a password"
  run 0 "$keynym" enroll get "dev-$count" --ca "$work/dps/ca.pem" --connection "$work/connection.hub1.keynym.test" \
    --proxy "$kind://$proxy" --proxy-auth "$work/auth" --json
  is registrationId "dev-$count"
  name="$kind with a wrong password"
  refused 1 'proxy' "$keynym" enroll get "dev-$count" --ca "$work/dps/ca.pem" --connection "$work/connection" \
    --proxy "$kind://$proxy" --proxy-auth "$work/wrong"
  # at least once: over HTTP each begins with a request without a password
  proxy_saw "1 tunnels, [1-9][0-9]* refused"
  name="$kind, no proxy there"
  refused 4 'cannot be reached' "$keynym" enroll list --ca "$work/dps/ca.pem" --connection "$work/connection" --proxy "$kind://127.0.0.1:1"
done
name="a proxy that carries a user"
refused 2 'carries a user' "$keynym" enroll list --connection "$work/connection" --proxy http://user:pass:word@127.0.0.1:1

# ---- a server whose certificate is for other names: refused before it sees a request ----
for other in other.keynym.test 127.0.0.1.keynym.test; do
  for verb in list "create evil --symmetric-key" "delete dev-1"; do
    name="the name $other, $verb"
    named "$other"
    proxy_start
    # shellcheck disable=SC2086 # the words of the command
    refused 1 'name' "$keynym" enroll $verb --ca "$work/dps/ca.pem" --connection "$work/connection.$other" --proxy "http://$proxy"
    proxy_saw "1 tunnels, 0 refused"
  done
done
name="nothing was done"
run 0 "$keynym" enroll list --ca "$work/dps/ca.pem" --connection "$work/connection"
[ "$(cut -d' ' -f1 "$work/out" | sort | paste -sd' ')" = "dev-1 dev-2" ] || { cat "$work/out"; fail "$name"; }
name="unknown authority, through a proxy"
proxy_start
refused 1 'certificate' "$keynym" enroll list --ca "$work/pki/root.pem" --connection "$work/connection" --proxy "http://$proxy"
proxy_saw "1 tunnels, 0 refused"

# ---- a service that answers with keys: they are not printed ----
name="an answer with keys"
mkdir -p "$work/www/enrollments"
keys='"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"c2VjcmV0LXByaW1hcnk=","secondaryKey":"c2VjcmV0LXNlY29uZA=="}}'
body="{\"registrationId\":\"dev-9\",$keys}"
printf 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %s\r\nConnection: close\r\n\r\n%s' ${#body} "$body" \
  >"$work/www/enrollments/dev-9?api-version=2021-10-01"
(cd "$work/www" && exec timeout 60 openssl s_server -accept 127.0.0.1:0 -HTTP -cert "$work/dps/server.pem" -key "$work/dps/server.key") \
  >"$work/s_server" 2>&1 &
s_server=$!
wait_until 20 grep -q '^ACCEPT .*:[1-9]' "$work/s_server" || { cat "$work/s_server"; fail "no openssl s_server"; }
(umask 077 && sed "s/localhost:$https/localhost:$(sed -n 's/^ACCEPT .*:\([0-9]*\)$/\1/p' "$work/s_server")/" "$work/connection" >"$work/connection.keys")
run 0 "$keynym" enroll get dev-9 --ca "$work/dps/ca.pem" --connection "$work/connection.keys" --json
kill "$s_server"
is registrationId dev-9
is attestation.symmetricKey '{}'
! grep -q c2Vjcm "$work/out" "$work/err" || fail "$name: printed"

# ---- a group that refers to a CA certificate ----
at=(--ca "$work/dps/ca.pem" --connection "$work/connection")
"$dps" certificate add --dir "$work/dps" --id factory --certificate "$work/pki/root.pem" --verified >/dev/null
name="CA reference"
run 0 "$keynym" enroll create by-reference --group --ca-reference factory --hub hub.example.net "${at[@]}" --json
is attestation.type x509
is attestation.x509.caReferences.primary factory
is attestation.x509.signingCertificates ''
run 0 "$keynym" enroll update by-reference --group --disabled "${at[@]}" --json
is attestation.x509.caReferences.primary factory
is provisioningStatus disabled
name="CA reference and a certificate"
refused 2 'exclude each other' "$keynym" enroll create other --group --ca-reference factory --cert "$work/pki/root.pem" "${at[@]}"

# ---- many groups, ten in each request as for devices ----
groups() { # LAST [MEMBER]
  local i
  printf '['
  for i in $(seq "$1"); do
    [ "$i" = 1 ] || printf ,
    printf '{"enrollmentGroupId":"line-%s","attestation":{"type":"symmetricKey"}%s}' "$i" "${2:-}"
  done
  printf ']'
}
name="bulk of groups"
groups 23 >"$work/groups.json"
run 0 "$keynym" enroll bulk --group --mode create "$work/groups.json" "${at[@]}" --json
is total 23
is sent 23
is errors '[]'
run 0 "$keynym" enroll list --group "${at[@]}"
[ "$(grep -c '^line-.* symmetricKey *enabled' "$work/out")" = 23 ] || { cat "$work/out"; fail "$name: not 23 groups"; }
run 0 "$keynym" enroll list "${at[@]}"
! grep -q '^line-' "$work/out" || fail "$name: enrollments of devices were made"
name="bulk of groups, some refused"
groups 24 >"$work/more.json"
run 1 "$keynym" enroll bulk --group --mode create "$work/more.json" "${at[@]}"
has '^1 of 24 done'
grep -q 'line-23: error code 409201' "$work/err" || { cat "$work/err"; fail "$name: not named"; }
name="bulk of groups, update"
groups 24 ',"provisioningStatus":"disabled"' >"$work/more.json"
run 0 "$keynym" enroll bulk --group --mode update "$work/more.json" "${at[@]}" --quiet
run 0 "$keynym" enroll list --group "SELECT * FROM enrollmentGroups WHERE provisioningStatus = 'disabled'" "${at[@]}"
[ "$(grep -c '^line-' "$work/out")" = 24 ] || { cat "$work/out"; fail "$name: not all disabled"; }
name="bulk of groups, delete"
run 0 "$keynym" enroll bulk --group --mode delete "$work/more.json" "${at[@]}" --quiet
run 0 "$keynym" enroll list --group "${at[@]}"
[ "$(wc -l <"$work/out")" = 1 ] || { cat "$work/out"; fail "$name: not one group left"; }
echo "keynym enroll goes through proxies, verifies names, and manages groups"
