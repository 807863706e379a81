# Tests of backends.
