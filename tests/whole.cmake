# Tests of the whole: scripts, documentation, the demo.
