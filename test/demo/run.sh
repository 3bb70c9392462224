#!/bin/bash
# `make run`: an ejabberd with the trunk listener, the ECM in front of it, and a few users.
#
#   run.sh RUN_DIR          with HTTP_PORT, HTTPS_PORT, XMPP_PORT, TRUNK_PORT, METRICS_PORT and
#                           USERS from the environment
#   run.sh --check RUN_DIR  only says what would be wrong with these, before time goes into a build
#
# All it writes is below RUN_DIR, and each process it starts names RUN_DIR in its command line. It
# runs until SIGINT, SIGTERM or SIGHUP and then ends what it started. A second signal is impatient.
set -euo pipefail
# make starts this with `bash -m`, which gives it the terminal's Ctrl-C for itself. What it starts
# needs no process groups of bash's.
set +m

action=run
if [ "${1:-}" = --check ]; then
    action=check
    shift
fi
[ -n "${1:-}" ] || { echo "usage: $0 [--check] RUN_DIR" >&2; exit 2; }
http_port=${HTTP_PORT:-5280}
https_port=${HTTPS_PORT:-5281}
xmpp_port=${XMPP_PORT:-5222}
trunk_port=${TRUNK_PORT:-5290}
metrics_port=${METRICS_PORT:-9290}
users=${USERS:-0}

source_dir=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$source_dir/../.." && pwd)

ejabberd_pid=
ecm_pid=
half_event=
signals=0
started=no
users_ready=no
trap 'signals=$((signals + 1))' INT TERM HUP
# Ctrl-Z would stop this script alone and leave the terminal to nobody.
trap '' TSTP

make_waits=no

say() { printf '%s\n' "$*"; }

fail() {
    printf 'megaphone: %s\n' "$*" >&2
    exit 1
}

main() {
    if [ "$(cat "/proc/$PPID/comm")" = make ] && catches_sigint "$PPID"; then make_waits=yes; fi
    check_numbers
    open_run_dir "$1"
    check_port HTTP_PORT "$http_port"
    check_port HTTPS_PORT "$https_port"
    check_port XMPP_PORT "$xmpp_port"
    check_port TRUNK_PORT "$trunk_port"
    check_port METRICS_PORT "$metrics_port"
    [ $action = run ] || exit 0
    prepare
    say "starting ejabberd    its log: $run_dir/logs/ejabberd.log"
    start_ejabberd
    SECONDS=0
    until [ $started = yes ]; do
        [ $SECONDS -lt 120 ] || give_up "ejabberd isn't up after 120 seconds" ejabberd.log erl.log
        tick
    done
    until [ $users_ready = yes ]; do tick; done
    say "starting the ECM     its log: $run_dir/logs/ecm.log"
    start_ecm
    SECONDS=0
    until answers; do
        [ $SECONDS -lt 30 ] || give_up "/api/status doesn't answer through the trunk after 30 seconds" ecm.log ejabberd.log
        tick
    done
    announce
    while :; do tick; done
}

