#!/usr/bin/env bash
# Builds every fuzz target with clang, libFuzzer, ASan and UBSan, and runs each for a while.
# run-libfuzzer.sh BUILD [SECONDS-EACH]
set -euo pipefail
build=${1:?BUILD is missing} seconds=${2:-30}
root=$(cd "$(dirname "$0")/../.." && pwd)
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug -DKN_WERROR=ON \
  -DKN_SANITIZE=address,undefined -DKN_LIBFUZZER=ON -DCMAKE_C_FLAGS=-fsanitize=fuzzer-no-link >/dev/null
cmake --build "$build"
for target in "$build"/tests/fuzz_*; do
  [ -x "$target" ] && [ -f "$target" ] || continue
  corpus=$(mktemp -d)
  echo "fuzz: $(basename "$target") for $seconds s"
  "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=0 "$corpus" >"$corpus.log" 2>&1 ||
    { tail -n 60 "$corpus.log"; exit 1; }
  grep -E '^Done|DONE' "$corpus.log" | tail -n 1
  rm -rf "$corpus" "$corpus.log"
done
