#!/usr/bin/env bash
# Each way of linking libkeynym_hsm that docs/hsm.md names: with a project that links as the Azure SDK does, with
# find_package(keynym) and with pkg-config, each connecting with an EC and an RSA key; and the samples. link.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
unset PKG_CONFIG_PATH CMAKE_PREFIX_PATH LD_LIBRARY_PATH
export CMAKE_GENERATOR=Ninja # make is not among what this project needs
if grep -q '^KN_SANITIZE:STRING=.' "$build/CMakeCache.txt"; then echo "skipped: a sanitizer's runtime is not part of the package files"; exit 0; fi
# without the provider, which goes to OpenSSL's own folder, whatever the prefix
cmake --install "$build" --prefix "$work/usr" --component Unspecified >"$work/out" 2>&1 || { cat "$work/out"; fail "the installation"; }
lib=$(dirname "$(find "$work/usr" -name libkeynym_hsm.a)")
include=$work/usr/include
sdk=$(dirname "$0")/sdk

# the symbols of both libraries are those of the contract, and no other
contract=$(sed -n 's/^    \([a-z0-9_]*\);$/\1/p' "$root/hsm_api/libkeynym_hsm.map" | LC_ALL=C sort)
[ "$(nm -g --defined-only -P "$lib/libkeynym_hsm.a" | awk 'NF > 2 { print $1 }' | LC_ALL=C sort)" = "$contract" ] ||
  fail "the static library has other global symbols than the contract"
[ "$(nm -D --defined-only -P "$lib/libkeynym_hsm.so" | awk '{ print $1 }' | sed 's/@.*//' | LC_ALL=C sort)" = "$contract" ] ||
  fail "the shared library exports other symbols than the contract"

# two devices, and a server that wants certificates
"$root/softhsm_config/new-token.sh" "$work/token" link
export SOFTHSM2_CONF=$work/token/softhsm2.conf
pin=$work/token/pin
"$root/softhsm_config/new-pki.sh" "$work/pki"
for algorithm in EC:P-256 RSA:2048; do
  uri="pkcs11:token=link;object=$algorithm?pin-source=$pin"
  "$keynym" key generate --algorithm $algorithm "$uri" >/dev/null
  "$keynym" alias create --output "$work/$algorithm.pem" "$uri"
  openssl req -new -provider-path "$build/provider" -provider keynym -provider default -key "$work/$algorithm.pem" \
    -subj "/CN=${algorithm%%:*}" -out "$work/$algorithm.csr"
  "$root/softhsm_config/new-pki.sh" "$work/pki" "$work/$algorithm.csr" "$work/$algorithm.chain.pem"
  "$keynym" cert import --key "$uri" "$work/$algorithm.chain.pem" >/dev/null
done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
  -keyout "$work/server.key" -out "$work/server.crt" 2>/dev/null
openssl s_server -accept 127.0.0.1:0 -key "$work/server.key" -cert "$work/server.crt" -CAfile "$work/pki/root.pem" \
  -Verify 3 -verify_return_error -rev </dev/null >"$work/server.out" 2>&1 &
server=$!
wait_until 20 grep -q '^ACCEPT' "$work/server.out" || { cat "$work/server.out"; fail "openssl s_server"; }
port=$(sed -n 's/^ACCEPT .*:\([0-9]*\)$/\1/p' "$work/server.out")
write_config() { printf '[keynym_hsm]\nkey = pkcs11:token=link;object=%s\npin_source = %s\n' "$1" "$pin" >"$work/keynym.cnf"; }
export KEYNYM_CONF=$work/keynym.cnf

connects() { # NAME PROGRAM
  for algorithm in EC:P-256 RSA:2048; do
    write_config $algorithm
    "$2" "127.0.0.1:$port" "$work/server.crt" >"$work/out" 2>&1 || { cat "$work/out"; fail "$1: $algorithm"; }
  done
}
configure() { # NAME [cmake option...]: in $work/NAME
  local name=$1
  shift
  cmake -S "$sdk" -B "$work/$name" -DCMAKE_BUILD_TYPE=Release -DKEYNYM_INCLUDE="$include" "$@" >"$work/out" 2>&1 &&
    cmake --build "$work/$name" >>"$work/out" 2>&1
}
links() { # NAME [cmake option...]
  configure "$@" || { cat "$work/out"; fail "$1 does not link"; }
  connects "$1" "$work/$1/device"
  echo "links and connects: $1"
}

