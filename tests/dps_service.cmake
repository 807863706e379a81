# Tests of dps_emulator's service side: enrollments, attestation, allocation, service API, faults.
foreach(name sas allocate)
  kn_test(test_dps_${name} LABEL unit SOURCES unit/test_dps_${name}.c LIBS dps_core)
endforeach()
foreach(name attest)
  kn_test(test_dps_${name} LABEL unit SOURCES unit/test_dps_${name}.c unit/test_dps_pki.c LIBS dps_core)
endforeach()
