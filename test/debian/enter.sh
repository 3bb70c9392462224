#!/bin/bash
# The part of chroot.sh that has mounts and processes of its own: mounts what a system has, and runs a
# command in it.
#
#   enter.sh COPY CACHE TOOLCHAIN COMMAND...     as chroot.sh names them
set -euo pipefail
copy=$1 cache=$2 toolchain=$3
shift 3

mount --make-rprivate /
mount --bind "$copy" "$copy"
# bind FROM TO [OPTIONS]
bind() {
    mkdir -p "$copy$2"
    mount --bind "$1" "$copy$2"
    [ -z "${3:-}" ] || mount -o "remount,bind,$3" "$copy$2"
}
mount -t proc proc "$copy/proc"
mount --rbind /sys "$copy/sys"
mount --rbind /dev "$copy/dev"
mount -t tmpfs shm "$copy/dev/shm"
bind "$toolchain" /opt/rust ro
bind "$cache/archives" /var/cache/apt/archives
bind "$cache/cargo" /root/.cargo
bind "$cache/target" /root/target
# The certificate authorities that this machine was told to trust.
[ ! -d /usr/local/share/ca-certificates ] ||
    bind /usr/local/share/ca-certificates /usr/local/share/ca-certificates ro
cp /etc/resolv.conf "$copy/etc/resolv.conf"
echo '127.0.0.1 localhost
::1 localhost' >"$copy/etc/hosts"

# The root of these mounts, rather than a folder that processes are confined to: so systemd may boot in there.
cd "$copy"
pivot_root . mnt
umount --lazy mnt
cd /

# What tells pip, npm, cargo and curl how to get at their registries goes in, nothing else.
settings=()
while IFS= read -r name; do
    settings+=("$name=${!name}")
done < <(compgen -e | grep -Ei '^(pip_(cert|index_url|default_timeout)|npm_config_(registry|cafile)|cargo_(http|net|registries|source)_.*|node_extra_ca_certs|(http|https|no)_proxy|ssl_cert_file|ci)$' || true)

# Not by exec: the first process of a process space is spared the signals that it does not handle, Ctrl-C's too.
home=/root
status=0
/usr/bin/env -i HOME="$home" LANG=C.UTF-8 TERM="${TERM:-dumb}" CARGO_TARGET_DIR="$home/target" \
    PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${settings[@]}" \
    sh -c 'update-ca-certificates >/dev/null 2>&1; apt-get -q update >/dev/null && cd /root/megaphone && exec "$@"' sh "$@" || status=$?
exit "$status"
