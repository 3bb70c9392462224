#!/bin/bash
# Runs a command on this source tree in a bare system of another Debian, as root.
#
#   chroot.sh SUITE COMMAND...     SUITE: bookworm, trixie, trixie-backports or forky
#
# The system is made by debootstrap once and kept in DEBIAN_CACHE, as are the packages and crates that are
# downloaded and the Rust crates that are built; each run begins with a fresh copy of it. The copy has mounts
# and processes of its own: when this script ends, however it ends, its processes are gone and nothing is
# mounted. Rust is the toolchain of this machine. DEBIAN_MIRROR is where Debian comes from; by default
# it is the mirror of this machine.
set -euo pipefail

# The release of each SUITE. Where the two differ, ejabberd comes from the release's backports.
declare -A releases=([bookworm]=bookworm [trixie]=trixie [trixie-backports]=trixie [forky]=forky)

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=packaging/source.sh
. "$here/../../packaging/source.sh"

say() { printf 'debian: %s\n' "$*"; }

usage="usage: $0 SUITE COMMAND..., where SUITE is one of: bookworm, trixie, trixie-backports, forky"
[ $# -ge 2 ] || fail "$usage"
suite=$1
shift
release=${releases[$suite]:-}
[ -n "$release" ] || fail "there is no suite '$suite'; $usage"
[ "$(id -u)" -eq 0 ] || fail "a chroot needs root; try: sudo make test-debian SUITE=$suite"

cache=${DEBIAN_CACHE:-/var/cache/megaphone}/$suite
base=$cache/base

main() {
    command -v debootstrap >/dev/null || install_debootstrap
    unshare --mount --pid --fork mount -t tmpfs own /mnt 2>/dev/null ||
        fail "this system allows no mounts and processes of one's own (unshare --mount --pid), which a chroot needs"
    toolchain=$(rustc --print sysroot) || fail "there is no Rust here; https://rustup.rs has it"
    mkdir -p "$cache"/{archives,cargo,target} ||
        fail "there has to be a folder for what is kept; set DEBIAN_CACHE to one that can be written"
    exec {lock}>"$cache/lock"
    flock -n "$lock" || { say "waiting for another run of $suite"; flock "$lock"; }
    copy=$cache/copy
    # Of a run that was killed.
    rm -rf "$copy"
    check_space
    [ -e "$cache/complete" ] || make_base
    trap 'rm -rf "$copy"' EXIT
    cp -a "$base" "$copy"
    copy_tree "$copy/root"/megaphone
    say "$suite: $*"
    enter "$@"
}

# What a run takes at its peak, with its packages, and some room.
check_space() {
    local gib=6 free
    free=$(df --output=avail -k "$cache" | tail -n 1)
    [ "$free" -ge $((gib << 20)) ] ||
        fail "$cache has $((free >> 10)) MiB of room, a run takes up to $gib GiB; DEBIAN_CACHE names another folder"
}

# Runs the command in the copy. Its processes end with this script: the kernel ends unshare (pdeathsig), and with
# unshare all that it started (kill-child).
enter() {
    local inside status
    # In the background, as bash handles signals at once only while it waits for such; but with the terminal, and
    # with the signals that bash takes from what is there.
    setpriv --pdeathsig KILL env --default-signal=INT,QUIT \
        unshare --mount --pid --ipc --fork --kill-child \
        bash "$here/enter.sh" "$copy" "$cache" "$toolchain" "$@" <&0 &
    inside=$!
    # Ctrl-C reaches the command as well as this script: it may end in order. The second one is the last.
    trap 'trap "kill -KILL $inside" INT' INT
    trap 'kill -KILL $inside' TERM HUP
    # A signal ends a wait, too.
    while true; do
        status=0
        wait "$inside" || status=$?
        kill -0 "$inside" 2>/dev/null || break
    done
    return "$status"
}

install_debootstrap() {
    say "installing debootstrap"
    { apt-get -q update && apt-get -q install -y --no-install-recommends debootstrap; } >/dev/null ||
        fail "debootstrap can't be installed; try: apt-get install debootstrap"
}

mirror() {
    local uri
    if [ -n "${DEBIAN_MIRROR:-}" ]; then
        printf '%s\n' "$DEBIAN_MIRROR"
        return
    fi
    uri=$(sed -nE 's/^URIs: *([^ ]+\/debian)\/? *$/\1/p; s/^deb (\[[^]]*\] )?([^ ]+\/debian)\/? .*/\2/p' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -n 1)
    [ -n "$uri" ] || fail "no mirror of Debian is known here; set DEBIAN_MIRROR to the URL of one"
    printf '%s\n' "$uri"
}

make_base() {
    local from
    from=$(mirror)
    say "making a bare $release (debootstrap; its log: $cache/debootstrap.log)"
    rm -rf "$base"
    # Releases differ in name alone: the script of one serves for one that is newer than debootstrap.
    # It mounts things there, which go with its own mounts, however it ends.
    unshare --mount debootstrap --variant=minbase --include=ca-certificates,make "$release" "$base" "$from" sid \
        >"$cache/debootstrap.log" 2>&1 || { tail -n 5 "$cache/debootstrap.log" >&2; fail "debootstrap failed"; }
    # A mirror may be older than it says it may be.
    echo 'Acquire::Check-Valid-Until "false";' >"$base/etc/apt/apt.conf.d/90valid-until"
    echo 'Binary::apt::APT::Keep-Downloaded-Packages "true";
APT::Keep-Downloaded-Packages "true";' >"$base/etc/apt/apt.conf.d/91keep-packages"
    rm -f "$base/etc/apt/apt.conf.d/docker-clean"
    if [ "$suite" != "$release" ]; then
        echo "deb $from $suite main" >"$base/etc/apt/sources.list.d/backports.list"
        # What `apt-get install -t trixie-backports ejabberd` takes.
        printf 'Package: ejabberd* erlang-*\nPin: release n=%s\nPin-Priority: 900\n' "$suite" \
            >"$base/etc/apt/preferences.d/backports"
    fi
    touch "$cache/complete"
}

main "$@"