links list "-Dhsm_custom_lib=$lib/libkeynym_hsm.a;-lp11-kit"
links list-by-name "-Dhsm_custom_lib=$lib/libkeynym_hsm.a;p11-kit"
links shared "-Dhsm_custom_lib=$lib/libkeynym_hsm.so"
links ld-script "-Dhsm_custom_lib=$lib/libkeynym_hsm_sdk.a"
links standard-libraries "-Dhsm_custom_lib=$lib/libkeynym_hsm.a" -DCMAKE_C_STANDARD_LIBRARIES=-lp11-kit
links two-copies -DHOW=dynamic "-Dhsm_custom_lib=$lib/libkeynym_hsm.a;-lp11-kit"
for library in hub prov; do
  nm -D --defined-only "$work/two-copies/lib$library.so" | grep -q ' T hsm_client_x509_init$' ||
    fail "lib$library.so has no copy of the library"
done
# the control: without p11-kit the static library does not link
if configure alone "-Dhsm_custom_lib=$lib/libkeynym_hsm.a"; then fail "the static library links alone, so the test above shows nothing"; fi

# find_package
mkdir "$work/package"
for target in hsm hsm_static; do
  cat >"$work/package/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.25)
project(package C)
find_package(keynym 0.1 REQUIRED)
add_executable(device $root/samples/openssl_device.c)
target_link_libraries(device keynym::$target)
CMAKE
  cmake -S "$work/package" -B "$work/package-$target" -DCMAKE_PREFIX_PATH="$work/usr" >"$work/out" 2>&1 &&
    cmake --build "$work/package-$target" >>"$work/out" 2>&1 || { cat "$work/out"; fail "find_package, keynym::$target"; }
  connects "keynym::$target" "$work/package-$target/device"
  echo "links and connects: keynym::$target"
done

# pkg-config
export PKG_CONFIG_PATH=$lib/pkgconfig
cc=${CC:-cc}
"$cc" -Wall -Werror "$root/samples/openssl_device.c" $(pkg-config --cflags --libs keynym-hsm) -lssl -lcrypto "-Wl,-rpath,$lib" \
  -o "$work/shared-device" 2>"$work/out" || { cat "$work/out"; fail "pkg-config, shared"; }
connects "pkg-config" "$work/shared-device"
"$cc" -Wall -Werror "$root/samples/openssl_device.c" $(pkg-config --cflags keynym-hsm) "$lib/libkeynym_hsm.a" \
  $(pkg-config --static --libs-only-l keynym-hsm | sed 's/-lkeynym_hsm//') -pthread -o "$work/static-device" 2>"$work/out" ||
  { cat "$work/out"; fail "pkg-config, static"; }
connects "pkg-config --static" "$work/static-device"
echo "links and connects: pkg-config"

# the sample for the SDK, with declarations in the shape of the SDK's
"$cc" -Wall -Wextra -Werror -I"$sdk/include" -I"$include" -c "$root/samples/azure_sdk_device.c" -o "$work/sample.o" 2>"$work/out" ||
  { cat "$work/out"; fail "samples/azure_sdk_device.c"; }

# a program in C++
printf '#include <keynym/hsm_client_data.h>\n#include <keynym/keynym_hsm.h>\n#include <keynym/keynym_hsm_sas.h>\nint main() { return 0; }\n' >"$work/cxx.cc"
if command -v c++ >/dev/null; then
  c++ -Wall -Werror -I"$include" -c "$work/cxx.cc" -o "$work/cxx.o" 2>"$work/out" || { cat "$work/out"; fail "the headers in C++"; }
fi
echo "every way of linking works"
