# Tests of provider/. They load the keynym.so of this build.
foreach(name prov_decoder prov_differential prov_errors prov_keymgmt prov_sign prov_store prov_tls)
  kn_test(test_${name} LABEL integration SOURCES integration/test_${name}.c support/prov.c
          LIBS kn_test_token kn_backends OpenSSL::SSL)
  target_compile_definitions(test_${name} PRIVATE KEYNYM_MODULE_DIR="$<TARGET_FILE_DIR:keynym_provider>")
  add_dependencies(test_${name} keynym_provider)
endforeach()
