#!/usr/bin/env bash
# The openssl command with keynym beside the default provider, in both orders, says and does what it does without: for file
# keys of every type, encrypted and old forms, certificates, CRL, OCSP, CMS, PKCS#12, digests, ciphers, and for what is
# wrong. Output, errors and exit status are compared line by line.
# differential.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
cd "$work"

configuration() { # NAME PROVIDER...
  local name=$1
  shift
  {
    printf 'openssl_conf = init\n[init]\nproviders = providers\n[providers]\n'
    for provider; do printf '%s = %s_section\n' "$provider" "$provider"; done
    printf '[default_section]\nactivate = 1\n[keynym_section]\nmodule = %s/provider/keynym.so\nactivate = 1\n' "$build"
    cat <<'CONF'
[req]
distinguished_name = name
[name]
[ca]
default_ca = authority
[authority]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = policy
default_days = 30
default_crl_days = 30
[policy]
commonName = supplied
[v3_ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign,digitalSignature
subjectKeyIdentifier = hash
[v3_leaf]
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = DNS:localhost
CONF
  } >"$name.cnf"
}
configuration without default
configuration after default keynym
configuration before keynym default

# ---- what all three read, made by software alone ----

export OPENSSL_CONF=$work/without.cnf
make() { openssl "$@" >make.log 2>&1 || { cat make.log; fail "openssl $*"; }; }
make genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem
make genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp521r1 -pkeyopt ec_param_enc:explicit -out explicit.pem
make genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem
make genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_pss_keygen_md:sha256 -out rsa-pss.pem
for type in ED25519 ED448 X25519 X448; do make genpkey -algorithm $type -out "$(tr '[:upper:]' '[:lower:]' <<<$type).pem"; done
make genpkey -algorithm DH -pkeyopt group:ffdhe2048 -out dh.pem
make dsaparam -genkey -out dsa.pem 1024
types="ec explicit rsa rsa-pss ed25519 ed448 x25519 x448 dh dsa"
for type in $types; do
  make pkey -in $type.pem -pubout -out $type.pub
  make pkey -in $type.pem -outform DER -out $type.der
  make pkey -in $type.pem -pubout -outform DER -out $type.pub.der
  make pkcs8 -topk8 -in $type.pem -passout pass:secret -out $type.p8
  make pkey -in $type.pem -aes256 -passout pass:secret -out $type.enc
done
for type in ec rsa dsa; do make pkey -in $type.pem -traditional -out $type.old; done
make ec -in ec.pem -aes128 -passout pass:secret -out ec.old.enc
make rsa -in rsa.pem -traditional -aes128 -passout pass:secret -out rsa.old.enc
make req -x509 -new -key ec.pem -subj /CN=root -extensions v3_ca -days 30 -out root.crt
for type in ec rsa rsa-pss ed25519 ed448 dsa; do
  make req -new -key $type.pem -subj /CN=leaf-$type -out $type.csr
  make x509 -req -in $type.csr -CA root.crt -CAkey ec.pem -extfile without.cnf -extensions v3_leaf -days 30 -out $type.crt
done
make req -new -x509 -key rsa.pem -subj /CN=other -days 30 -out other.crt
make pkcs12 -export -inkey rsa.pem -in rsa.crt -certfile root.crt -passout pass:secret -out rsa.p12
printf 'data to work on\n' >data
head -c 32 /dev/zero >digest
make cms -sign -in data -signer rsa.crt -inkey rsa.pem -nodetach -outform PEM -out signed.cms
make cms -encrypt -in data -aes128 -outform PEM -out rsa.cms rsa.crt
make cms -encrypt -in data -aes128 -outform PEM -out ec.cms ec.crt
: >index.txt
echo 01 >serial
make ca -gencrl -config without.cnf -cert root.crt -keyfile ec.pem -out root.crl
make ocsp -issuer root.crt -cert ec.crt -no_nonce -reqout ocsp.req
sed 's/^M/!/' ec.pem >damaged.pem
head -c 60 ec.pem >cut.pem
head -c 20 ec.der >cut.der
head -c 5000 /dev/zero >zeros.der
cat root.crt ec.pem rsa.pem >several.pem
printf 'no PEM at all\n' >text.pem

# ---- what is done three times ----

commands() {
  for type in $types; do
    echo "pkey -in $type.pem -noout -text"
    echo "pkey -in $type.pem -pubout"
    echo "pkey -in $type.der -inform DER -outform DER"
    echo "pkey -pubin -in $type.pub -noout -text"
    echo "pkey -pubin -in $type.pub.der -inform DER -pubout"
    echo "pkey -in $type.p8 -passin pass:secret -pubout"
    echo "pkey -in $type.enc -passin pass:secret -pubout"
    echo "pkey -in $type.enc -passin pass:wrong -pubout"
    echo "pkey -in $type.pem -check -noout"
    echo "pkcs8 -topk8 -nocrypt -in $type.pem"
  done
  for type in ec rsa dsa; do
    echo "pkey -in $type.old -text -noout"
    echo "pkey -in $type.pem -traditional"
  done
  for type in ed25519 ed448; do
    echo "pkeyutl -sign -rawin -inkey $type.pem -in data"
  done
  for type in ec rsa rsa-pss ed25519 ed448 dsa; do
    echo "x509 -in $type.crt -noout -text"
    echo "x509 -in $type.crt -noout -pubkey"
    echo "x509 -in $type.crt -outform DER"
    echo "req -in $type.csr -noout -verify -text"
    echo "verify -CAfile root.crt -purpose sslserver $type.crt"
    echo "verify -CAfile other.crt $type.crt"
    echo "dgst -verify ec.pub -signature digest $type.crt"
  done
  cat <<'LIST'
ec -in ec.pem -noout -text
ec -in ec.old.enc -passin pass:secret
ec -in rsa.pem -noout -text
rsa -in rsa.pem -noout -text
rsa -in rsa.old.enc -passin pass:secret
rsa -in rsa.old.enc -passin pass:wrong
rsa -in rsa.pem -traditional
rsa -in ec.pem -noout -text
dsa -in dsa.pem -noout -text
ecparam -name prime256v1 -text -noout
dhparam -in dh.pem -noout -text
pkeyutl -sign -inkey rsa.pem -in digest -pkeyopt digest:sha256
pkeyutl -sign -inkey rsa.pem -in data -pkeyopt digest:sha256
pkeyutl -derive -inkey x25519.pem -peerkey x25519.pub
pkeyutl -derive -inkey x448.pem -peerkey x448.pub
pkeyutl -derive -inkey ec.pem -peerkey ec.pub
pkeyutl -derive -inkey dh.pem -peerkey dh.pub
pkeyutl -derive -inkey ec.pem -peerkey x25519.pub
pkeyutl -decrypt -inkey rsa.pem -in data
dgst -sha256 -sign rsa.pem data
dgst -sha256 -hmac key data
dgst -sha256 -sign ed25519.pem data
dgst -sha256 data
dgst -sha3-256 data
dgst -md5 data
dgst -nosuch data
enc -aes-128-cbc -K 00 -iv 00 -in data
enc -chacha20 -K 00 -iv 00 -in data
mac -macopt hexkey:00 -digest SHA256 -in data HMAC
kdf -keylen 16 -kdfopt digest:SHA256 -kdfopt key:secret -kdfopt info:x HKDF
pkcs12 -in rsa.p12 -passin pass:secret -noenc
pkcs12 -in rsa.p12 -passin pass:wrong -noenc
pkcs12 -in rsa.p12 -passin pass:secret -info -noout
cms -verify -in signed.cms -inform PEM -CAfile root.crt -purpose any
cms -verify -in signed.cms -inform PEM -CAfile other.crt -purpose any
cms -decrypt -in rsa.cms -inform PEM -recip rsa.crt -inkey rsa.pem
cms -decrypt -in ec.cms -inform PEM -recip ec.crt -inkey ec.pem
cms -decrypt -in rsa.cms -inform PEM -recip other.crt -inkey ec.pem
cms -cmsout -print -in signed.cms -inform PEM
crl -in root.crl -noout -text
crl -in root.crl -CAfile root.crt -noout
crl -in root.crl -CAfile other.crt -noout
ocsp -reqin ocsp.req -req_text
ocsp -index index.txt -CA root.crt -rsigner root.crt -rkey ec.pem -reqin ocsp.req -respout /dev/null
storeutl -noout -text several.pem
storeutl -certs several.pem
storeutl -keys several.pem
storeutl -noout nosuch.pem
storeutl -noout pkcs12:nosuch
x509 -in several.pem -noout -subject
x509 -in ec.pem -noout
pkey -in root.crt -noout
pkey -in damaged.pem -noout
pkey -in cut.pem -noout
pkey -in cut.der -inform DER -noout
pkey -in zeros.der -inform DER -noout
pkey -in zeros.der -noout
pkey -in text.pem -noout
pkey -in nosuch.pem -noout
pkey -pubin -in ec.pem -noout
genpkey -algorithm NOSUCH
genpkey -algorithm EC -pkeyopt ec_paramgen_curve:nosuch
x509 -req -in ec.csr -CA root.crt -CAkey rsa.pem -days 1
req -new -key nosuch.pem -subj /CN=x
list -digest-algorithms
list -cipher-algorithms
list -random-generators
list -mac-algorithms
list -kdf-algorithms
ciphers -v
LIST
}

# What has random numbers in it: the exit status, and that the other side takes it.
random_commands() {
  for type in ec rsa rsa-pss dsa; do
    echo "dgst -sha256 -sign $type.pem -out made data"
    echo "dgst -sha256 -verify $type.pub -signature made data"
  done
  for type in ec rsa rsa-pss ed25519 ed448; do
    echo "req -x509 -new -key $type.pem -subj /CN=self -out made"
    echo "verify -CAfile made -check_ss_sig made"
  done
  cat <<'LIST'
pkeyutl -encrypt -pubin -inkey rsa.pub -in data -pkeyopt rsa_padding_mode:oaep -out made
pkeyutl -decrypt -inkey rsa.pem -in made -pkeyopt rsa_padding_mode:oaep
cms -encrypt -in data -aes256 -outform PEM -out made ec.crt
cms -decrypt -in made -inform PEM -recip ec.crt -inkey ec.pem
cms -sign -in data -signer ed25519.crt -inkey ed25519.pem -md sha512 -nodetach -outform PEM -out made
cms -verify -in made -inform PEM -CAfile root.crt -purpose any
pkcs12 -export -inkey ec.pem -in ec.crt -passout pass:secret -out made
pkcs12 -in made -passin pass:secret -noenc -nokeys
genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out made
pkey -in made -check -noout
genpkey -algorithm ED25519 -out made
pkey -in made -check -noout
rand -out made 32
speed -seconds 1 -bytes 16 sha256
LIST
}

one() { # CONFIGURATION COMMAND: all that it says, without process and thread numbers, line numbers and times
  local status=0
  # shellcheck disable=SC2086 # words
  OPENSSL_CONF=$work/$1.cnf timeout 60 openssl $2 >"$1.out" 2>"$1.err" </dev/null || status=$?
  echo "== $2: $status"
  case $2 in
  *speed*) wc -l <"$1.out" ;;
  *) base64 <"$1.out" ;;
  esac
  case $2 in
  *speed*) grep -vE '^Doing|^$' "$1.err" || true ;; # counts and times
  *) sed -E "s/^[0-9A-F]+:error/error/" "$1.err" ;;
  esac
}
run() { # CONFIGURATION
  local name=$1 command
  mkdir "$name"
  cp -p ./*.* data digest serial "$name/"
  cd "$name"
  while read -r command; do one "$name" "$command"; done < <(commands) >../"$name.result"
  while read -r command; do
    OPENSSL_CONF=$work/$name.cnf timeout 60 openssl $command >random.out 2>&1 </dev/null && status=0 || status=$?
    echo "== $command: $status"
  done < <(random_commands) >>../"$name.result"
}
unset OPENSSL_CONF
for name in without after before; do run $name & done
wait

[ "$(grep -c '^==' without.result)" -gt 190 ] || fail "there are only $(grep -c '^==' without.result) commands"
[ "$(grep -c '^== .*: 0$' without.result)" -gt 150 ] || fail "most commands fail without keynym"
OPENSSL_CONF=$work/after.cnf openssl list -providers | grep keynym >/dev/null || fail "keynym is not loaded"
OPENSSL_CONF=$work/before.cnf openssl list -providers | grep keynym >/dev/null || fail "keynym is not loaded"
differ=0
for name in after before; do
  diff -u --label without --label "keynym $name default" without.result $name.result >$name.diff || differ=1
done
[ $differ = 0 ] || { head -n 60 after.diff before.diff; fail "with keynym it is not the same"; }
grep -E ': [1-9][0-9]*$' without.result | grep -c '^==' >wrong
echo "$(grep -c '^==' without.result) commands of openssl, $(cat wrong) of them failures: the same with keynym, in both orders"
