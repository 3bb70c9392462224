#!/bin/bash
# Builds the packages on this Debian and installs, upgrades, downgrades, removes and purges them beside a running ejabberd
# of Debian, with clients' logins through them. As root, on a system that is for this alone:
#
#   bash test/debian/chroot.sh bookworm bash test/debian/packages.sh
#
# Once all of Debian's is installed it goes on in a machine with systemd (machine.sh), where both run as their units say,
# and which is booted once more in between. PACKAGES is a folder that has the packages already, of revision 1 in 1 and of
# revision 2 in 2.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
tools=$PWD/test/debian/packages

say() { printf 'packages: %s\n' "$*"; }
fail() {
    tail -n 20 /var/log/ejabberd/ejabberd.log 2>/dev/null || true
    journalctl --no-pager --lines 20 --unit megaphone-ecm 2>/dev/null || true
    printf 'packages: FAILED: %s\n' "$*" >&2
    exit 1
}

export DEBIAN_FRONTEND=noninteractive
log=/var/log/packages.log
apt_get() { apt-get -q -y "$@" >"$log" 2>&1 || { cat "$log" >&2; fail "apt-get $*"; }; }
install() { apt_get --no-install-recommends --allow-downgrades -o Dpkg::Options::=--force-confold install "$@"; }
told() { grep -q "$1" "$log" || fail "nobody says: $1"; }

wait_for() {
    local what=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 1200 ] || fail "no $what in two minutes"
        sleep 0.1
    done
}
ecm() { systemctl show --value --property "$1" megaphone-ecm; }
pid_of() { systemctl show --value --property MainPID "$1"; }
# By its command, as root, who may open the socket of every user.
has_trunk() { megaphone-ecm ctl --json nodes | grep -q '"trunks":[1-9]'; }
is_restarted() { [ "$(ecm NRestarts)" = 1 ] && [ "$(ecm ActiveState)" = active ]; }
restart_ejabberd() {
    systemctl restart ejabberd
    wait_for ejabberd ejabberdctl started
}
logs_in() {
    wait_for trunk has_trunk
    python3 "$tools/login.py" http://127.0.0.1:5281/bosh alice localhost secret || fail "no login: $1"
    say "a client logs in: $1"
}

build() {
    say "building revisions 1 and 2"
    make -s deps-deb
    for revision in 1 2; do
        DEB_REVISION=$revision make -s deb DEB_DIR="$PACKAGES/$revision"
    done
}

