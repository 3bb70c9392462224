#!/bin/bash
# Builds the images of megaphone-ecm and of Debian's ejabberd with Megaphone, runs both, and chats through them.
#
#   try.sh [FOLDER]     FOLDER: where images and the Debian below them are kept; by default /var/cache/megaphone/images
#
# As root; needs podman, buildah, runc, debootstrap, this machine's Rust, and the clients of `make test-clients`.
# Nothing comes from a registry of images: a Debian 12 made by debootstrap stands in for the images that the Dockerfiles
# name. The containers share a network of their own, so that no port of this machine is taken.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=${1:-/var/cache/megaphone/images}

say() { printf 'containers: %s\n' "$*"; }

fail() {
    printf 'containers: %s\n' "$*" >&2
    exit 1
}

main() {
    [ "$(id -u)" -eq 0 ] || fail "root is needed; try: sudo $0"
    local program
    for program in podman buildah runc debootstrap rustc; do
        command -v "$program" >/dev/null || fail "$program is missing; try: apt-get install podman buildah runc debootstrap"
    done
    [ -x "$root/test/clients/venv/bin/python" ] || fail "the clients are missing; try: make test-clients"
    mkdir -p "$folder"
    export CONTAINERS_STORAGE_CONF=$folder/storage.conf
    printf '[storage]\ndriver = "vfs"\nrunroot = "%s/run"\ngraphroot = "%s/images"\n' "$folder" "$folder" >"$CONTAINERS_STORAGE_CONF"
    make_base
    build megaphone-ecm ecm.Dockerfile
    build ejabberd-megaphone debian.Dockerfile
    # Its processes end with this script.
    unshare --net --fork --kill-child bash "$here/try-run.sh" "$root"
    say "all passed"
}

# The Debian in place of the images that the Dockerfiles name, and one with a compiler.
make_base() {
    podman image exists localhost/debian:base && podman image exists localhost/debian:build && return
    say "making a Debian 12 (debootstrap; its log: $folder/debootstrap.log)"
    rm -rf "$folder/base"
    local mirror
    mirror=${DEBIAN_MIRROR:-$(sed -nE 's/^URIs: *([^ ]+\/debian)\/? *$/\1/p' /etc/apt/sources.list.d/*.sources | head -n 1)}
    [ -n "$mirror" ] || fail "no mirror of Debian is known here; set DEBIAN_MIRROR to the URL of one"
    unshare --mount debootstrap --variant=minbase --include=ca-certificates bookworm "$folder/base" "$mirror" \
        >"$folder/debootstrap.log" 2>&1 || { tail -n 5 "$folder/debootstrap.log" >&2; fail "debootstrap failed"; }
    # The certificate authorities that this machine was told to trust.
    cp -a /usr/local/share/ca-certificates/. "$folder/base/usr/local/share/ca-certificates/"
    chroot "$folder/base" update-ca-certificates >/dev/null 2>&1
    tar -C "$folder/base" -c . | podman import --quiet - localhost/debian:base >/dev/null
    rm -rf "$folder/base"
    printf 'FROM localhost/debian:base\nRUN apt-get -q update && apt-get -q install --yes --no-install-recommends gcc libc6-dev\nENV PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin\n' |
        buildah bud --quiet --isolation chroot --network host --tag localhost/debian:build - >"$folder/build.log" 2>&1 ||
        { tail "$folder/build.log" >&2; fail "the image with a compiler can't be made"; }
}

# build IMAGE DOCKERFILE
build() {
    say "building $1 (its log: $folder/$1.log)"
    mkdir -p "$folder/cargo" "$folder/target"
    buildah bud --format docker --isolation chroot --network host \
        --volume "$(rustc --print sysroot):/opt/rust:ro" \
        --volume "$folder/cargo:/root/.cargo" --volume "$folder/target:/source/target" \
        --build-arg BUILD_IMAGE=localhost/debian:build --build-arg RUN_IMAGE=localhost/debian:base \
        --file "$here/$2" --tag "localhost/$1" "$root" >"$folder/$1.log" 2>&1 ||
        { tail -n 20 "$folder/$1.log" >&2; fail "$1 can't be built"; }
    say "$1: $(podman image inspect --format '{{.Size}}' "localhost/$1" | numfmt --to=iec)B, user $(podman image inspect --format '{{.User}}' "localhost/$1")"
}

main
