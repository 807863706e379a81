#!/usr/bin/env bash
# What the provider costs, as a table. See --help.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

usage() {
  cat <<'TEXT'
Usage: tests/bench/run.sh [OPTIONS] BUILD

Measures with the provider of BUILD and prints a table in Markdown. It fails when a count is
not exact, or a ratio is beyond its limit by more than a margin for a busy machine.

  --rounds N     rounds of each measurement in turn (default: 15)
  --write-docs   write the table to docs/performance.md
  --help         this text

Needs valgrind for the last part; without it, that part says so and is left out.
TEXT
}

rounds=15 write_docs=0 build=""
while [ $# -gt 0 ]; do
  case $1 in
  --rounds) rounds=${2:?--rounds needs a number}; shift ;;
  --write-docs) write_docs=1 ;;
  --help | -h) usage; exit 0 ;;
  -*) echo "run.sh: unknown option $1; see --help" >&2; exit 2 ;;
  *) build=$(cd "$1" && pwd) ;;
  esac
  shift
done
[ -n "$build" ] || { usage >&2; exit 2; }
unset OPENSSL_CONF OPENSSL_MODULES SSL_CERT_FILE SSL_CERT_DIR SOFTHSM2_CONF KEYNYM_CONF KEYNYM_LOG
export LC_ALL=C.UTF-8
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=$work/failed

heading() {
  printf '\n## %s\n\n| what | min / **median** / max, or count | limit |\n|---|---|---|\n' "$1"
}

# ---- instructions of a program that uses only keys in files ----

configuration() { # NAME KEYNYM
  {
    printf 'openssl_conf = init\n[init]\nproviders = providers\n[providers]\ndefault = default_section\n'
    [ "$2" = 0 ] || printf 'keynym = keynym_section\n'
    printf '[default_section]\nactivate = 1\n[keynym_section]\nmodule = %s/provider/keynym.so\nactivate = 1\n' "$build"
  } >"$work/$1.cnf"
}

instructions() { # WITH-OR-WITHOUT WHAT: inside measured(), for four turns
  OPENSSL_CONF="$work/$1.cnf" valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect=measured \
    "$build/tests/bench_software" "$2" 4 2>&1 | sed -n 's/.*Collected : //p'
}

software() { # WHAT TEXT LIMIT FAILS-ABOVE (per cent)
  local base with percent
  base=$(instructions without "$1")
  with=$(instructions with "$1")
  [ -n "$base" ] && [ -n "$with" ] || { echo "run.sh: callgrind gave no count for $1" >&2; return 1; }
  percent=$(awk -v a="$base" -v b="$with" 'BEGIN { printf "%.2f", 100 * (b - a) / a }')
  printf '| %s: %d instructions, with keynym | +%s %% | %s |\n' "$2" $((base / 4)) "$percent" "$3"
  awk -v p="$percent" -v most="$4" 'BEGIN { exit !(p <= most) }' || {
    echo "run.sh: $2: +$percent %, more than $4 % fails" >&2
    return 1
  }
}

# ---- instructions of a signature on SoftHSM2: what the clock is too coarse for ----

signatures() { # WHO COUNT
  valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect=bench_sign_once \
    "$build/tests/bench_sign" "$1" "$2" 2>&1 | sed -n 's/.*Collected : //p'
}

of_one_signature() { # WHO: from two runs, so that what is done once does not count
  local few many
  few=$(signatures "$1" 100)
  many=$(signatures "$1" 300)
  [ -n "$few" ] && [ -n "$many" ] || { echo "run.sh: callgrind gave no count for $1" >&2; return 1; }
  echo $(((many - few) / 200))
}

signature_row() { # TEXT RAW OTHER LIMIT FAILS-BELOW
  local ratio
  ratio=$(awk -v a="$2" -v b="$3" 'BEGIN { printf "%.3f", a / b }')
  printf '| %s: instructions of a signature as a ratio to the raw loop (%d to %d) | %s | %s |\n' "$1" "$2" "$3" "$ratio" "$4"
  awk -v r="$ratio" -v least="$5" 'BEGIN { exit !(r >= least) }' || {
    echo "run.sh: $1: $ratio, less than $5 fails" >&2
    return 1
  }
}

softhsm_instructions() {
  local raw keynym null
  raw=$(of_one_signature raw) && keynym=$(of_one_signature keynym) && null=$(of_one_signature null) || return 1
  signature_row "P-256 on SoftHSM2, keynym" "$raw" "$keynym" ">= 0.94" 0.93
  signature_row "P-256 on SoftHSM2, null provider over the same two calls" "$raw" "$null" "-" 0
}

all() {
  heading "Calls of PKCS#11, and a forked child"
  "$build/tests/bench_calls" || echo x >>"$failures"
  heading "CPU time of a signature"
  "$build/tests/bench_sign" cpu "$rounds" || echo x >>"$failures"
  heading "P-256 on SoftHSM2"
  "$build/tests/bench_sign" softhsm "$rounds" || echo x >>"$failures"
  heading "P-256 on SoftHSM2 with token_copy = yes"
  "$build/tests/bench_sign" copy "$rounds" || echo x >>"$failures"
  heading "64 threads over a token that takes 2 ms"
  "$build/tests/bench_sign" slow $(((rounds + 1) / 2)) || echo x >>"$failures"
  heading "Keys of a TPM (swtpm)"
  "$build/tests/bench_tpm" rate "$rounds" || echo x >>"$failures"
  "$build/tests/bench_tpm" restart "$rounds" || echo x >>"$failures"
  heading "A registration of the client, beside its TLS handshake"
  "$build/tests/bench_registration" $(((rounds + 1) / 2)) 2>/dev/null | grep '^|' || echo x >>"$failures"
  heading "Instructions"
  if ! command -v valgrind >/dev/null; then
    printf '| instructions | skipped: valgrind is not installed | - |\n'
    return
  fi
  softhsm_instructions || echo x >>"$failures"
  configuration without 0
  configuration with 1
  software handshake "TLS 1.3 handshake, P-256" "<= 3.6 %" 3.6 || echo x >>"$failures"
  software mutual "TLS 1.3 handshake, P-256, with client authentication" "<= 3.6 %" 4.2 || echo x >>"$failures"
  software load-ec "reading a P-256 key in PEM" "<= 5 %" 20 || echo x >>"$failures"
  software load-rsa "reading an RSA key in PEM" "<= 5 %" 20 || echo x >>"$failures"
  software certificate "reading a P-256 certificate" "-" 15 || echo x >>"$failures"
}

all | tee "$work/table" # in a subshell, so failures are noted in a file
if [ $write_docs = 1 ]; then
  {
    sed -n '1,/^<!-- table -->$/p' "$root/docs/performance.md"
    printf '\nMeasured with %s, SoftHSM2 %s, swtpm %s, on %s processors (%s).\n' "$(openssl version | cut -d' ' -f1,2)" \
      "$(softhsm2-util --version)" "$(swtpm --version | sed -nE 's/.* version ([0-9.]+).*/\1/p')" "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
    sed 's/^## /### /' "$work/table"
  } >"$work/docs"
  cp "$work/docs" "$root/docs/performance.md"
fi
[ ! -e "$failures" ]
