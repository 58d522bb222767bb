#!/bin/bash
# Fuzzes each target for some seconds, or those that are named: proxy/fuzz/run.sh SECONDS [TARGET...]
# Needs a C++ compiler for libFuzzer. The stable compiler does: coverage is what is instrumented, and the code has no unsafe.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    targets=(responder rewrite proxy_header request reply report)
fi

host=$(rustc -vV | sed -n 's/^host: //p')
coverage="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
coverage+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
coverage+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# With a target, so that build scripts are not instrumented.
RUSTFLAGS="$coverage" cargo build --release --target "$host" --locked

for target in "${targets[@]}"; do
    # What is found grows in target/; seeds are committed.
    found=target/corpus/$target
    mkdir -p "$found" "seeds/$target" target/artifacts
    echo "$target: $seconds s"
    "target/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="target/artifacts/$target-" "$found" "seeds/$target" 2>"target/artifacts/$target.log" || {
        tail -30 "target/artifacts/$target.log"
        exit 1
    }
    grep -E 'number_of_executed_units|average_exec_per_sec|peak_rss' "target/artifacts/$target.log"
done
