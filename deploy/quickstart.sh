#!/usr/bin/env bash
# From a checkout to a running Slotway in one command, on a Debian-like machine:
#   deploy/quickstart.sh [--listen ADDR] [--nodes N] [--replicas N] [--admin ADDR] [--threads N]
# Installs what is missing (a Redis or Valkey server, a C compiler, a Rust toolchain) from the distribution,
# builds, and runs `slotway dev` with the arguments: a throw-away cluster with the proxy in front. Ctrl-C ends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=deploy/install.sh
. deploy/install.sh

# The server is wanted as a program, not as a service at port 6379: it is neither started now (policy-rc.d is
# how Debian's packages are told so) nor at the next boot. One that was there before is left alone.
install_server() {
    local server policy=/usr/sbin/policy-rc.d ours=no
    if available redis-server; then server=redis-server
    elif available valkey-server; then server=valkey-server
    else die "the distribution has neither redis-server nor valkey-server: install one, or name one in SLOTWAY_SERVER"
    fi
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        # The rule must not outlive us, whatever ends us.
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    install "$server"
    if [ "$ours" = yes ]; then
        as_root rm -f "$policy"
        trap - EXIT
    fi
    if [ -d /run/systemd/system ]; then
        as_root systemctl disable --quiet "$server" || say "could not disable the service $server"
    fi
}

if [ -z "${SLOTWAY_SERVER:-}" ] && ! command -v redis-server >/dev/null && ! command -v valkey-server >/dev/null; then
    need_apt "a Redis or Valkey server" "install one, or name one in SLOTWAY_SERVER"
    install_server
fi

need_compiler
need_rust

say "building (the first time takes some minutes)"
cargo build --release --locked --package slotway
exec "${CARGO_TARGET_DIR:-target}/release/slotway" dev "$@"
