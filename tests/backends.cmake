# Tests of backends/.
find_library(SOFTHSM2_MODULE NAMES softhsm2 libsofthsm2.so PATH_SUFFIXES softhsm pkcs11 REQUIRED)
find_path(P11KIT_PKCS11_H p11-kit/pkcs11.h HINTS ${P11KIT_INCLUDE_DIRS} REQUIRED)
pkg_get_variable(P11KIT_MODULE_PATH p11-kit-1 p11_module_path)

# A PKCS#11 module that counts calls and misbehaves on demand.
add_library(kn_test_shim MODULE support/p11_plant.c support/p11_shim.c)
kn_target(kn_test_shim)
target_include_directories(kn_test_shim PRIVATE $<TARGET_PROPERTY:kn_backends,INTERFACE_INCLUDE_DIRECTORIES>)
target_link_libraries(kn_test_shim PRIVATE PkgConfig::P11KIT Threads::Threads ${CMAKE_DL_LIBS})

add_library(kn_test_token STATIC support/certs.c support/p11_raw.c support/p11_shim_control.c support/token.c)
kn_target(kn_test_token)
target_compile_definitions(kn_test_token PRIVATE SOFTHSM2_MODULE="${SOFTHSM2_MODULE}"
                                                 P11_SHIM="$<TARGET_FILE:kn_test_shim>")
target_compile_definitions(kn_test_token PUBLIC P11_MODULE_DIR="${P11KIT_MODULE_PATH}")
target_include_directories(kn_test_token PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/support)
target_link_libraries(kn_test_token PUBLIC kn_backends ${CMAKE_DL_LIBS})
add_dependencies(kn_test_token kn_test_shim)

foreach(name kn_alg kn_alias kn_config kn_decrypt kn_ecdsa kn_err kn_hmac kn_log kn_pin kn_public kn_refused kn_secret p11_ckr p11_uri tpm2_attest_uri tpm2_blob tpm2_key_uri tpm2_new_file tpm2_tss_key)
  kn_test(test_${name} LABEL unit SOURCES unit/test_${name}.c LIBS kn_backends)
endforeach()
target_compile_definitions(test_p11_ckr PRIVATE PKCS11_HEADER="${P11KIT_PKCS11_H}/p11-kit/pkcs11.h")

foreach(name p11_copy p11_cert p11_custody p11_decrypt p11_find p11_hmac p11_login p11_modules p11_pin_memory p11_process p11_reread p11_sign)
  kn_test(test_${name} LABEL integration SOURCES integration/test_${name}.c LIBS kn_test_token kn_backends)
endforeach()

foreach(name kn_alias p11_uri tpm2_blob tpm2_tss_key)
  kn_test(fuzz_${name} LABEL fuzz SOURCES fuzz/fuzz_${name}.c $<$<NOT:$<BOOL:${KN_LIBFUZZER}>>:fuzz/fuzz_driver.c>
          LIBS kn_backends)
endforeach()

# For tests/tokens/run.sh, which is no ctest: it needs daemons, packages and a mount namespace.
add_executable(token_tool tokens/token_tool.c)
kn_target(token_tool)
target_link_libraries(token_tool PRIVATE PkgConfig::P11KIT ${CMAKE_DL_LIBS})

# TPM attestation on swtpm. The service's side of the activation blob is the emulator's.
add_library(kn_test_tcti MODULE support/tcti_shim.c)
kn_target(kn_test_tcti)
set_target_properties(kn_test_tcti PROPERTIES PREFIX "")
target_include_directories(kn_test_tcti SYSTEM PRIVATE ${TSS2_INCLUDE_DIRS})
target_link_libraries(kn_test_tcti PRIVATE ${TSS2_LINK_LIBRARIES})
foreach(name tpm2_attest tpm2_certify tpm2_decrypt tpm2_inspect tpm2_key tpm2_key_file)
  kn_test(test_${name} LABEL integration SOURCES integration/test_${name}.c support/swtpm.c LIBS kn_backends dps_core)
  target_compile_definitions(test_${name} PRIVATE TCTI_SHIM="$<TARGET_FILE:kn_test_tcti>")
  target_include_directories(test_${name} SYSTEM PRIVATE ${TSS2_INCLUDE_DIRS})
  add_dependencies(test_${name} kn_test_tcti)
endforeach()
target_compile_definitions(test_tpm2_inspect PRIVATE TEST_EMPTY_MODULE="$<TARGET_FILE:kn_test_empty>")
add_dependencies(test_tpm2_inspect kn_test_empty)
