#!/usr/bin/env bash
# Measures what a client costs in memory and plots it: builds, runs `footprint` (whose flags may follow; --help
# tells them), writes footprint.json below target/ and the plots to bench/plots/ (FOOTPRINT_PLOTS names another
# directory). bench/setup.sh installs what is compared.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
venv=$target/footprint-venv
requirements=bench/footprint/requirements.txt
json=$target/footprint.json

for flag in "$@"; do
    if [ "$flag" = --help ] || [ "$flag" = -h ]; then
        exec cargo run -q --release --locked -p slotway-bench --bin footprint -- --help
    fi
done

if ! cmp -s "$requirements" "$venv/installed.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install -q -r "$requirements"
    cp "$requirements" "$venv/installed.txt"
fi
cargo build --release --locked -p slotway -p slotway-bench --bins

# Debian has twemproxy outside of a user's PATH; setup.sh leaves Envoy below target/.
PATH=$PATH:/usr/sbin
flags=(--json "$json")
envoy=$(find target/peers -type f -path '*envoy/_bin/envoy' 2>/dev/null | head -n 1)
[ -n "$envoy" ] && flags+=(--envoy "$envoy")
# A run that ends early keeps what it measured: that is plotted too.
status=0
"$target/release/footprint" "${flags[@]}" "$@" || status=$?
[ -e "$json" ] && "$venv/bin/python" bench/footprint/plot.py "$json" "${FOOTPRINT_PLOTS:-bench/plots}"
exit "$status"
