#!/bin/sh
# Builds the NIF and puts it where the application looks for it: erlang/priv/megaphone_nif.so.
# rebar3 calls this before it compiles; it may also be called by hand, from any folder.
set -eu

needed=1.91

fail() {
    echo "megaphone: the NIF can't be built: $1" >&2
    exit 1
}

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"

command -v cargo >/dev/null 2>&1 ||
    fail "cargo isn't in PATH. Install Rust $needed or newer (https://rustup.rs), then try again."

version=$(cargo --version | cut -d ' ' -f 2)
oldest=$(printf '%s\n%s\n' "$needed" "$version" | sort -V | head -n 1)
[ "$oldest" = "$needed" ] ||
    fail "cargo is $version, and $needed or newer is needed. Try: rustup update stable"

# The default of musl (Alpine) is a static library, which no VM can load.
case $(rustc --version --verbose | sed -n 's/^host: //p') in
    *musl*) export RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=-crt-static" ;;
esac

target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release --locked --target-dir "$target" -p megaphone-nif ||
    fail "cargo build ended with an error (above)."

built=$target/release/libmegaphone_nif.so
installed=erlang/priv/megaphone_nif.so
cmp -s "$built" "$installed" && exit 0

# A copy over a mapped library kills every VM that runs it; a rename leaves them the old file.
mkdir -p erlang/priv
cp "$built" "$installed.tmp"
mv "$installed.tmp" "$installed"
