# Tests of hsm_api.
