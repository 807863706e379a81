#!/usr/bin/env bash
# The example openssl.cnf, as it is and with all of it switched on, makes the openssl command load the provider. examples.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
example=$root/docs/examples/openssl.cnf
loads() { OPENSSL_CONF=$1 openssl list -providers >"$work/out" 2>&1 && grep -q 'Keynym provider' "$work/out" && grep -q 'Default Provider' "$work/out"; }

OPENSSL_MODULES=$build/provider loads "$example" || { cat "$work/out"; fail "the example as it is"; }
sed -E "s#^\# (module) = .*#\1 = $build/provider/keynym.so#; s#^\# ([a-z_]+ = )#\1#" "$example" >"$work/on.cnf"
[ "$(grep -c '^# [a-z_]* = ' "$work/on.cnf")" = 0 ] && [ "$(grep -c '^[a-z_]* = ' "$work/on.cnf")" -gt 12 ] || fail "not switched on"
loads "$work/on.cnf" || { cat "$work/out"; fail "the example with everything on"; }
sed 's/^sessions_max/session_max/' "$work/on.cnf" >"$work/misspelt.cnf"
! loads "$work/misspelt.cnf" || fail "a misspelt setting was passed over"
echo "the example openssl.cnf works"
