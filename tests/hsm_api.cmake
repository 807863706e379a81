# Tests of hsm_api/. They link the shared library, as an application with -Dhsm_custom_lib does, or open it.
function(kn_hsm_test name label)
  kn_test(${name} LABEL ${label} SOURCES ${label}/${name}.c support/prov.c ${ARGN}
          LIBS kn_test_token kn_backends OpenSSL::SSL ${CMAKE_DL_LIBS})
  target_include_directories(${name} PRIVATE $<TARGET_PROPERTY:keynym_hsm_shared,INTERFACE_INCLUDE_DIRECTORIES>)
  target_compile_definitions(${name} PRIVATE KEYNYM_MODULE_DIR="$<TARGET_FILE_DIR:keynym_provider>"
                                             KEYNYM_HSM_LIBRARY="$<TARGET_FILE:keynym_hsm_shared>")
  add_dependencies(${name} keynym_provider keynym_hsm_shared)
endfunction()

add_library(kn_test_empty MODULE support/p11_empty.c)
kn_target(kn_test_empty)
target_link_libraries(kn_test_empty PRIVATE PkgConfig::P11KIT)

foreach(name hsm_contract hsm_identity hsm_sdk)
  kn_hsm_test(test_${name} contract support/hsm.c support/sdk.c support/tls_server.c)
  target_link_libraries(test_${name} PRIVATE keynym_hsm_shared)
  add_dependencies(test_${name} kn_test_empty)
  target_compile_definitions(test_${name} PRIVATE TEST_EMPTY_MODULE="$<TARGET_FILE:kn_test_empty>")
endforeach()
kn_hsm_test(test_hsm_errors integration support/hsm.c support/sdk.c)
kn_hsm_test(test_hsm_process integration)
target_link_libraries(test_hsm_errors PRIVATE keynym_hsm_shared)

# The TPM interface with backends of the test's own in place of kn_backends.c.
kn_test(test_hsm_tpm LABEL unit
        SOURCES unit/test_hsm_tpm.c ${PROJECT_SOURCE_DIR}/hsm_api/hsm_tpm.c ${PROJECT_SOURCE_DIR}/backends/kn_attest.c
                ${PROJECT_SOURCE_DIR}/backends/kn_ctx.c ${PROJECT_SOURCE_DIR}/backends/kn_err.c
                ${PROJECT_SOURCE_DIR}/backends/kn_proc.c
        LIBS OpenSSL::Crypto Threads::Threads)
target_include_directories(test_hsm_tpm PRIVATE ${PROJECT_SOURCE_DIR}/hsm_api ${PROJECT_SOURCE_DIR}/backends)

# How our own client takes a symmetric key.
target_link_libraries(test_hsm_identity PRIVATE keynym_prov)

# Our client and our library, with a TPM.
kn_test(test_prov_hub_tpm LABEL integration
        SOURCES integration/test_prov_hub_tpm.c integration/test_dps_harness.c unit/test_dps_pki.c support/swtpm.c
        LIBS keynym_prov keynym_hsm_shared kn_backends OpenSSL::SSL ${CMAKE_DL_LIBS})
target_include_directories(test_prov_hub_tpm SYSTEM PRIVATE ${TSS2_INCLUDE_DIRS})
target_compile_definitions(test_prov_hub_tpm PRIVATE KEYNYM_DPS="$<TARGET_FILE:keynym-dps>" TCTI_SHIM="$<TARGET_FILE:kn_test_tcti>")
add_dependencies(test_prov_hub_tpm keynym-dps kn_test_tcti)

# Two plug-ins, each with the static library in it.
foreach(name a b)
  add_library(kn_test_copy_${name} MODULE support/copy.c)
  kn_target(kn_test_copy_${name})
  target_link_libraries(kn_test_copy_${name} PRIVATE keynym_hsm_static)
  target_link_options(kn_test_copy_${name} PRIVATE -Wl,-Bsymbolic)
endforeach()
# sdk.c is compiled against the shared library's symbols, so the test has those as well and uses none of them
kn_hsm_test(test_hsm_copies contract support/sdk.c)
target_link_libraries(test_hsm_copies PRIVATE keynym_hsm_shared)
target_compile_definitions(test_hsm_copies PRIVATE KEYNYM_COPY_A="$<TARGET_FILE:kn_test_copy_a>"
                                                   KEYNYM_COPY_B="$<TARGET_FILE:kn_test_copy_b>")
add_dependencies(test_hsm_copies kn_test_copy_a kn_test_copy_b)

kn_test(test_hsm_engine LABEL unit SOURCES unit/test_hsm_engine.c ${PROJECT_SOURCE_DIR}/hsm_api/hsm_engine.c
        LIBS kn_backends)
target_include_directories(test_hsm_engine PRIVATE ${PROJECT_SOURCE_DIR}/hsm_api)

# With Debian's libengine-pkcs11-openssl.
kn_test(test_hsm_libp11 LABEL contract
        SOURCES contract/test_hsm_libp11.c support/hsm.c support/prov.c support/sdk.c support/tls_server.c
        LIBS kn_test_token kn_backends keynym_hsm_shared OpenSSL::SSL ${CMAKE_DL_LIBS})
target_compile_definitions(test_hsm_libp11 PRIVATE KEYNYM_MODULE_DIR="$<TARGET_FILE_DIR:keynym_provider>")

# The example configuration files against the tables of settings.
kn_test(test_examples LABEL unit
        SOURCES unit/test_examples.c ${PROJECT_SOURCE_DIR}/hsm_api/hsm_config.c ${PROJECT_SOURCE_DIR}/hsm_api/hsm_report.c
        LIBS kn_backends OpenSSL::Crypto Threads::Threads)
target_include_directories(test_examples PRIVATE ${PROJECT_SOURCE_DIR}/hsm_api ${PROJECT_SOURCE_DIR}/backends)
target_compile_definitions(test_examples PRIVATE KN_EXAMPLES="${PROJECT_SOURCE_DIR}/docs/examples")
