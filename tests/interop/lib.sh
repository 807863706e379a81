# shellcheck shell=bash
# For the roles of programs. To be sourced. `tested` runs the program under test: with the provider; the others have none.
# In a role: $key is the alias, $chain its certificates, $uri the key's URI, $dir (where it is) an own directory.
work=$KN_INTEROP_WORK user=$KN_INTEROP_USER ca=$work/ca.pem
peer_key() { echo "$work/peer-$1.key"; }
peer_chain() { echo "$work/peer-$1.chain.pem"; }
pids=()
port=""
unset SOFTHSM2_CONF

# Words before a command: `tested` gives it the provider and the token, `as_user` is for programs that refuse to be root.
tested=(env OPENSSL_CONF="$work/openssl.cnf" SOFTHSM2_CONF="$dir/softhsm2.conf")
as_user=(env)
as_root() { [ "$(id -u)" = 0 ]; }
! as_root || as_user=(setpriv --reuid "$user" --regid "$user" --clear-groups)
tested() { "${tested[@]}" "$@"; }
as_user() { "${as_user[@]}" "$@"; }

fail() { echo "FAILED: $*"; exit 1; }
detail() { echo "detail: $*"; }
contains() { grep -qE -- "$2" "$1" || fail "$1 does not have: $2"; } # FILE REGEX

# A deadline that passes is exit status 124: a program that says no must do so at once.
wait_until() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { echo "deadline: $*"; exit 124; }
    sleep 0.05
  done
}

# ---- processes ----

# In the background, with a process group of its own; NAME.log is its output, $pid its id.
start() { # NAME [as_user] [tested] COMMAND...
  local log=$1.log words=()
  shift
  [ "$1" != as_user ] || { words+=("${as_user[@]}"); shift; }
  [ "$1" != tested ] || { words+=("${tested[@]}"); shift; }
  setsid "${words[@]}" "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  pids+=("$pid")
}
alive() { kill -0 "$1" 2>/dev/null; }
group_gone() { ! kill -0 -- "-$1" 2>/dev/null; }
stop() { # PID [signal]
  kill "-${2:-TERM}" "$1" 2>/dev/null || true
  local end=$((SECONDS + 5))
  until group_gone "$1"; do
    [ $SECONDS -lt $end ] || { kill -KILL -- "-$1" 2>/dev/null || true; break; }
    sleep 0.02
  done
  wait "$1" 2>/dev/null || true
}
stop_all() {
  local status=$? pid
  trap '' TERM INT HUP # timeout sends its signal twice
  for pid in "${pids[@]}"; do stop "$pid"; done
  exit $status
}

# ---- ports ----

listening() { # PORT: without a connection, which some servers would take for their only client
  grep -qiE ": [0-9A-F]+:$(printf %04X "$1") [0-9A-F]+:0000 (0A|07) " /proc/net/tcp /proc/net/tcp6 /proc/net/udp 2>/dev/null
}
free_port() { # sets port, below the range from which the system takes ports for connections
  while port=$((RANDOM % 12000 + 20000)); do
    mkdir "$work/ports/$port" 2>/dev/null && ! listening "$port" && return
  done
}
listening_or_gone() { listening "$1" || ! alive "$2"; }
wait_listen() { # PORT PID LOG
  wait_until 20 listening_or_gone "$1" "$2"
  alive "$2" || { cat "$3" 2>/dev/null; fail "the server did not start"; }
}

# ---- the other end: OpenSSL or curl, without the provider, with a key in a file ----

peer_server() { # answers each GET with a page that has the client's certificate; sets port
  start peer openssl s_server -accept 0 -www -cert "$(peer_chain server)" -cert_chain "$(peer_chain server)" \
    -key "$(peer_key server)" -CAfile "$ca" -Verify 3 -verify_return_error
  wait_until 20 grep -q '^ACCEPT' peer.log
  port=$(sed -n 's/^ACCEPT .*:\([0-9]*\)$/\1/p' peer.log)
}
saw_client() { # FILE: the page of peer_server, which the program under test has got
  contains "$1" 'Subject: CN ?= ?token-client'
  detail "$(sed -nE 's/^ *Protocol *: *(TLSv.*)/\1/p' "$1" | head -n 1): the server saw CN=token-client"
}

https_get() { # [curl option...]: gets / of the server under test into ./answer; curl.log has what it saw
  curl -4sSv --fail --max-time 30 --cacert "$ca" --cert "$(peer_chain client)" --key "$(peer_key client)" \
    -o answer "$@" "https://localhost:$port/" 2>curl.log || { cat curl.log; fail "curl"; }
  contains curl.log 'subject: CN=token-server'
}
https_refuses() { # a client without a certificate gets nothing
  ! curl -4sS --fail --max-time 30 --cacert "$ca" "https://localhost:$port/" >no-certificate.log 2>&1 ||
    fail "the server takes clients without a certificate"
}
https_mutual() { # the server answers with the client's name, and only to clients that have one
  https_get
  contains answer 'CN ?= ?peer-client|^peer-client'
  https_refuses
  detail "$(sed -nE 's/.*SSL connection using (TLSv[0-9.]*).*/\1/p' curl.log): the server saw CN=peer-client, the client CN=token-server"
}
tls_client() { # [s_client option...]: with --foreground, a signal for the role reaches it as well
  timeout --foreground 20 openssl s_client -connect "127.0.0.1:$port" \
    -CAfile "$ca" -verify_return_error -verify_hostname localhost \
    -cert "$(peer_chain client)" -cert_chain "$(peer_chain client)" -key "$(peer_key client)" "$@"
}
tls_look() { # [s_client option...]: which certificate the server under test shows
  tls_client "$@" </dev/null >talk 2>&1 || { cat talk; fail "no connection with openssl s_client"; }
  contains talk 'subject=CN ?= ?token-server'
}

secrets() { # files in ./ or named there that hold a private key, the peer's aside
  grep -rlE -- '-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----' . "$key" 2>/dev/null | while read -r file; do
    grep -E -- '-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----' "$file" | grep -qv 'KEYNYM ALIAS' && echo "$file"
  done || true
}
