#!/usr/bin/env bash
# What `cmake --install` puts where, and that it runs from there. install.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
DESTDIR=$work/dest cmake --install "$build" >"$work/out" 2>&1 || { cat "$work/out"; fail "the installation"; }
installed() { find "$work/dest" -name "$1" | grep -q . || { cat "$work/out"; fail "$1 is not installed"; }; }
for file in keynym keynym-dps keynym.so libkeynym_hsm.so libkeynym_hsm.a libkeynym_hsm_sdk.a libkeynym_prov.a keynym_hsm.h \
  keynym_hsm_sas.h hsm_client_data.h keynym-hsm.pc keynym-config.cmake \
  kn_prov.h keynym.1 keynym-dps.1 keynym-provider.7; do
  installed "$file"
done
[ -f "$(find "$work/dest" -type d -path '*/bash-completion/completions')/keynym" ] || fail "the completion is not installed"
for file in keynym.cnf openssl.cnf; do
  [ -f "$(find "$work/dest" -type d -path "*/doc/keynym/examples")/$file" ] || fail "the example $file is not installed"
done
command=$(find "$work/dest" -path '*/bin/keynym')
"$command" --version >"$work/out" 2>&1 || { cat "$work/out"; fail "the installed command does not run"; }
! grep -rqF "$root" "$work/dest" --include='*.h' || fail "a path of the source tree is in a header"
provider=$(dirname "$(find "$work/dest" -name keynym.so)")
openssl list -providers -provider-path "$provider" -provider keynym | grep -q 'Keynym provider' ||
  fail "openssl does not load the installed provider"

# a program that links the static library, as the Azure SDK would
cat >"$work/static.c" <<'C'
#include <keynym/hsm_client_data.h>
#include <keynym/keynym_hsm.h>
#include <stdio.h>
int main(void)
{
    if (hsm_client_x509_init() || hsm_client_tpm_init())
        return 1;
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *key = handle ? x509->hsm_client_get_key(handle) : NULL;
    printf("%s\n", key ? "a key" : keynym_hsm_last_error());
    x509->hsm_client_x509_destroy(handle);
    hsm_client_x509_deinit();
    return 0;
}
C
include=$(dirname "$(dirname "$(find "$work/dest" -name keynym_hsm.h)")")
library=$(find "$work/dest" -name libkeynym_hsm.a)
"${CC:-cc}" -I"$include" "$work/static.c" "$library" ${SANITIZE:+-fsanitize=$SANITIZE} -lssl -lcrypto -lp11-kit -lpthread \
  -o "$work/static" >"$work/out" 2>&1 || { cat "$work/out"; fail "the static library does not link"; }
KEYNYM_CONF=$work/none.cnf "$work/static" >"$work/out" 2>&1 && fail "a configuration that is not there was read"
: >"$work/empty.cnf"
KEYNYM_CONF=$work/empty.cnf KEYNYM_LOG=none "$work/static" >"$work/out" 2>&1 || { cat "$work/out"; fail "the static program"; }
grep -q "no key is configured" "$work/out" || { cat "$work/out"; fail "the static program says something else"; }
echo "installed and runs"
