#!/bin/sh
# Lays out the folder that `ejabberdctl module_install megaphone` takes, as ejabberd-contrib has its modules.
#
#   make.sh FOLDER          with the NIF that `make build` has built
#   make.sh FOLDER source   without it: it is built where the folder is installed
set -eu

fail() {
    echo "contrib: $1" >&2
    exit 1
}

[ $# -eq 1 ] || { [ $# -eq 2 ] && [ "$2" = source ]; } || fail "usage: $0 FOLDER [source]"
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
built=$root/_build/default/lib/megaphone
folder=$1

{ [ -e "$built/ebin/megaphone.app" ] && [ -e "$built/priv/megaphone_nif.so" ]; } || fail "nothing is built yet; try: make build"
rm -rf "$folder"
mkdir -p "$folder/src" "$folder/conf" "$folder/c_src"
cp "$here/megaphone.spec" "$here/README.txt" "$folder/"
cp "$root/LICENSE" "$folder/COPYING"
cp "$here/conf/megaphone.yml" "$folder/conf/"
cp "$root"/erlang/src/*.erl "$root"/erlang/src/*.hrl "$built/ebin/megaphone.app" "$folder/src/"
cp "$here/c_src/Makefile" "$folder/c_src/"
# The whole workspace: Cargo.lock is that of all its crates.
cp "$root/Cargo.toml" "$root/Cargo.lock" "$folder/c_src/"
cp -R "$root/native" "$folder/c_src/"
[ "${2:-}" = source ] || install -D -m 644 "$built/priv/megaphone_nif.so" "$folder/c_src/prebuilt/megaphone_nif.so"
