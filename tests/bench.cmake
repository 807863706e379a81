# What the provider costs. bench/run.sh runs these and prints the table; the counts are ordinary tests.
pkg_get_variable(OPENSSL_ENGINESDIR libcrypto enginesdir)
pkg_get_variable(BENCH_MODULESDIR libcrypto modulesdir)

add_library(bench_null MODULE bench/bench_null.c)
set_target_properties(bench_null PROPERTIES PREFIX "")
kn_target(bench_null)
target_link_libraries(bench_null PRIVATE OpenSSL::Crypto)

add_executable(bench_sign bench/bench_sign.c bench/bench_contenders.c support/prov.c)
kn_target(bench_sign)
target_include_directories(bench_sign PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(bench_sign PRIVATE kn_test_token kn_backends OpenSSL::SSL PkgConfig::CMOCKA)
target_compile_definitions(bench_sign PRIVATE
  KEYNYM_MODULE_DIR="$<TARGET_FILE_DIR:keynym_provider>"
  BENCH_NULL="$<TARGET_FILE:bench_null>"
  PKCS11_ENGINE="${OPENSSL_ENGINESDIR}/pkcs11.so"
  PKCS11_PROVIDER="${BENCH_MODULESDIR}/pkcs11.so")
add_dependencies(bench_sign keynym_provider bench_null)

add_executable(bench_software bench/bench_software.c)
kn_target(bench_software)
target_link_libraries(bench_software PRIVATE OpenSSL::SSL)

kn_test(bench_calls LABEL bench SOURCES bench/bench_calls.c support/prov.c LIBS kn_test_token kn_backends OpenSSL::SSL)
target_compile_definitions(bench_calls PRIVATE KEYNYM_MODULE_DIR="$<TARGET_FILE_DIR:keynym_provider>")
add_dependencies(bench_calls keynym_provider)

add_executable(bench_registration bench/bench_registration.c integration/test_dps_harness.c unit/test_dps_pki.c)
kn_target(bench_registration)
target_include_directories(bench_registration PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(bench_registration PRIVATE keynym_prov prov_fake PkgConfig::CMOCKA PkgConfig::CJSON)
target_compile_definitions(bench_registration PRIVATE KEYNYM_DPS="$<TARGET_FILE:keynym-dps>")
add_dependencies(bench_registration keynym-dps)

find_library(TPM2_PKCS11_MODULE NAMES libtpm2_pkcs11.so.1 libtpm2_pkcs11.so)
if(NOT TPM2_PKCS11_MODULE)
  set(TPM2_PKCS11_MODULE /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/libtpm2_pkcs11.so.1)
endif()
kn_test(bench_tpm LABEL bench SOURCES bench/bench_tpm.c bench/bench_tpm_contenders.c support/swtpm.c
  LIBS kn_backends OpenSSL::Crypto)
target_include_directories(bench_tpm SYSTEM PRIVATE ${TSS2_INCLUDE_DIRS})
target_link_libraries(bench_tpm PRIVATE ${TSS2_LINK_LIBRARIES})
target_compile_definitions(bench_tpm PRIVATE
  TCTI_SHIM="$<TARGET_FILE:kn_test_tcti>"
  KEYNYM_MODULE_DIR="$<TARGET_FILE_DIR:keynym_provider>"
  TPM2_OPENSSL="${BENCH_MODULESDIR}/tpm2.so"
  TPM2_PKCS11="${TPM2_PKCS11_MODULE}")
add_dependencies(bench_tpm kn_test_tcti keynym_provider)