check_numbers() {
    local name value other
    local -a names=(HTTP_PORT:"$http_port" HTTPS_PORT:"$https_port" XMPP_PORT:"$xmpp_port" TRUNK_PORT:"$trunk_port"
        METRICS_PORT:"$metrics_port")
    for name in "${names[@]}"; do
        value=${name#*:}
        if ! [[ $value =~ ^[1-9][0-9]{0,4}$ ]] || [ "$value" -gt 65535 ]; then
            fail "${name%%:*}=$value is no port; it must be a number from 1 to 65535"
        fi
        for other in "${names[@]}"; do
            [ "$other" != "$name" ] || break
            [ "${other#*:}" != "$value" ] ||
                fail "${other%%:*} and ${name%%:*} are both $value; set another one"
        done
    done
    [[ $users =~ ^(0|[1-9][0-9]{0,7})$ ]] || fail "USERS=$users must be a number from 0 to 99999999"
}

# Makes the folder and holds its lock as long as this script lives.
open_run_dir() {
    # The path is written into YAML, TOML and an Erlang string.
    [[ $1 != *[\"\\[:cntrl:]]* ]] || fail "RUN_DIR=$1 holds a character that can't be used here: one of \" \\ or a control character"
    mkdir -p "$1" || fail "RUN_DIR=$1 can't be made"
    run_dir=$(cd "$1" && pwd)
    mkdir -p "$run_dir"/{db,ebin,files,logs,upload} || fail "RUN_DIR=$run_dir can't be written"
    exec {lock}>>"$run_dir/lock"
    flock -n "$lock" ||
        fail "RUN_DIR=$run_dir is in use by process $(tail -n 1 "$run_dir/lock"); stop that one, or set another RUN_DIR"
    echo $$ >"$run_dir/lock"
}

check_port() {
    ! listening "$2" || fail "port $2 is in use; set $1 to a free one, as in: make run $1=$(free_port)"
}

# Asks the kernel's tables: to connect would disturb whoever listens there.
listening() {
    local port loopback_or_any='(0100007F|00000000|0{32}|0{24}01000000|0{16}FFFF00000100007F)'
    port=$(printf '%04X' "$1")
    grep -Eqs "^ *[0-9]+: $loopback_or_any:$port [0-9A-F]+:0000 0A" /proc/net/tcp /proc/net/tcp6
}

# Below the range of the ports that the kernel hands out.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        listening $port || break
    done
    echo $port
}

prepare() {
    render "$source_dir/ejabberd.yml.in" "$run_dir/ejabberd.yml"
    render "$source_dir/ecm.toml.in" "$run_dir/ecm.toml"
    make_certificate
    # Some clients try only the first address of localhost, and that may be IPv6's.
    if grep -qs ' lo$' /proc/net/if_inet6; then
        sed -n '/^\[\[listener/,$ { s/127\.0\.0\.1/[::1]/; p }' "$run_dir/ecm.toml" >"$run_dir/ecm6.toml"
        { echo; cat "$run_dir/ecm6.toml"; } >>"$run_dir/ecm.toml"
        rm "$run_dir/ecm6.toml"
    fi
    # megaphone_run.erl moves the passwords to such a table; without this, ejabberd moves them back.
    printf 'passwd:\n  storage_type: disc_copies\n' >"$run_dir/ejabberd.schema"
    # Names are looked up without a helper process.
    echo '{lookup, [file, dns]}. {host, {127,0,0,1}, ["localhost"]}.' >"$run_dir/inetrc"
    cp -R "$source_dir/files/." "$run_dir/files/"
    erlc -o "$run_dir/ebin" "$source_dir/megaphone_run.erl"
    rm -f "$run_dir/events"
    mkfifo "$run_dir/events"
    exec {events}<>"$run_dir/events"
}

# One of its own for localhost, which stays the same from start to start, so that a client which was
# told to trust it goes on to. ejabberd can't be installed without openssl.
make_certificate() {
    local cert=$run_dir/tls/cert.pem key=$run_dir/tls/key.pem
    if [ -s "$cert" ] && [ -s "$key" ]; then return; fi
    mkdir -p "$run_dir/tls"
    (
        umask 077
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
            -subj /CN=localhost -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1' \
            -addext 'basicConstraints=critical,CA:FALSE' -keyout "$key" -out "$cert.new"
    ) >"$run_dir/logs/openssl.log" 2>&1 || fail "openssl can't make a certificate: $(cat "$run_dir/logs/openssl.log")"
    mv "$cert.new" "$cert"
}

# The folder last: what its name holds is no template.
render() {
    local text
    text=$(<"$1")
    text=${text//@HTTP_PORT@/"$http_port"}
    text=${text//@HTTPS_PORT@/"$https_port"}
    text=${text//@XMPP_PORT@/"$xmpp_port"}
    text=${text//@TRUNK_PORT@/"$trunk_port"}
    text=${text//@METRICS_PORT@/"$metrics_port"}
    text=${text//@RUN_DIR@/"$run_dir"}
    printf '%s\n' "$text" >"$2"
}

# Not by ejabberdctl, which changes to the user ejabberd. The port of Erlang's distribution is a
# free one on loopback, so that no epmd is needed.
start_ejabberd() {
    local ejabberd_ebin port
    ejabberd_ebin=$(ejabberd_ebin)
    port=$(free_port)
    echo "$port" >"$run_dir/distribution_port"
    unset ERL_AFLAGS ERL_FLAGS ERL_ZFLAGS XDG_CONFIG_HOME
    HOME=$run_dir \
    EJABBERD_CONFIG_PATH=$run_dir/ejabberd.yml \
    EJABBERD_LOG_PATH=$run_dir/logs/ejabberd.log \
    EJABBERD_MNESIA_SCHEMA=$run_dir \
    ERL_CRASH_DUMP=$run_dir/logs/erl_crash.dump \
    ERL_INETRC=$run_dir/inetrc \
    launch erl.log 65536 erl +Bi +K true +P 4194304 -noinput \
        -pa "$ejabberd_ebin" "$root/_build/default/lib/megaphone/ebin" "$run_dir/ebin" \
        -sname megaphone@localhost -start_epmd false -erl_epmd_port "$port" \
        -kernel inet_dist_use_interface '{127,0,0,1}' \
        -mnesia dir "\"$run_dir/db\"" -mnesia dump_log_write_threshold 50000 \
        -ejabberd quiet true \
        -s ejabberd -run megaphone_run main "$run_dir/events" "$users"
    ejabberd_pid=$!
}

ejabberd_ebin() {
    local app found=
    for app in /usr/lib/*/ejabberd-*/ebin/ejabberd.app; do
        [ -e "$app" ] && found=${app%/*}
    done
    [ -n "$found" ] || fail "Debian's ejabberd isn't installed. Try: make deps"
    echo "$found"
}

start_ecm() {
    local target=${CARGO_TARGET_DIR:-target}
    [[ $target == /* ]] || target=$root/$target
    launch ecm.log 1048576 "$target/release/megaphone-ecm" --config "$run_dir/ecm.toml"
    ecm_pid=$!
}

# launch LOG FILES COMMAND...: in the background, with at most FILES open files. It gets a session
# of its own, so that Ctrl-C reaches this script alone, and SIGTERM should this script be killed.
launch() {
    local log=$1 files=$2 hard
    shift 2
    (
        exec {lock}>&- {events}>&-
        hard=$(ulimit -Hn)
        if [ "$hard" = unlimited ] || [ "$hard" -gt "$files" ]; then hard=$files; fi
        ulimit -Sn "$hard"
        cd "$run_dir"
        exec setsid setpriv --pdeathsig TERM "$@"
    ) </dev/null >"$run_dir/logs/$log" 2>&1 &
    # Else bash has its own words when it is killed.
    disown
}

# A moment's wait for an event, then a look at all that can end this. Each wait in this script is
# this one.
tick() {
    next_event
    if [ $signals -gt 0 ] || make_was_interrupted; then
        echo
        say "stopping"
        stop_all
        say "stopped"
        exit 0
    fi
    alive "$ejabberd_pid" || give_up "ejabberd died" ejabberd.log erl.log
    [ -z "$ecm_pid" ] || alive "$ecm_pid" || give_up "megaphone-ecm died" ecm.log
}

# Time may be up in the middle of a line; what came of it is kept for the next call.
next_event() {
    local part word count total
    if ! IFS= read -r -t 0.5 -u "$events" part; then
        half_event+=$part
        return
    fi
    read -r word count total <<<"$half_event$part"
    half_event=
    case $word in
    started) started=yes ;;
    users) progress "creating users       $count of $total" ;;
    users-ready) users_ready=yes ; [ "$users" -eq 0 ] || progress_end "created users        user0 to user$((users - 1))" ;;
    esac
}

# On a terminal a line of progress takes the place of the one before.
progress() { if [ -t 1 ]; then printf '\r%s' "$*"; else say "$*"; fi; }
progress_end() { if [ -t 1 ]; then printf '\r%s\n' "$*"; else say "$*"; fi; }

alive() { kill -0 "$1" 2>/dev/null; }

# make doesn't hand on a SIGINT that was sent to it alone: it gives the signal its default again and
# waits for this script. Nor does it hand on its own end.
make_was_interrupted() {
    [ $make_waits = yes ] && ! catches_sigint "$PPID"
}

# False for a process that is gone or a zombie.
catches_sigint() {
    local key value
    while read -r key value; do
        case $key:$value in
        State::[ZX]*) return 1 ;;
        SigCgt:*) ((16#${value: -1} & 2)) && return 0 || return 1 ;;
        esac
    done 2>/dev/null <"/proc/$1/status"
    return 1
}

# Whether ejabberd answers a GET through the ECM and the trunk.
answers() (
    exec {connection}<>"/dev/tcp/127.0.0.1/$http_port" || exit 1
    printf 'GET /api/status HTTP/1.1\r\nHost: localhost:%s\r\nConnection: close\r\n\r\n' "$http_port" >&"$connection"
    read -r -t 5 -u "$connection" status
    [[ $status == "HTTP/1.1 200 "* ]]
) 2>/dev/null

announce() {
    local base=localhost:$http_port
    cat <<END

  chat in a browser    http://$base/files/
  BOSH                 http://$base/bosh
  WebSocket            ws://$base/ws
  XMPP                 localhost:$xmpp_port, with STARTTLS
  host-meta            http://$base/.well-known/host-meta
  API                  http://$base/api/status
  uploads (XEP-0363)   upload.localhost    gives URLs below http://$base/upload/
  files                http://$base/files/NAME    from $run_dir/files
  all of HTTP by TLS   https://localhost:$https_port, wss://localhost:$https_port/ws
  certificate          $run_dir/tls/cert.pem
  trunk                127.0.0.1:$trunk_port
  metrics, health      http://localhost:$metrics_port/metrics, http://localhost:$metrics_port/health

  users                alice@localhost, bob@localhost, carol@localhost$([ "$users" -eq 0 ] || echo ", user0 to user$((users - 1))")
  password             megaphone

  Ctrl-C ends it all; what is in $run_dir stays.

ready
END
}

# give_up REASON LOG...: shows the ends of the logs, ends the rest.
give_up() {
    local reason=$1 log
    shift
    {
        echo
        echo "megaphone: $reason"
        for log in "$@"; do
            [ -s "$run_dir/logs/$log" ] || continue
            echo "--- the end of $run_dir/logs/$log"
            tail -n 20 "$run_dir/logs/$log"
        done
    } >&2
    stop_all
    exit 1
}

# The ECM first, as it drains through the trunk.
stop_all() {
    signals=0
    [ -z "$ecm_pid" ] || stop megaphone-ecm "$ecm_pid" 15
    [ -z "$ejabberd_pid" ] || stop ejabberd "$ejabberd_pid" 30
    rm -f "$run_dir/distribution_port" "$run_dir/events"
}

# stop NAME PID SECONDS: SIGTERM ends both programs in order (Erlang makes it init:stop/0).
stop() {
    kill -TERM "$2" 2>/dev/null || return 0
    SECONDS=0
    while alive "$2"; do
        if [ $SECONDS -ge "$3" ] || [ $signals -gt 0 ]; then
            say "killing $1, which hasn't ended yet"
            kill -KILL "$2" 2>/dev/null || true
            while alive "$2"; do pause; done
            signals=0
            return 0
        fi
        pause
    done
}

# No message is expected any more; this is a sleep without a process.
pause() { read -r -t 0.1 -u "$events" || true; }

main "$1"
