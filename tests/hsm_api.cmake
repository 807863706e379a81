# Tests of hsm_api/.
kn_test(test_hsm_contract LABEL contract SOURCES contract/test_hsm_contract.c support/hsm.c
        LIBS kn_test_token kn_backends keynym_hsm_shared OpenSSL::SSL)
kn_test(test_hsm_errors LABEL integration SOURCES integration/test_hsm_errors.c support/hsm.c
        LIBS kn_test_token kn_backends keynym_hsm_shared OpenSSL::SSL)
