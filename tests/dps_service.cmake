# Tests of dps_emulator's service side: enrollments, attestation, allocation, service API, faults.
foreach(name sas allocate)
  kn_test(test_dps_${name} LABEL unit SOURCES unit/test_dps_${name}.c LIBS dps_core)
endforeach()
foreach(name attest tpm)
  kn_test(test_dps_${name} LABEL unit SOURCES unit/test_dps_${name}.c unit/test_dps_pki.c LIBS dps_core)
endforeach()

kn_test(test_dps_query LABEL unit SOURCES unit/test_dps_query.c LIBS dps_core PkgConfig::CJSON)
# The real program, over HTTPS with bytes that the tests write themselves: they do not link dps_core.
kn_test(test_dps_api LABEL contract
        SOURCES contract/test_dps_api.c integration/test_dps_harness.c unit/test_dps_pki.c
        LIBS PkgConfig::CJSON OpenSSL::SSL OpenSSL::Crypto)
target_compile_definitions(test_dps_api PRIVATE KEYNYM_DPS="$<TARGET_FILE:keynym-dps>")
add_dependencies(test_dps_api keynym-dps)
foreach(name enrollments faults webhook)
  kn_test(test_dps_${name} LABEL integration
          SOURCES integration/test_dps_${name}.c integration/test_dps_harness.c unit/test_dps_pki.c
          LIBS PkgConfig::CJSON OpenSSL::SSL OpenSSL::Crypto)
  target_compile_definitions(test_dps_${name} PRIVATE KEYNYM_DPS="$<TARGET_FILE:keynym-dps>")
  add_dependencies(test_dps_${name} keynym-dps)
endforeach()

kn_test(fuzz_dps_service LABEL fuzz
        SOURCES fuzz/fuzz_dps_service.c $<$<NOT:$<BOOL:${KN_LIBFUZZER}>>:fuzz/fuzz_driver.c>
        LIBS dps_core TIMEOUT 60)

target_sources(test_dps_faults PRIVATE integration/test_dps_amqp_client.c)
target_include_directories(test_dps_faults SYSTEM PRIVATE ${PROTON_INCLUDE_DIR})
target_link_libraries(test_dps_faults PRIVATE ${PROTON_LIBRARY})
