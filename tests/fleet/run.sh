#!/usr/bin/env bash
# A whole fleet on one machine: balancers with rates, proxies, a cluster, name servers and clients, each in a network
# namespace. As root, on Debian or a derivative; installs what is missing, takes down what it has put up. See README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
venv=$target/venv

if [ "$(id -u)" != 0 ]; then
    echo "skipped: network namespaces need root"
    exit 0
fi

missing=()
needs() { command -v "$1" >/dev/null || missing+=("$2"); }
needs redis-server redis-server
needs redis-cli redis-tools
needs haproxy haproxy
needs named bind9
needs dig bind9-dnsutils
needs unbound unbound
needs curl curl
needs ip iproute2
needs tc iproute2
needs python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
case " $* " in
*knot*) needs knotd knot ;;
*powerdns*)
    needs pdns_server pdns-server
    needs sqlite3 sqlite3
    needs pdnsutil pdns-backend-sqlite3
    ;;
esac
if [ ${#missing[@]} != 0 ]; then
    (
        # Packages must not start their servers: Debian's way to say so is a policy-rc.d that forbids (101), for as
        # long as the installation takes.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap 'rm -f "$policy"' EXIT
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod +x "$policy"
        fi
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
    )
fi
if ! ip netns add slotway-probe 2>/dev/null; then
    echo "skipped: no network namespaces can be made here (ip netns add)"
    exit 0
fi
ip netns del slotway-probe
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import redis' 2>/dev/null ||
    "$venv/bin/python" -m pip install -q "$(grep '^redis==' tests/clients/python/requirements.txt)"
"$venv/bin/python" -c 'import matplotlib' 2>/dev/null || "$venv/bin/python" -m pip install -q matplotlib || true

if [ -z "${SLOTWAY:-}" ]; then
    cargo build --release --locked -p slotway
    SLOTWAY=$target/release/slotway
fi
SLOTWAY=$(realpath "$SLOTWAY")
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/fleet exec "$venv/bin/python" -m fleet --slotway "$SLOTWAY" "$@"
