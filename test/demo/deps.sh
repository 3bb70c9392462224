#!/bin/sh
# Installs the Debian packages that are missing.
#
#   test/demo/deps.sh run     what `make run` needs
#   test/demo/deps.sh bench   what `make bench` needs as well as `make run`
#   test/demo/deps.sh deb     what `make deb` needs as well as `make run`
#   test/demo/deps.sh test    what `make test` and the linters need as well
#
# Nothing is done, and nothing is said, when none is missing. The clients whose tests are skipped without them are
# installed where this Debian has them.
set -eu
cd "$(dirname "$0")/../.."

say() { echo "megaphone: $*"; }

fail() {
    echo "megaphone: $*" >&2
    exit 1
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Tools that may as well come from elsewhere are looked for by their command, libraries by their
# package. The Erlang packages are versioned together, so they come from Debian alone.
missing_packages() {
    for package in ejabberd erlang-base erlang-dev; do
        installed "$package" || echo "$package"
    done
    command -v rebar3 >/dev/null || echo rebar3
    command -v cc >/dev/null || echo gcc libc6-dev
    if [ "$1" = bench ]; then
        for package in erlang-tools haproxy nginx libnginx-mod-stream wrk; do
            installed "$package" || echo "$package"
        done
        command -v python3 >/dev/null || echo python3
    fi
    if [ "$1" = deb ]; then
        for package in build-essential debhelper lintian; do
            installed "$package" || echo "$package"
        done
    fi
    [ "$1" = test ] || return 0
    for package in erlang-common-test erlang-dialyzer erlang-eunit erlang-tools \
        erlang-proper erlang-proper-dev; do
        installed "$package" || echo "$package"
    done
    # The proxies that the suites put in front of the ECM; apache2-bin is Apache without its service.
    for package in apache2-bin haproxy nginx libnginx-mod-stream; do
        installed "$package" || echo "$package"
    done
    # The name server of the tests; dnsmasq-base is dnsmasq without its service.
    command -v dnsmasq >/dev/null || echo dnsmasq-base
    # For the XMPP client of the tests that is in Python.
    installed python3-venv || echo python3-venv
    # For what npm compiles.
    command -v c++ >/dev/null || echo g++
    command -v curl >/dev/null || echo curl
    command -v node >/dev/null || echo nodejs
    command -v npm >/dev/null || echo npm
    command -v shellcheck >/dev/null || echo shellcheck
}

# Programs of the tests' clients, and a database: a test that needs one is skipped where it can't be had. What this Debian was found
# not to have is written down, so that it isn't looked for each time.
unavailable=_build/unavailable-packages

missing_clients() {
    [ "$1" = test ] || return 0
    # A browser for those that live in one, Pidgin for terminals and what steers it, and others; and the database in
    # which ejabberd may keep its sessions, with its client.
    for package in chromium finch dbus-daemon python3-dbus python3-gi profanity libgloox-dev tsung redis-server \
        erlang-redis-client; do
        installed "$package" || grep -qsx "$package" "$unavailable" || echo "$package"
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

log=_build/apt.log

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" >>"$log" 2>&1
}

policy=/usr/sbin/policy-rc.d

# Debian starts a service as it installs it. policy-rc.d is Debian's way to say no.
hold_services() {
    if [ -e "$policy" ]; then
        say "$policy is there already and stays as it is: it decides whether services start: $services"
        return
    fi
    trap 'as_root rm -f "$policy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    say "$policy keeps these services from being started: $services; it is removed afterwards"
}

case ${1:-} in
run | bench | deb | test) ;;
*) fail "usage: $0 run|bench|deb|test" ;;
esac

# Word by word, here and below: the names are known to hold no spaces.
clients=$(missing_clients "$1" | tr '\n' ' ')
# shellcheck disable=SC2046
set -- $(missing_packages "$1")
[ $# -gt 0 ] || [ -n "$clients" ] || exit 0

no_root=
if ! command -v apt-get >/dev/null; then
    no_root="there is no apt-get to install them"
elif [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    no_root="only root can install them"
fi
if [ -n "$no_root" ]; then
    [ $# -eq 0 ] || fail "these Debian packages are missing, and $no_root: $*"
    say "the tests of these clients are skipped, as their packages are missing, and $no_root: $clients"
    exit 0
fi

mkdir -p _build
: >"$log"
say "installing missing Debian packages, with what they need: $*${clients:+ $clients}"
say "what apt-get does is in $log"
services=
for package in "$@" $clients; do
    case $package in ejabberd | haproxy | nginx | redis-server) services="$services${services:+ }$package" ;; esac
done
[ -z "$services" ] || hold_services

has_candidate() {
    LC_ALL=C apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'
}

# Package lists that are old name files that are gone: one more try with new ones.
install() {
    apt_get install -y --no-install-recommends "$@" && return
    say "trying again with new package lists"
    apt_get update || true
    apt_get install -y --no-install-recommends "$@"
}

for package in "$@" $clients; do
    if ! has_candidate "$package"; then
        say "fetching the package lists"
        apt_get update || { tail -n 20 "$log"; fail "apt-get update failed; see $log"; }
        break
    fi
done
if [ $# -gt 0 ] && ! install "$@"; then
    tail -n 20 "$log"
    fail "apt-get can't install them; all it said is in $log"
fi
there=
for package in $clients; do
    if has_candidate "$package"; then there="$there $package"; else echo "$package" >>"$unavailable"; fi
done
# shellcheck disable=SC2086
if [ -n "$there" ] && ! install $there; then
    for package in $there; do
        apt_get install -y --no-install-recommends "$package" || echo "$package" >>"$unavailable"
    done
fi
for package in $clients; do
    installed "$package" || say "$package can't be installed here: the tests that need it are skipped"
done

if [ -n "$services" ] && [ -d /run/systemd/system ]; then
    say "Debian's own services aren't running, but they start at the next boot: $services;"
    say "to keep them off: systemctl disable $services"
fi
