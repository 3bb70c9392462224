#!/bin/bash
# The threads of native/socket under ThreadSanitizer, and the unit tests of the pure crates under Miri.
#
#   native/fuzz/sanitize.sh            all of it
#   native/fuzz/sanitize.sh --quick    the threads, once
#
# The one needs the compiler's rust-src, the other a nightly toolchain with miri. What can't be had is named, and is no
# failure.
set -eu
cd "$(dirname "$0")/../.."
quick=
[ "${1:-}" != --quick ] || quick=1
out=_build/sanitize
mkdir -p "$out"
host=$(rustc -vV | sed -n 's/^host: //p')

quietly() {
    local log=$out/$1.log
    shift
    "$@" >"$log" 2>&1 || { cat "$log"; exit 1; }
    awk '/^test result: ok/ { passed += $4 } END { printf "%d tests passed\n", passed; exit passed == 0 }' "$log"
}

# std has to be instrumented too: what it does to synchronise is not seen otherwise, and taken for a race.
if [ ! -e "$(rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ] &&
    ! rustup component add rust-src >/dev/null 2>&1; then
    echo 'skipped: ThreadSanitizer, as there is no rust-src'
else
    echo 'the threads of native/socket under ThreadSanitizer'
    # Several times: a race is found where it is run into.
    for round in $(seq 1 ${quick:+1} ${quick:-10}); do
        quietly "threads-$round" env RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=thread' \
            CARGO_TARGET_DIR=target/thread TSAN_OPTIONS='halt_on_error=1' \
            cargo test --quiet --locked -Zbuild-std --target "$host" -p megaphone-socket --lib -- threads
    done
fi

[ -z "$quick" ] || exit 0

if ! cargo +nightly miri --version >/dev/null 2>&1 &&
    ! rustup component add --toolchain nightly miri rust-src >/dev/null 2>&1; then
    echo 'skipped: Miri, as there is no nightly toolchain with it'
else
    # A property is one case there: what Miri looks for does not depend on how many.
    for crate in http xmpp trunk; do
        echo "the unit tests of native/$crate under Miri"
        quietly "miri-$crate" env MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=1 CARGO_TARGET_DIR=target/miri \
            cargo +nightly miri test --quiet --locked -p "megaphone-$crate" --lib
    done
fi
