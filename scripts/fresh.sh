# Sourced by the scripts that prove what a fresh machine does.
# shellcheck shell=bash

# fresh_clone FOLDER: a clone of what is committed, in FOLDER/clone, and an empty CARGO_HOME, in
# FOLDER/home, which it exports.
#
# The toolchain is not in CARGO_HOME: rustup keeps it in RUSTUP_HOME. What the machine says in
# cargo's configuration, such as which mirror its registry is, stays so. Nothing that was downloaded
# or built before is there.
fresh_clone() {
    local configured=${CARGO_HOME:-$HOME/.cargo} name
    mkdir -p "$1/home"
    git clone --quiet --no-hardlinks . "$1/clone"
    git diff --quiet HEAD || echo "not committed, so not in $1/clone: $(git diff --name-only HEAD | tr '\n' ' ')" >&2
    for name in config config.toml; do
        [ ! -e "$configured/$name" ] || ln -s "$(realpath "$configured/$name")" "$1/home/$name"
    done
    export CARGO_HOME=$1/home
    unset CARGO_TARGET_DIR
}
