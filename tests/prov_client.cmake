# Tests of prov_client. They bring their own service (fake_dps) and their own HSM library (fake_dps_hsm).
set(PROV_TESTS ${CMAKE_CURRENT_LIST_DIR})

add_library(prov_fake OBJECT
  ${PROV_TESTS}/support/fake_dps.c
  ${PROV_TESTS}/support/fake_dps_hsm.c
  ${PROV_TESTS}/support/fake_dps_pki.c
  ${PROV_TESTS}/support/soft_tpm.c)
kn_target(prov_fake)
target_link_libraries(prov_fake PUBLIC OpenSSL::SSL OpenSSL::Crypto Threads::Threads)

foreach(unit amqp_sasl_tpm base64 mqtt_codec mqtt_topic names register response retry sas transports)
  kn_test(test_prov_${unit} LABEL unit SOURCES ${PROV_TESTS}/unit/test_prov_${unit}.c
          LIBS keynym_prov prov_fake)
endforeach()

kn_test(test_prov_ws LABEL unit SOURCES ${PROV_TESTS}/unit/test_prov_ws.c ${PROV_TESTS}/support/memory_stream.c
        LIBS keynym_prov)

# Death and failure at every system call: the linker sends them to the test.
kn_test(test_prov_file LABEL unit SOURCES ${PROV_TESTS}/unit/test_prov_file.c ${PROJECT_SOURCE_DIR}/prov_client/prov_file.c)
target_include_directories(test_prov_file PRIVATE ${PROJECT_SOURCE_DIR}/prov_client)
target_link_options(test_prov_file PRIVATE LINKER:--wrap=write LINKER:--wrap=fsync LINKER:--wrap=close
                                           LINKER:--wrap=rename LINKER:--wrap=unlink LINKER:--wrap=renameat2)

foreach(area success errors limits command)
  kn_test(test_prov_client_${area} LABEL integration
          SOURCES ${PROV_TESTS}/integration/test_prov_client_${area}.c
          LIBS keynym_cmd_core keynym_prov prov_fake)
endforeach()

kn_test(test_prov_client_refusals LABEL integration
        SOURCES ${PROV_TESTS}/integration/test_prov_client_refusals.c ${PROV_TESTS}/support/tls_refuser.c
                ${PROV_TESTS}/support/test_proxy.c
        LIBS keynym_prov prov_fake)

kn_test(test_prov_http LABEL integration
        SOURCES ${PROV_TESTS}/integration/test_prov_http.c ${PROV_TESTS}/support/tls_refuser.c
        LIBS keynym_prov prov_fake)

# The two of this project against each other: the client and the emulator share no code.
foreach(name prov_client_faults prov_client_ipv6 prov_client_many prov_client_proxies prov_client_tpm prov_client_transports prov_hub prov_hub_reprovision)
  kn_test(test_${name} LABEL integration
          SOURCES ${PROV_TESTS}/integration/test_${name}.c ${PROV_TESTS}/support/test_proxy.c
                  ${PROV_TESTS}/integration/test_dps_harness.c ${PROV_TESTS}/unit/test_dps_pki.c
          LIBS keynym_prov prov_fake)
  target_compile_definitions(test_${name} PRIVATE KEYNYM_DPS="$<TARGET_FILE:keynym-dps>")
  add_dependencies(test_${name} keynym-dps)
endforeach()

set_tests_properties(integration.test_prov_client_ipv6 PROPERTIES SKIP_RETURN_CODE 77) # a machine without ::1

# The same entry point that libFuzzer calls, driven by a fixed sequence: quick, and the same on every run.
kn_test(fuzz_prov_mqtt LABEL fuzz SOURCES ${PROV_TESTS}/fuzz/fuzz_prov_mqtt.c LIBS keynym_prov TIMEOUT 60)
foreach(name amqp text ws)
  kn_test(fuzz_prov_${name} LABEL fuzz
          SOURCES ${PROV_TESTS}/fuzz/fuzz_prov_${name}.c ${PROV_TESTS}/support/memory_stream.c
                  $<$<NOT:$<BOOL:${KN_LIBFUZZER}>>:${PROV_TESTS}/fuzz/fuzz_driver.c>
          LIBS keynym_prov prov_fake TIMEOUT 60)
endforeach()

kn_test(test_kn_cmd_terminal LABEL unit SOURCES ${PROV_TESTS}/unit/test_kn_cmd_terminal.c LIBS keynym_cmd_core prov_fake)

kn_test(test_kn_cmd_json LABEL unit
        SOURCES ${PROV_TESTS}/unit/test_kn_cmd_json.c ${PROJECT_SOURCE_DIR}/prov_client/cmd/kn_cmd_json.c
        LIBS PkgConfig::CJSON kn_backends)
target_include_directories(test_kn_cmd_json PRIVATE ${PROJECT_SOURCE_DIR}/prov_client/cmd ${PROJECT_SOURCE_DIR}/backends)

# The client with another hsm_custom_lib.
add_library(foreign_hsm SHARED foreign/foreign_hsm.c)
kn_target(foreign_hsm)
target_link_libraries(foreign_hsm PRIVATE OpenSSL::Crypto)
kn_test(test_foreign_hsm LABEL integration
        SOURCES foreign/test_foreign_hsm.c ${PROV_TESTS}/integration/test_dps_harness.c ${PROV_TESTS}/unit/test_dps_pki.c
        LIBS keynym_prov foreign_hsm OpenSSL::SSL)
target_compile_definitions(test_foreign_hsm PRIVATE KEYNYM_DPS="$<TARGET_FILE:keynym-dps>")
add_dependencies(test_foreign_hsm keynym-dps)
