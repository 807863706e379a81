# Tests of backends/.
find_library(SOFTHSM2_MODULE NAMES softhsm2 libsofthsm2.so PATH_SUFFIXES softhsm pkcs11 REQUIRED)

add_library(kn_test_token STATIC support/token.c)
kn_target(kn_test_token)
target_compile_definitions(kn_test_token PRIVATE SOFTHSM2_MODULE="${SOFTHSM2_MODULE}")
target_include_directories(kn_test_token PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/support)
target_link_libraries(kn_test_token PUBLIC kn_backends)

foreach(name kn_alg kn_alias kn_ecdsa kn_err kn_log kn_public kn_secret p11_ckr p11_uri)
  kn_test(test_${name} LABEL unit SOURCES unit/test_${name}.c LIBS kn_backends)
endforeach()

foreach(name p11_cert p11_custody p11_find p11_login p11_process p11_sign)
  kn_test(test_${name} LABEL integration SOURCES integration/test_${name}.c LIBS kn_test_token kn_backends)
endforeach()

foreach(name kn_alias p11_uri)
  kn_test(fuzz_${name} LABEL fuzz SOURCES fuzz/fuzz_${name}.c fuzz/fuzz_driver.c LIBS kn_backends)
endforeach()
