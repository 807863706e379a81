# Tests of hsm_api/. They link the shared library, as an application with -Dhsm_custom_lib does, or open it.
function(kn_hsm_test name label)
  kn_test(${name} LABEL ${label} SOURCES ${label}/${name}.c support/prov.c ${ARGN}
          LIBS kn_test_token kn_backends OpenSSL::SSL ${CMAKE_DL_LIBS})
  target_include_directories(${name} PRIVATE $<TARGET_PROPERTY:keynym_hsm_shared,INTERFACE_INCLUDE_DIRECTORIES>)
  target_compile_definitions(${name} PRIVATE KEYNYM_MODULE_DIR="$<TARGET_FILE_DIR:keynym_provider>"
                                             KEYNYM_HSM_LIBRARY="$<TARGET_FILE:keynym_hsm_shared>")
  add_dependencies(${name} keynym_provider keynym_hsm_shared)
endfunction()

foreach(name hsm_contract hsm_sdk)
  kn_hsm_test(test_${name} contract support/hsm.c support/sdk.c support/tls_server.c)
  target_link_libraries(test_${name} PRIVATE keynym_hsm_shared)
endforeach()
kn_hsm_test(test_hsm_errors integration support/hsm.c support/sdk.c)
kn_hsm_test(test_hsm_process integration)
target_link_libraries(test_hsm_errors PRIVATE keynym_hsm_shared)
