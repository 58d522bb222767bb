#!/usr/bin/env bash
# Counts what an ordinary GET costs in instructions of user mode, of two builds of slotway beside each other:
#   bench/instructions.sh [--rounds N] [--requests N] BASE THIS
# One worker thread before a cluster of one node; 50 clients, pipeline 1 and 16; valgrind counts. Each run is made with
# few requests and with many of the same keys, and the difference divided by the difference, so starting, connecting
# and ending fall out. BENCH_LOAD names the load generator, target/release/load otherwise. See bench/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=3 requests=20000
while [[ ${1:-} == --* ]]; do
    case $1 in
    --rounds) rounds=${2:?} ;;
    --requests) requests=${2:?} ;;
    *) sed -n '2,6s/^# //p' "$0" >&2; exit 64 ;;
    esac
    shift 2
done
[ $# = 2 ] || { echo "usage: bench/instructions.sh [--rounds N] [--requests N] BASE THIS" >&2; exit 64; }
declare -A binary=([base]=$(realpath -e "$1") [this]=$(realpath -e "$2"))
load=$(realpath -e "${BENCH_LOAD:-${CARGO_TARGET_DIR:-target}/release/load}") || {
    echo "no load generator: cargo build --release -p slotway-bench" >&2; exit 1; }
few=$((requests / 5))
[ "$few" -gt 0 ] || { echo "too few requests" >&2; exit 64; }
for program in valgrind redis-server redis-cli; do
    command -v "$program" >/dev/null || { echo "$program is missing" >&2; exit 1; }
done

dir=$(mktemp -d)
server= proxy=
stop() { # Ends one of ours, and waits for it.
    [ -z "$1" ] || { kill "$1" 2>/dev/null && wait "$1" 2>/dev/null; } || true
}
trap 'stop "$proxy"; stop "$server"; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

is_open() { (: </dev/tcp/127.0.0.1/"$1") 2>/dev/null; }
free_port() {
    local port
    while port=$((12000 + RANDOM % 18000)); is_open "$port" || is_open $((port + 1)); do :; done
    echo "$port"
}
wait_until() { # SECONDS WHAT COMMAND...: tries the command again and again
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        { [ "$SECONDS" -lt "$end" ] && kill -0 "${proxy:-$server}" 2>/dev/null; } ||
            { echo "$what did not become ready" >&2; tail -n 20 "$dir"/*.log >&2; exit 1; }
        sleep 0.1
    done
}
says() { [[ $(redis-cli -p "$1" "${@:3}") == *"$2"* ]]; } # PORT WHAT COMMAND...

node=$(free_port)
redis-server --port "$node" --bind 127.0.0.1 --save '' --appendonly no --dir "$dir" --cluster-enabled yes \
    --cluster-port $((node + 1)) >"$dir/server.log" & server=$!
wait_until 15 redis-server says "$node" PONG PING
redis-cli -p "$node" CLUSTER ADDSLOTSRANGE 0 16383 >/dev/null
wait_until 15 "the cluster" says "$node" cluster_state:ok CLUSTER INFO
"$load" --fill "127.0.0.1:$node"

count() { # WHO PIPELINE REQUESTS: puts into `counted` what the process takes from its start to its end
    local port
    port=$(free_port)
    # Threads take turns fairly, or the worker may keep others waiting that do nothing but look at the time.
    valgrind --tool=callgrind --fair-sched=yes --callgrind-out-file="$dir/counts" --log-file="$dir/valgrind.log" \
        "${binary[$1]}" --cluster "redis://127.0.0.1:$node" --listen "127.0.0.1:$port" --threads 1 \
        >"$dir/proxy.log" 2>&1 & proxy=$!
    wait_until 60 "$1" says "$port" PONG PING
    wait_until 60 "$1" says "$port" none TYPE nothing
    "$load" --pipeline "$2" --requests "$3" "127.0.0.1:$port" >/dev/null
    stop "$proxy"
    proxy=
    counted=$(awk '/^(totals|summary):/ { print $2; exit }' "$dir/counts")
    rm "$dir/counts"
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

printf '%-10s%14s%14s%9s   (instructions a GET, medians of %s rounds)\n' pipeline base this ratio "$rounds"
for pipeline in 1 16; do
    for ((round = 0; round < rounds; round++)); do
        for who in base this; do
            count "$who" "$pipeline" "$few"
            less=$counted
            count "$who" "$pipeline" "$requests"
            echo $(((counted - less) * 10 / (requests - few))) >>"$dir/$who-$pipeline"
        done
    done
    awk -v p="$pipeline" -v b="$(median <"$dir/base-$pipeline")" -v t="$(median <"$dir/this-$pipeline")" \
        'BEGIN { printf "%-10s%14.1f%14.1f%9.4f\n", p, b / 10, t / 10, t / b }'
done
