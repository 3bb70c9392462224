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
for folder in /usr/lib/*/ejabberd-*/ebin; do
    ejabberd=$folder
done
erlc -o "$ebin" test/support/megaphone_test_xmpp.erl
erlc -pa "$ejabberd" -pa "$ebin" -o "$ebin" test/support/*.erl test/bench/megaphone_bench_flow.erl \
    test/bench/megaphone_bench_measure.erl

export ERL_CRASH_DUMP_SECONDS=0
exec erl -noinput -pa "$ebin" _build/test/lib/megaphone/ebin -run megaphone_bench_flow main
