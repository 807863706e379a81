# Tests of provider.
