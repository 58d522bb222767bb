# What deploy/quickstart.sh and tests/run.sh install with; sourced by both, from the checkout's root.
# shellcheck shell=bash

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }
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

wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
recent() { # is this cargo, and its rustc, at least what Cargo.toml wants?
    local version
    version=$("$1" --version 2>/dev/null | awk '{print $2}') || return 1
    [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$wanted" "$version" | sort -V | head -n 1)" = "$wanted" ]
}

# C for jemalloc; certificates, since rustup and cargo download over TLS.
need_compiler() {
    local missing=()
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
}

# The toolchain, and the components given as arguments.
need_rust() {
    # Where rustup puts its own, which comes before a distribution's older one.
    PATH="${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH"
    if ! recent cargo; then
        if ! command -v rustup >/dev/null; then
            local advice="install it with the command at https://rustup.rs, open a new shell, and run this again"
            need_apt "Rust $wanted or later" "$advice"
            available rustup || die "Rust $wanted or later is missing, and this distribution has no rustup: $advice"
            # Its cargo would stand before rustup's and is too old.
            ! dpkg -s cargo >/dev/null 2>&1 || die "the distribution's cargo is older than $wanted: remove it with apt-get remove cargo rustc, and run this again"
            install rustup
        fi
        say "installing the stable Rust toolchain with rustup"
        rustup toolchain install stable --profile minimal --no-self-update
        # Kept for later shells too, unless another toolchain is the default already.
        rustup default >/dev/null 2>&1 || rustup default stable
        export RUSTUP_TOOLCHAIN=stable
        recent cargo || die "cargo is still older than $wanted: $(command -v cargo)"
    fi
    local component
    for component; do # rustfmt is cargo-fmt's, clippy its own
        command -v "cargo-${component/rustfmt/fmt}" >/dev/null || rustup component add "$component"
    done
}
