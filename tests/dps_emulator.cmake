# Tests of dps_emulator.
