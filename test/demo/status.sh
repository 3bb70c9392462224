#!/bin/bash
# `make status`: what megaphone:status/0 answers in the ejabberd of `make run`.
#
#   status.sh RUN_DIR
set -euo pipefail

run_dir=$(cd "$1" && pwd)
if ! port=$(cat "$run_dir/distribution_port" 2>/dev/null); then
    echo "megaphone: no ejabberd runs in $run_dir; start one: make run" >&2
    exit 1
fi

# The cookie is in $HOME; there is no epmd, so the port says which node is meant.
HOME=$run_dir ERL_INETRC=$run_dir/inetrc exec erl -noinput \
    -sname "status$$@localhost" -dist_listen false -start_epmd false -erl_epmd_port "$port" -eval '
        try erpc:call(megaphone@localhost, megaphone, status, [], 5000) of
            Status -> io:format("~p~n", [Status]), halt(0)
        catch
            error:Reason -> io:format(standard_error, "megaphone: no answer from ejabberd: ~p~n", [Reason]), halt(1)
        end.'
