#!/bin/bash
# Builds the packages on this Debian and installs, upgrades, downgrades, removes and purges them beside a running ejabberd
# of Debian, with clients' logins through them. As root, on a system that is for this alone:
#
#   bash test/debian/chroot.sh bookworm bash test/debian/packages.sh
#
# Once all of Debian's is installed it goes on in a network of its own, as its ports are those of everybody's ejabberd.
# There is no systemd in a chroot, so the program is started as its unit says: with its command line, user, capabilities
# and a socket of sd_notify. PACKAGES is a folder that has the packages already, of revision 1 in 1 and of revision 2 in 2.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
tools=$PWD/test/debian/packages

say() { printf 'packages: %s\n' "$*"; }
fail() {
    tail -n 20 /var/log/ejabberd/ejabberd.log /var/log/megaphone-ecm.log 2>/dev/null || true
    printf 'packages: FAILED: %s\n' "$*" >&2
    exit 1
}

export DEBIAN_FRONTEND=noninteractive
log=/root/packages.log
install() {
    apt-get -q -y --no-install-recommends --allow-downgrades -o Dpkg::Options::=--force-confold install "$@" >"$log" 2>&1 ||
        { cat "$log" >&2; fail "apt-get install $*"; }
}

# Started by its unit, which a chroot has nobody for.
start_ecm() {
    python3 "$tools/start.py" /usr/lib/systemd/system/megaphone-ecm.service /lib/systemd/system/megaphone-ecm.service ||
        fail "megaphone-ecm did not get ready"
}
stop_ecm() { pkill -TERM -u megaphone -x megaphone-ecm && wait_for "its end" no_ecm; }
no_ecm() { ! pgrep -u megaphone -x megaphone-ecm >/dev/null; }
wait_for() {
    local what=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || fail "no $what in 30 s"
        sleep 0.1
    done
}
# By its command, as root, who may open the socket of every user.
has_trunk() { megaphone-ecm ctl --json nodes | grep -q '"trunks":[1-9]'; }
logs_in() { python3 "$tools/login.py" http://127.0.0.1:5281/bosh alice localhost secret || fail "no login: $1"; say "a client logs in: $1"; }
ejabberd_pid() { pgrep -u ejabberd -x beam.smp; }
start_ejabberd() {
    ejabberdctl start
    wait_for "ejabberd" ejabberdctl started
}
stop_ejabberd() {
    ejabberdctl stop
    ejabberdctl stopped
}

packages=${PACKAGES:-/root/packages}
if [ -z "${PACKAGES:-}" ]; then
    say "building revisions 1 and 2"
    make -s deps-deb
    for revision in 1 2; do
        DEB_REVISION=$revision make -s deb DEB_DIR="$packages/$revision"
    done
fi

if [ "${1:-}" != in-own-network ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    install ejabberd iproute2 procps python3 systemd
    PACKAGES=$packages exec unshare --net bash test/debian/packages.sh in-own-network
fi
ip link set lo up

say "a running ejabberd of Debian's"
mkdir -p /run/ejabberd && chown ejabberd:ejabberd /run/ejabberd
start_ejabberd
ejabberdctl register alice localhost secret

say "installing"
install "$packages"/1/*.deb
id -u megaphone >/dev/null || fail "there is no user megaphone"
[ "$(stat -c %U /run/megaphone)" = megaphone ] || fail "/run/megaphone is not the user's"
man -w megaphone-ecm >/dev/null 2>&1 || test -e /usr/share/man/man8/megaphone-ecm.8.gz || fail "there is no manual"
megaphone-ecm check || fail "what is installed is not right"
systemd-analyze --version >/dev/null 2>&1 &&
    systemd-analyze security --offline=yes /usr/lib/systemd/system/megaphone-ecm.service 2>/dev/null | tail -n 1
cp /etc/ejabberd/modules.d/megaphone.yml.example /etc/ejabberd/modules.d/megaphone.yml
stop_ejabberd
start_ejabberd
start_ecm
wait_for "trunk" has_trunk
logs_in "installed"

say "upgrading"
echo '# of the admin' >>/etc/megaphone/ecm.toml
before=$(ejabberd_pid)
install "$packages"/2/*.deb
[ "$(ejabberd_pid)" = "$before" ] || fail "ejabberd was restarted by an upgrade"
grep -q '# of the admin' /etc/megaphone/ecm.toml || fail "the configuration is not the admin's any more"
logs_in "upgraded, before any restart"
stop_ecm
stop_ejabberd
start_ejabberd
start_ecm
logs_in "upgraded, after a restart"

say "downgrading"
install "$packages"/1/*.deb
stop_ecm
stop_ejabberd
start_ejabberd
start_ecm
logs_in "downgraded"

say "removing"
before=$(ejabberd_pid)
stop_ecm
apt-get -q -y remove megaphone-ecm ejabberd-mod-megaphone >"$log" 2>&1 || { cat "$log"; fail "remove"; }
grep -q 'modules.d/megaphone.yml has Megaphone in it' "$log" || fail "nobody says that ejabberd's configuration has Megaphone in it"
[ "$(ejabberd_pid)" = "$before" ] || fail "ejabberd was stopped by a removal"
test -e /etc/megaphone/ecm.toml || fail "a removal took the configuration away"
test ! -e /usr/bin/megaphone-ecm || fail "the program is still there"
rm /etc/ejabberd/modules.d/megaphone.yml
stop_ejabberd
start_ejabberd
say "ejabberd starts without it"

say "purging"
apt-get -q -y purge megaphone-ecm ejabberd-mod-megaphone >"$log" 2>&1 || { cat "$log"; fail "purge"; }
for path in /etc/megaphone /etc/ejabberd/modules.d/megaphone.yml.example /usr/lib/erlang/lib/megaphone-*; do
    test ! -e "$path" || fail "a purge left $path"
done
ejabberdctl status >/dev/null || fail "ejabberd does not run"
stop_ejabberd
say "all passed"