# In the machine, for the first time: as the README says.
first_boot() {
    wait_for ejabberd ejabberdctl started
    ejabberdctl register alice localhost secret
    say "installing"
    local before
    before=$(pid_of ejabberd)
    install "$PACKAGES"/1/*.deb
    told "ejabberd does not know of Megaphone until it is restarted"
    [ "$(pid_of ejabberd)" = "$before" ] || fail "ejabberd was restarted"
    [ "$(systemctl is-enabled megaphone-ecm)" = disabled ] || fail "the ECM was enabled"
    [ "$(ecm ActiveState)" = inactive ] || fail "the ECM was started"
    id -u megaphone >/dev/null || fail "there is no user megaphone"
    [ "$(stat -c %U /run/megaphone)" = megaphone ] || fail "/run/megaphone is not the user's"
    test -e /usr/share/man/man8/megaphone-ecm.8.gz || fail "there is no manual"
    megaphone-ecm check || fail "what is installed is not right"
    cp /etc/ejabberd/modules.d/megaphone.yml.example /etc/ejabberd/modules.d/megaphone.yml
    restart_ejabberd
    systemctl enable --quiet --now megaphone-ecm
    logs_in "installed"
    say "the ECM's status: $(ecm StatusText)"
    systemd-analyze verify --man=no megaphone-ecm.service || fail "systemd finds faults in the unit"
    systemd-analyze --no-pager security --threshold=20 megaphone-ecm.service >"$log" || fail "the unit is not confined: $(tail -n 1 "$log")"
    say "systemd-analyze security: $(tail -n 1 "$log")"
    reloads
    is_watched
}

reloads() {
    local before
    before=$(pid_of megaphone-ecm)
    cp /etc/megaphone/ecm.toml /etc/megaphone/ecm.toml.good
    echo 'max_head = "big"' >>/etc/megaphone/ecm.toml
    ! systemctl reload megaphone-ecm 2>/dev/null || fail "a wrong configuration is reloaded"
    journalctl --sync
    journalctl --quiet --unit megaphone-ecm | grep -q '/etc/megaphone/ecm.toml:[0-9]*:[0-9]*: ' || fail "the journal has no line that is wrong"
    mv /etc/megaphone/ecm.toml.good /etc/megaphone/ecm.toml
    systemctl reload megaphone-ecm || fail "a right configuration is not reloaded"
    [ "$(pid_of megaphone-ecm)" = "$before" ] || fail "a reload is a restart"
    logs_in "after a reload that failed, and one that did not"
}

# A program that hangs is started again; in seconds here.
is_watched() {
    mkdir -p /run/systemd/system/megaphone-ecm.service.d
    printf '[Service]\nWatchdogSec=1\nTimeoutAbortSec=1\n' >/run/systemd/system/megaphone-ecm.service.d/soon.conf
    systemctl daemon-reload
    systemctl restart megaphone-ecm
    kill -STOP "$(pid_of megaphone-ecm)"
    wait_for "restart by the watchdog" is_restarted
    logs_in "after the watchdog has started the ECM again"
}

# After a boot both run by themselves.
second_boot() {
    wait_for ejabberd ejabberdctl started
    [ "$(ecm ActiveState)" = active ] || fail "the ECM does not run after a boot"
    logs_in "booted again"

    say "upgrading"
    local before of_ecm
    echo '# of the admin' >>/etc/megaphone/ecm.toml
    before=$(pid_of ejabberd)
    of_ecm=$(pid_of megaphone-ecm)
    install "$PACKAGES"/2/*.deb
    told "restart it to use the new version: systemctl restart ejabberd"
    [ "$(pid_of ejabberd)" = "$before" ] || fail "ejabberd was restarted by an upgrade"
    [ "$(pid_of megaphone-ecm)" != "$of_ecm" ] || fail "an upgrade does not restart the ECM"
    grep -q '# of the admin' /etc/megaphone/ecm.toml || fail "the configuration is not the admin's any more"
    logs_in "upgraded, before ejabberd is restarted"
    restart_ejabberd
    logs_in "upgraded, after ejabberd is restarted"

    say "downgrading"
    install "$PACKAGES"/1/*.deb
    restart_ejabberd
    logs_in "downgraded"

    say "removing"
    before=$(pid_of ejabberd)
    apt_get remove megaphone-ecm ejabberd-mod-megaphone
    told 'modules.d/megaphone.yml has Megaphone in it'
    [ "$(pid_of ejabberd)" = "$before" ] || fail "ejabberd was stopped by a removal"
    ! pgrep -x megaphone-ecm >/dev/null || fail "the ECM goes on after its removal"
    test -e /etc/megaphone/ecm.toml || fail "a removal took the configuration away"
    test ! -e /usr/bin/megaphone-ecm || fail "the program is still there"
    rm /etc/ejabberd/modules.d/megaphone.yml
    restart_ejabberd
    say "ejabberd starts without it"

    say "purging"
    apt_get purge megaphone-ecm ejabberd-mod-megaphone
    for path in /etc/megaphone /run/megaphone /etc/ejabberd/modules.d/megaphone.yml.example /usr/lib/erlang/lib/megaphone-*; do
        test ! -e "$path" || fail "a purge left $path"
    done
    ejabberdctl status >/dev/null || fail "ejabberd does not run"
}

case ${1:-} in
first_boot | second_boot) "$1" ;;
*)
    if [ -z "${PACKAGES:-}" ]; then
        export PACKAGES=$HOME/packages
        build
    fi
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    install ejabberd dbus procps python3 systemd-sysv
    # The machine starts them.
    rm /usr/sbin/policy-rc.d
    say "a machine with systemd, and ejabberd of Debian's"
    for boot in first_boot second_boot; do
        bash test/debian/machine.sh bash test/debian/packages.sh "$boot"
    done
    say "all passed"
    ;;
esac
