#!/bin/sh
# Measures what sessions cost ejabberd: USERS=50000 sh test/bench/sessions.sh
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
users=${USERS:-50000}
# The Makefile's default is for `make run`.
[ "$users" -gt 0 ] || users=50000

QUIET=1 rebar3 compile </dev/null

ebin=_build/bench/sessions/ebin
dir=_build/bench/sessions/ejabberd
rm -rf "$dir"
mkdir -p "$ebin"
for folder in /usr/lib/*/ejabberd-*/; do
    ERL_LIBS=$(dirname "$folder")
done
export ERL_LIBS
erlc -o "$ebin" test/support/megaphone_test_xmpp.erl
erlc -pa "$ebin" -o "$ebin" test/support/megaphone_test_ejabberd.erl test/support/megaphone_test_config.erl \
    test/support/megaphone_test_frame.erl test/support/megaphone_test_handler.erl \
    test/support/megaphone_test_port.erl test/support/megaphone_test_transport.erl \
    test/support/megaphone_test_program.erl test/support/megaphone_test_proxy.erl \
    test/support/megaphone_test_session.erl test/support/megaphone_test_wait.erl \
    test/support/megaphone_test_xml.erl test/support/megaphone_test_yamux.erl \
    test/bench/megaphone_bench_sessions.erl

export ERL_CRASH_DUMP_SECONDS=0
exec erl -noinput +P 2000000 -pa "$root/$ebin" -pa "$root/_build/default/lib/megaphone/ebin" \
    -run megaphone_bench_sessions main -extra "$users" "$root/$dir"
