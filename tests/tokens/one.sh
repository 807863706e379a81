#!/usr/bin/env bash
# All operations on one token. one.sh BUILD TOKEN WORK
#
# Writes WORK/results: "OPERATION|RESULT|WHY" for each, RESULT one of yes, no (the token cannot, or is refused), own (by the token's
# own tool), - (what it needs did not work). Exit status 3, with the reason in WORK/reason, when the token cannot be run here.
#
# A token's file (TOKEN.sh) says: name, module, label; pin_file; query (what the URI needs beyond the PIN: module-path or module-name); and
# has the functions packages (what it needs, one a line), start (daemons; sets the token up, and notes init) and stop.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$1 token=$2 work=$3
. "$here/../support/end.sh"
export LC_ALL=C.UTF-8
unset OPENSSL_CONF OPENSSL_MODULES SOFTHSM2_CONF KEYNYM_CONF
keynym=$build/prov_client/keynym
tool=$build/tests/token_tool
pids=()
reserved=""

note() { printf '%s|%s|%s\n' "$1" "$2" "$(printf %s "${3:-}" | tr '\n|' ' /' | cut -c1-300)" >>"$work/results"; }
cannot_run() { echo "$*" >"$work/reason"; exit 3; }
run() { timeout 120 "$@" >"$work/out" 2>"$work/err"; }
why() { grep -vE '^(ERROR|WARNING):|^ +next:' "$work/err" | head -n 1; }
uri() { echo "pkcs11:token=${label// /%20}${1:+;object=$1}?pin-source=$pin_file$query"; }
background() { "$@" >>"$work/daemon.log" 2>&1 & pids+=($!); }
wait_for() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return 0; sleep 0.05; done; return 1; }
bind() { [ "${KN_NAMESPACE:-0}" = 1 ] && mount --bind "$1" "$2"; } # in a mount namespace of this token's own
register() { # NAME LINE...: the only module that p11-kit knows of
  local file=$work/modules/$1.module
  shift
  mkdir -p "$work/modules"
  printf '%s\n' "$@" >"$file"
  chmod -R a+rX "$work/modules"
  bind "$work/modules" /usr/share/p11-kit/modules
}
try() { # OPERATION COMMAND...: yes or no
  local operation=$1
  shift
  if run "$@"; then note "$operation" yes; else note "$operation" no "$(why)"; return 1; fi
}
cleanup() {
  stop 2>/dev/null
  end "${pids[@]}"
}

mkdir -p "$work"
: >"$work/results"
umask 077
. "$here/$token.sh"
for package in $(packages); do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || cannot_run "the package $package is not installed"
done
[ -z "$module" ] || [ -e "$module" ] || cannot_run "$module is not there"
cat >"$work/openssl.cnf" <<CONF
openssl_conf = init
[init]
providers = providers
[providers]
default = default_section
keynym = keynym_section
[default_section]
activate = 1
[keynym_section]
module = $build/provider/keynym.so
activate = 1
CONF
printf 12345678 >"$work/pin"
printf 87654321 >"$work/so-pin"
printf 99999999 >"$work/wrong-pin"
pin_file=$work/pin
trap cleanup EXIT
start || cannot_run "it does not start: $(tail -n 1 "$work/daemon.log" 2>/dev/null) $(why 2>/dev/null)"

provider() { OPENSSL_CONF=$work/openssl.cnf run openssl "$@"; }
raw() { KN_TOOL_RESERVED="$reserved" run "$tool" "$module" "$label" "$pin_file" "$@"; }
verified() { run openssl "$@"; }

try login "$keynym" key list "$(uri)" || exit 0

# A wrong PIN is refused, and costs one try.
if "$keynym" token list --module "$module" 2>/dev/null | grep -F "$label " | grep -q 'no login needed'; then
  note "wrong PIN" - "the token wants no login"
elif run "$keynym" key list "$(pin_file=$work/wrong-pin uri)"; then
  note "wrong PIN" no "it was not refused"
elif grep -q 'PIN is wrong' "$work/err" && run "$keynym" key list "$(uri)"; then
  note "wrong PIN" yes
else
  note "wrong PIN" no "$(why)"
fi

facts() { # six letters: y, n or u, in the order of docs/security.md
  "$keynym" key show --json "$(uri "$1")" 2>/dev/null |
    sed -nE 's/.*"(sensitive|extractable|alwaysSensitive|neverExtractable|local|generatedInToken)":[[:space:]]*"(.).*/\2/p' | tr -d '\n'
}

