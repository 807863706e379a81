# Tests of dps_emulator.
foreach(name mqtt_codec topic id http_codec ws_codec)
  kn_test(test_dps_${name} LABEL unit SOURCES unit/test_dps_${name}.c LIBS dps_core)
endforeach()
foreach(name store x509 service mqtt_session hub_core)
  kn_test(test_dps_${name} LABEL unit SOURCES unit/test_dps_${name}.c unit/test_dps_pki.c LIBS dps_core)
endforeach()
kn_test(test_dps_cmd LABEL unit SOURCES unit/test_dps_cmd.c LIBS dps_core)
target_compile_definitions(test_dps_cmd PRIVATE
  DPS_MANUAL="${CMAKE_CURRENT_LIST_DIR}/../docs/man/keynym-dps.1")

# The real program, driven over TLS with bytes that the tests write themselves: they do not link dps_core.
foreach(name mqtt life https ws amqp hub tpm_wire)
  kn_test(test_dps_${name} LABEL integration
          SOURCES integration/test_dps_${name}.c integration/test_dps_harness.c unit/test_dps_pki.c
          LIBS PkgConfig::CJSON OpenSSL::SSL OpenSSL::Crypto)
  target_compile_definitions(test_dps_${name} PRIVATE KEYNYM_DPS="$<TARGET_FILE:keynym-dps>")
  add_dependencies(test_dps_${name} keynym-dps)
endforeach()
kn_test(test_dps_contract LABEL contract
        SOURCES contract/test_dps_contract.c integration/test_dps_harness.c unit/test_dps_pki.c
        LIBS PkgConfig::CJSON OpenSSL::SSL OpenSSL::Crypto)
target_compile_definitions(test_dps_contract PRIVATE KEYNYM_DPS="$<TARGET_FILE:keynym-dps>")
add_dependencies(test_dps_contract keynym-dps)
foreach(name amqp contract tpm_wire)
  target_sources(test_dps_${name} PRIVATE integration/test_dps_amqp_client.c)
  target_include_directories(test_dps_${name} SYSTEM PRIVATE ${PROTON_INCLUDE_DIR})
  target_link_libraries(test_dps_${name} PRIVATE ${PROTON_LIBRARY})
endforeach()

target_sources(test_dps_tpm_wire PRIVATE support/soft_tpm.c)

kn_test(fuzz_dps_mqtt LABEL fuzz SOURCES fuzz/fuzz_dps_mqtt.c LIBS dps_core TIMEOUT 60)
foreach(name http ws session)
  kn_test(fuzz_dps_${name} LABEL fuzz
          SOURCES fuzz/fuzz_dps_${name}.c $<$<NOT:$<BOOL:${KN_LIBFUZZER}>>:fuzz/fuzz_driver.c>
          LIBS dps_core TIMEOUT 60)
endforeach()

# Not a test of ctest: ./check --full runs it. See tests/bench/bench_dps_fleet.c.
add_executable(bench_dps_fleet bench/bench_dps_fleet.c unit/test_dps_pki.c)
kn_target(bench_dps_fleet)
target_include_directories(bench_dps_fleet PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(bench_dps_fleet PRIVATE OpenSSL::SSL OpenSSL::Crypto PkgConfig::CMOCKA)
