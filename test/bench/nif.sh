#!/bin/sh
# Builds the NIF and measures it: sh test/bench/nif.sh [--quick] [results.json]
# --quick takes a fifth of the rounds and 100,000 connections for 1,000,000.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
where=$PWD
cd "$root"

sh native/nif/build.sh

ebin=_build/bench/ebin
mkdir -p "$ebin"
ln -sfn ../../erlang/priv _build/bench/priv
erlc -o "$ebin" erlang/src/megaphone.erl erlang/src/megaphone_nif.erl \
    erlang/src/megaphone_options.erl erlang/src/megaphone_monitor.erl \
    erlang/src/megaphone_handover.erl test/support/megaphone_test_nif.erl \
    test/support/megaphone_test_frame.erl test/support/megaphone_test_proxy.erl test/bench/*.erl

MEGAPHONE_BENCH_RUSTC="$(rustc --version)"
MEGAPHONE_BENCH_COMMIT="$(git describe --always --dirty 2>/dev/null || echo unknown)"
export MEGAPHONE_BENCH_RUSTC MEGAPHONE_BENCH_COMMIT
cd "$where"
export ERL_CRASH_DUMP_SECONDS=0
exec erl -noinput +P 2000000 +SDio 2 -pa "$root/$ebin" -run megaphone_bench main -extra "$@"
