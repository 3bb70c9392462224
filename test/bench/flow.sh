#!/bin/sh
# Measures version 2 in a real ejabberd: how much longer a neighbour waits while a client does not read
# its download, and what 200 MiB cost ejabberd over streams and over plain TCP.
#
#   sh test/bench/flow.sh
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"

QUIET=1 rebar3 as test compile

ebin=_build/bench/flow
mkdir -p "$ebin"
ejabberd=$(ls -d /usr/lib/*/ejabberd-*/ebin | head -n 1)
erlc -pa "$ejabberd" -o "$ebin" test/shared/*.erl test/bench/megaphone_bench_flow.erl \
    test/bench/megaphone_bench_measure.erl

exec erl -noinput -pa "$ebin" _build/test/lib/megaphone/ebin -run megaphone_bench_flow main
