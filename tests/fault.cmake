# Fault tests: the backends behind a module that misbehaves.
add_library(kn_test_fault STATIC fault/fault.c)
kn_target(kn_test_fault)
target_include_directories(kn_test_fault PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(kn_test_fault PUBLIC kn_test_token PkgConfig::CMOCKA)

foreach(name claims delete lies matrix memory process recovery sessions threads)
  kn_test(test_fault_${name} LABEL fault SOURCES fault/test_fault_${name}.c LIBS kn_test_fault kn_backends TIMEOUT 600)
endforeach()
foreach(call malloc calloc realloc free strdup strndup)
  target_link_options(test_fault_memory PRIVATE -Wl,--wrap=${call})
endforeach()

kn_test(test_fault_provider LABEL fault SOURCES fault/test_fault_provider.c support/prov.c
        LIBS kn_test_fault kn_backends OpenSSL::SSL)
target_compile_definitions(test_fault_provider PRIVATE KEYNYM_MODULE_DIR="$<TARGET_FILE_DIR:keynym_provider>")
add_dependencies(test_fault_provider keynym_provider)
