#!/usr/bin/env bash
# docs/errors.md is what the tables say. errors_md.sh ROOT GENERATOR
set -euo pipefail
"$2" | diff -u "$1/docs/errors.md" - || { echo "run: cmake --build DIR --target errors-md"; exit 1; }
