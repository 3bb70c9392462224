#!/bin/bash
# Boots the system that it runs in, a copy of chroot.sh's that has systemd: as a machine with processes, mounts, a network
# and control groups of its own, in which all that is enabled is started. Runs a command there, and ends all of it.
#
#   machine.sh COMMAND...
set -euo pipefail

fail() {
    printf 'machine: %s\n' "$*" >&2
    exit 1
}

# What the machine has of its own, then its first process. Of this system it has the files alone.
boot() {
    mount --make-rprivate /
    mount --bind / /mnt
    cd /mnt
    mount -t proc proc proc
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 devices dev
    local device
    for device in null zero full random urandom tty; do
        touch "dev/$device"
        mount --bind "/dev/$device" "dev/$device"
    done
    ln -s /proc/self/fd dev/fd
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    mount -t tmpfs run run
    mount -t tmpfs tmp tmp
    mkdir run/before
    pivot_root . run/before
    umount --lazy run/before
    rmdir run/before
    exec env --ignore-environment container=chroot /lib/systemd/systemd
}

if [ "${1:-}" = --boot ]; then boot; fi

[ -x /lib/systemd/systemd ] || fail "there is no systemd here"
# Control groups have no namespace of mounts: the name is for the whole kernel.
groups=$(mktemp -d)
mount -t cgroup2 cgroup2 "$groups"
group=$groups/machine-$(cat /proc/sys/kernel/random/uuid)
mkdir "$group"
(
    echo "$BASHPID" >"$group/cgroup.procs"
    exec unshare --mount --pid --ipc --uts --net --cgroup --fork --kill-child bash "$0" --boot
) >/dev/null 2>&1 &
machine=$!
end() {
    kill -KILL "$machine" 2>/dev/null || true
    wait "$machine" 2>/dev/null || true
    # Its processes may take a moment to be gone.
    local tries=0
    until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || [ "$tries" -ge 100 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    umount "$groups"
    rmdir "$groups"
}
trap end EXIT

# What runs in the machine, in this folder.
inside() {
    # shellcheck disable=SC2016
    nsenter --all --target "$first" env --ignore-environment HOME="$HOME" LANG=C.UTF-8 TERM=dumb "PATH=$PATH" "PACKAGES=${PACKAGES:-}" \
        sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"
}
# The machine's first process is the only child of unshare. It is not running but degraded if a unit failed, such as the one
# that loads modules of the kernel.
state=
for _ in $(seq 1200); do
    kill -0 "$machine" 2>/dev/null || fail "it does not boot"
    first=$(cat "/proc/$machine/task/$machine/children")
    first=${first% }
    if [ -n "$first" ] && [ "$(cat "/proc/$first/comm")" = systemd ]; then
        state=$(inside systemctl is-system-running --wait 2>/dev/null || true)
    fi
    case $state in running | degraded) break ;; esac
    sleep 0.1
done
case $state in
running | degraded) ;;
*) fail "systemd does not come up (${state:-it says nothing})" ;;
esac
inside "$@"
