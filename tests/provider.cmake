# Tests of provider/. They load the keynym.so of this build.
foreach(name config crypt decoder differential encoder generate keymgmt kinds pin process rsa sign store tls)
  kn_test(test_ossl_${name} LABEL integration SOURCES integration/test_ossl_${name}.c support/prov.c
          LIBS kn_test_token kn_backends OpenSSL::SSL)
  target_compile_definitions(test_ossl_${name} PRIVATE KEYNYM_MODULE_DIR="$<TARGET_FILE_DIR:keynym_provider>")
  add_dependencies(test_ossl_${name} keynym_provider)
endforeach()
