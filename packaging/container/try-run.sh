#!/bin/bash
# The part of try.sh that has a network of its own: runs the two images, chats through them and stops them.
#
#   try-run.sh ROOT     ROOT: the folder of the project
set -euo pipefail
root=$1

say() { printf 'containers: %s\n' "$*"; }

fail() {
    printf 'containers: %s\n' "$*" >&2
    podman logs ejabberd 2>&1 | tail -n 20 >&2
    podman logs ecm 2>&1 | tail -n 20 >&2
    exit 1
}

# start NAME IMAGE ARGUMENTS...: in this script's own network, where each finds the other by its name.
start() {
    local name=$1 image=$2
    shift 2
    podman --runtime runc run --detach --name "$name" --replace --cgroups no-conmon --network host \
        --no-healthcheck \
        --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 --add-host ejabberd:127.0.0.1 "$@" "localhost/$image" >/dev/null ||
        fail "$name does not start"
}

# wait_for SECONDS COMMAND...
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "this does not come true: $*"
        sleep 0.2
    done
}

# stop NAME: in order, within its time.
stop() {
    podman stop --time 60 "$1" >/dev/null
    local status
    status=$(podman inspect --format '{{.State.ExitCode}}' "$1")
    case $status in
        # 143: Erlang says that SIGTERM ended it, after an orderly end.
        0 | 143) ;;
        *) fail "$1 ended with $status" ;;
    esac
    podman rm "$1" >/dev/null
}

trap 'podman rm --force --time 0 ejabberd ecm >/dev/null 2>&1 || true' EXIT
ip link set lo up
start ejabberd ejabberd-megaphone
wait_for 60 podman exec ejabberd ejabberdctl status
start ecm megaphone-ecm
wait_for 30 curl --silent --fail http://127.0.0.1:9290/health
for user in alice bob; do
    podman exec ejabberd ejabberdctl register "$user" localhost secret >/dev/null || fail "$user can't be registered"
done
# The image's health check, which podman itself would have systemd run.
podman exec ecm /usr/bin/megaphone-ecm ctl nodes || fail "the health check of the ECM fails"
facts=$("$root/test/clients/venv/bin/python" "$root/test/clients/chat.py" chat plain 127.0.0.1 5222 none secret \
    alice@localhost bob@localhost) || fail "the chat fails"
say "a chat by slixmpp: $facts"
say "the ECM runs as user $(podman top ecm user | tail -n 1), ejabberd as $(podman top ejabberd user | tail -n 1)"
stop ecm
stop ejabberd
