#!/usr/bin/env bash
# From a checkout to a running Slotway in one command, on a Debian-like machine:
#   deploy/quickstart.sh [--listen ADDR] [--nodes N] [--replicas N] [--admin ADDR] [--threads N]
# Installs what is missing (a Redis or Valkey server, a C compiler, a Rust toolchain) from the distribution,
# builds, and runs `slotway dev` with the arguments: a throw-away cluster with the proxy in front. Ctrl-C ends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'quickstart: %s\n' "$*" >&2; }
die() { say "$*"; exit 69; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "not root and no sudo: as root run: $*"
    fi
}

updated=no
available() { # is there something to install under this name?
    if [ "$updated" = no ]; then
        say "updating the package lists"
        as_root apt-get update -qq
        updated=yes
    fi
    # Not in a pipe: grep -q may end it early, which pipefail takes for a failure.
    grep -q 'Candidate: [^(]' <<<"$(apt-cache policy "$1" 2>/dev/null)"
}

install() {
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need_apt() { # what, and what to do without apt-get
    command -v apt-get >/dev/null || die "$1 is missing and there is no apt-get to install it with: $2"
}

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

# jemalloc is C; rustup and cargo download over TLS.
missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v make >/dev/null || missing+=(make)
if command -v apt-get >/dev/null && [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
    missing+=(ca-certificates)
fi
if [ ${#missing[@]} -gt 0 ]; then
    need_apt "a C compiler with make" "install both"
    available "${missing[0]}" || die "the distribution has no ${missing[0]}"
    install "${missing[@]}"
fi

wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
recent() { # is this cargo, and its rustc, at least what Cargo.toml wants?
    local version
    version=$("$1" --version 2>/dev/null | awk '{print $2}') || return 1
    [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$wanted" "$version" | sort -V | head -n 1)" = "$wanted" ]
}

# Where rustup puts its own, which comes before a distribution's older one.
PATH="${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH"
if ! recent cargo; then
    if ! command -v rustup >/dev/null; then
        advice="install it with the command at https://rustup.rs, open a new shell, and run this again"
        need_apt "Rust $wanted or later" "$advice"
        available rustup || die "Rust $wanted or later is missing, and this distribution has no rustup: $advice"
        # Its cargo would stand before rustup's and is too old.
        ! dpkg -s cargo >/dev/null 2>&1 || die "the distribution's cargo is older than $wanted: remove it with apt-get remove cargo rustc, and run this again"
        install rustup
    fi
    say "installing the stable Rust toolchain with rustup"
    rustup toolchain install stable --profile minimal --no-self-update
    export RUSTUP_TOOLCHAIN=stable
    recent cargo || die "cargo is still older than $wanted: $(command -v cargo)"
fi

say "building (the first time takes some minutes)"
cargo build --release --locked --package slotway
exec "${CARGO_TARGET_DIR:-target}/release/slotway" dev "$@"