printf 'to be signed' >"$work/data"
for kind in EC RSA ED25519; do
  case $kind in EC) algorithm=EC:P-256 ;; RSA) algorithm=RSA:2048 ;; *) algorithm=ED25519 ;; esac
  key=k-$kind made=0
  try "generate $kind" "$keynym" key generate --algorithm $algorithm "$(uri "$key")" && made=1
  if [ $made = 0 ]; then # without the proof, to see what the token does with such a key
    raw generate $kind "$key" && made=2
  fi
  [ $made = 0 ] || note "custody $kind" "$(facts "$key")"
  if [ $made = 0 ] || ! provider pkey -in "$(uri "$key")" -pubout -out "$work/$kind.pub"; then
    note "sign $kind" - "$(why)"
    continue
  fi
  case $kind in
  EC) provider dgst -sha256 -sign "$(uri "$key")" -out "$work/sig" "$work/data" &&
    verified dgst -sha256 -verify "$work/$kind.pub" -signature "$work/sig" "$work/data" ;;
  RSA) provider dgst -sha256 -sign "$(uri "$key")" -out "$work/sig" "$work/data" &&
    verified dgst -sha256 -verify "$work/$kind.pub" -signature "$work/sig" "$work/data" ;;
  *) provider pkeyutl -sign -rawin -inkey "$(uri "$key")" -in "$work/data" -out "$work/sig" &&
    verified pkeyutl -verify -rawin -pubin -inkey "$work/$kind.pub" -in "$work/data" -sigfile "$work/sig" ;;
  esac && note "sign $kind" yes || note "sign $kind" no "$(why)"
  if [ $kind = RSA ]; then
    pss=(-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest)
    provider dgst -sha256 "${pss[@]}" -sign "$(uri "$key")" -out "$work/sig" "$work/data" &&
      verified dgst -sha256 "${pss[@]}" -verify "$work/$kind.pub" -signature "$work/sig" "$work/data" &&
      note "sign RSA-PSS" yes || note "sign RSA-PSS" no "$(why)"
  fi
  if [ $kind = EC ]; then # a certificate for the key, onto the token and back
    if openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$work/ca.key" -subj /CN=ca -out "$work/ca.pem" \
      2>/dev/null && openssl x509 -new -force_pubkey "$work/$kind.pub" -subj "/CN=$key" -CA "$work/ca.pem" -CAkey "$work/ca.key" \
      -out "$work/cert.pem" 2>/dev/null; then
      try "certificate" "$keynym" cert import --key "$(uri "$key")" "$work/cert.pem" &&
        { run "$keynym" cert show "$(uri "$key")" && grep -v '^ *$' "$work/cert.pem" | diff -q - "$work/out" >/dev/null ||
          { sed -i '/^certificate|/d' "$work/results"; note certificate no "another came back"; }; }
    fi
  fi
done

if try "generate RSA to decrypt" "$keynym" key generate --algorithm RSA:2048 --usage sign,decrypt "$(uri d-RSA)" ||
  raw generate RSA-DECRYPT d-RSA; then
  provider pkey -in "$(uri d-RSA)" -pubout -out "$work/d.pub" &&
    verified pkeyutl -encrypt -pubin -inkey "$work/d.pub" -pkeyopt rsa_padding_mode:oaep -in "$work/data" -out "$work/cipher" &&
    provider pkeyutl -decrypt -inkey "$(uri d-RSA)" -pkeyopt rsa_padding_mode:oaep -in "$work/cipher" -out "$work/plain" &&
    cmp -s "$work/data" "$work/plain" && note "decrypt RSA-OAEP" yes || note "decrypt RSA-OAEP" no "$(why)"
else
  note "decrypt RSA-OAEP" -
fi
if try "generate EC to derive" "$keynym" key generate --algorithm EC:P-256 --usage derive "$(uri d-EC)" ||
  raw generate EC-DERIVE d-EC; then
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/peer.key" 2>/dev/null
  openssl pkey -in "$work/peer.key" -pubout -out "$work/peer.pub"
  provider pkey -in "$(uri d-EC)" -pubout -out "$work/d.pub" &&
    provider pkeyutl -derive -inkey "$(uri d-EC)" -peerkey "$work/peer.pub" -out "$work/ours" &&
    verified pkeyutl -derive -inkey "$work/peer.key" -peerkey "$work/d.pub" -out "$work/theirs" &&
    cmp -s "$work/ours" "$work/theirs" && note "derive ECDH" yes || note "derive ECDH" no "$(why)"
else
  note "derive ECDH" -
fi

# by a tool of the test's own; what is deleted is not found any more
victim=""
for kind in RSA EC; do
  if grep -q "^custody $kind|" "$work/results"; then victim=k-$kind; fi
done
if [ -z "$victim" ]; then
  note delete -
elif raw delete $victim && ! run "$keynym" key show "$(uri $victim)" && grep -q 'no key matches' "$work/err"; then
  note delete yes
else
  note delete no "$(why)"
fi
exit 0
