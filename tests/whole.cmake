# Tests of the whole: scripts, documentation, the demo.
function(kn_script name label)
  add_test(NAME ${label}.${name} COMMAND ${ARGN} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${label}.${name} PROPERTIES LABELS ${label} TIMEOUT 300)
endfunction()

set(KN_LINT ${CMAKE_CURRENT_LIST_DIR}/lint)
kn_script(layers lint ${KN_LINT}/layers.sh ${PROJECT_SOURCE_DIR})
kn_script(layers_selftest lint ${KN_LINT}/layers_selftest.sh ${PROJECT_SOURCE_DIR})
kn_script(exports_provider lint ${KN_LINT}/exports.sh $<TARGET_FILE:keynym_provider> OSSL_provider_init)
kn_script(exports_hsm lint ${KN_LINT}/exports.sh $<TARGET_FILE:keynym_hsm_shared>
  hsm_client_x509_init hsm_client_x509_deinit hsm_client_x509_interface
  hsm_client_tpm_init hsm_client_tpm_deinit hsm_client_tpm_interface hsm_client_key_interface
  keynym_hsm_configure keynym_hsm_load_config keynym_hsm_sign_sas keynym_hsm_use keynym_hsm_set_log keynym_hsm_setting keynym_hsm_last_error keynym_hsm_version)
kn_script(man lint ${KN_LINT}/man.sh ${PROJECT_SOURCE_DIR} $<TARGET_FILE:keynym_cmd> $<TARGET_FILE:keynym-dps>)
set_target_properties(kn_errors_md PROPERTIES EXCLUDE_FROM_ALL OFF)
kn_script(errors_md lint ${KN_LINT}/errors_md.sh ${PROJECT_SOURCE_DIR} $<TARGET_FILE:kn_errors_md>)

kn_script(demo whole ${CMAKE_CURRENT_LIST_DIR}/whole/demo.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
kn_script(genpkey whole ${CMAKE_CURRENT_LIST_DIR}/whole/genpkey.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
kn_script(bad_input whole ${CMAKE_CURRENT_LIST_DIR}/whole/bad_input.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
kn_script(command whole ${CMAKE_CURRENT_LIST_DIR}/whole/command.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
kn_script(hub whole ${CMAKE_CURRENT_LIST_DIR}/whole/hub.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
kn_script(install whole ${CMAKE_CURRENT_LIST_DIR}/whole/install.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
kn_script(link whole ${CMAKE_CURRENT_LIST_DIR}/whole/link.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
kn_script(symmetric whole ${CMAKE_CURRENT_LIST_DIR}/whole/symmetric.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
kn_script(differential whole ${CMAKE_CURRENT_LIST_DIR}/whole/differential.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})

add_executable(whole_proxy whole/proxy_tool.c support/test_proxy.c)
add_library(whole_clock MODULE whole/clock.c)
foreach(target whole_proxy whole_clock)
  kn_target(${target})
endforeach()
target_include_directories(whole_proxy PRIVATE ${CMAKE_CURRENT_LIST_DIR})
target_link_libraries(whole_proxy PRIVATE PkgConfig::CMOCKA OpenSSL::Crypto Threads::Threads)
set_target_properties(whole_clock PROPERTIES PREFIX "")
kn_script(doctor whole ${CMAKE_CURRENT_LIST_DIR}/whole/doctor.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
