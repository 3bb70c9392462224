# Megaphone. `make` alone says what there is.

SHELL := /bin/sh
CARGO ?= cargo
REBAR3 ?= rebar3

# Where `make run` keeps all it writes, the ports it takes, and how many users it adds.
export RUN_DIR ?= _run
export HTTP_PORT ?= 5280
export HTTPS_PORT ?= 5281
export XMPP_PORT ?= 5222
export TRUNK_PORT ?= 5290
export METRICS_PORT ?= 9290
export USERS ?= 0

# Where `make install` puts things.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=

export CARGO_TARGET_DIR ?= $(CURDIR)/target
version := $(shell sed -n 's/.*{vsn, *"\([^"]*\)".*/\1/p' erlang/src/megaphone.app.src)
application := $(DESTDIR)$(PREFIX)/lib/erlang/lib/megaphone-$(version)
built_application := _build/default/lib/megaphone
clients := test/clients

.PHONY: help deps deps-run deps-bench build build-bench run status test test-rust test-bench test-clients test-erlang test-debian test-packages fuzz fuzz-nif sanitize lint lint-rust \
	lint-erlang lint-python lint-docs docs bench bench-full million fleet soak bench-nif bench-flow bench-sessions \
	install install-ejabberd install-ecm built contrib deb deps-deb tarball clean

help:
	@echo 'make run        an ejabberd and an ECM of its own, with users to chat as (RUN_DIR, HTTP_PORT,'
	@echo '                HTTPS_PORT, XMPP_PORT, TRUNK_PORT, METRICS_PORT; USERS=N adds user0 to'
	@echo '                userN-1); Ctrl-C ends it'
	@echo 'make status     the trunks and connections of the ejabberd that make run started'
	@echo 'make test       all tests'
	@echo 'make test-debian SUITE=trixie  all tests in a chroot of another Debian: trixie, trixie-backports'
	@echo '                (with its newer ejabberd) or forky; as root'
	@echo 'make test-packages SUITE=bookworm  builds the packages in a Debian 12 (trixie: 13), boots it with systemd, and'
	@echo '                installs, upgrades and removes them beside its ejabberd; as root'
	@echo 'make fuzz       all fuzz targets for SECONDS each (60 by default), and a million calls of the NIF; TARGET=name is one'
	@echo '                of them, HOURS=8 its time'
	@echo 'make sanitize   the threads of the NIF under ThreadSanitizer, and the pure crates under Miri'
	@echo 'make lint       cargo fmt, clippy, xref, dialyzer, shellcheck, py_compile, and whether the documents are current'
	@echo 'make docs       writes the tables of options in doc/operating.md, and the manual pages in doc/man'
	@echo 'make bench      Megaphone beside plain ejabberd, nginx and HAProxy: memory, CPU, latency, logins, most messages;'
	@echo '                some minutes; BENCH="--only memory" is a part of it, BENCH=--help says more'
	@echo 'make bench-full the same for two hours; writes doc/measured.md and the table of the README'
	@echo 'make million    USERS users (1000000 by default) log in at one ejabberd, talk, and lose a trunk or an ECM'
	@echo 'make fleet      three ejabberd nodes and three ECMs with 10000 clients that notice nothing as nodes and ECMs are'
	@echo '                drained, killed, stopped and replaced; FLEET=--help says more'
	@echo 'make soak       HOURS hours (1 by default) of killed, stopped, reloaded and flooded programs under 5000 clients:'
	@echo '                no message and no memory is lost; SOAK=--help says more'
	@echo 'make bench-nif  what recv, send and feed cost beside gen_tcp'
	@echo 'make bench-flow what 200 MiB cost ejabberd beside plain TCP, and who waits for a slow client'
	@echo 'make bench-sessions  what USERS sessions cost ejabberd (50000 by default)'
	@echo 'make build      the NIF, megaphone-ecm and the Erlang application'
	@echo 'make install    puts them into $$(DESTDIR)$$(PREFIX), by default $(PREFIX)'
	@echo 'make contrib    the folder for ejabberdctl module_install megaphone, in _build/contrib; CONTRIB=source leaves'
	@echo '                the NIF to be built where it is installed'
	@echo 'make deb        the packages ejabberd-mod-megaphone and megaphone-ecm for this Debian, in DEB_DIR'
	@echo 'make tarball    archives of the ECM and of the application, the same bytes wherever they are built, in TARBALL_DIR'
	@echo 'make deps       installs the Debian packages that are missing'
	@echo 'make clean      removes what was built, and what make run left in _run'

deps:
	@sh test/demo/deps.sh test

deps-run:
	@sh test/demo/deps.sh run

# Two at once, as by two `make run`, wait for one another.
build:
	@mkdir -p _build
	@echo 'building the NIF and the Erlang application'
	@QUIET=1 flock _build/make.lock $(REBAR3) compile </dev/null
	@echo 'building megaphone-ecm'
	@$(CARGO) build --quiet --release --locked -p megaphone-ecm

# `bash -m` takes the terminal's Ctrl-C for itself, so that make, which would end with an error, sees
# an orderly end; that needs a terminal whose foreground this is (fields 5 and 8 of proc's stat). Both
# are 0 where the terminal is another process space's, as in the chroot of test-debian, and `bash -m`
# would wait for it for ever. env makes sure that signals count, even where a script started make with
# `&`.
run: deps-run
	@bash test/demo/run.sh --check "$$RUN_DIR"
	@$(MAKE) --no-print-directory build
	@set -- $$(cut -d ' ' -f 5,8 /proc/self/stat); \
	if [ "$$1" = "$$2" ] && [ "$$1" != 0 ] && [ -t 2 ]; then job_control=-m; fi; \
	exec env --default-signal=INT,TERM,HUP bash $$job_control test/demo/run.sh "$$RUN_DIR"

status:
	@bash test/demo/status.sh "$$RUN_DIR"

# SUITES: names of suites, as in SUITES="megaphone_socket_SUITE megaphone_bosh_SUITE"; by default all.
suites = $(if $(SUITES),--suite $(shell echo $(foreach suite,$(SUITES),\
    $(or $(wildcard test/*/$(suite).erl),$(error there is no suite $(suite)))) | tr ' ' ','))

# Each part is quiet when it passes and shows all it has when it doesn't.
test: deps
	@$(MAKE) --no-print-directory build-bench test-rust test-bench test-clients
	@$(MAKE) --no-print-directory test-erlang

# The arithmetic of the bench and what it draws, a soak of a minute, and what makes the documents.
test-bench: build-bench
	@echo 'testing the bench and the documents'
	@mkdir -p _build
	@cd test/bench && python3 -B -m unittest discover --start-directory tests --top-level-directory . \
	    >../../_build/bench-test.log 2>&1 || { cat ../../_build/bench-test.log; exit 1; }
	@cd doc/make && python3 -B -m unittest >>../../_build/bench-test.log 2>&1 || { cat ../../_build/bench-test.log; exit 1; }
	@awk '/^Ran [0-9]+ tests/ { ran += $$2 } END { printf "unittest: %d tests passed\n", ran }' _build/bench-test.log

test-rust:
	@mkdir -p _build
	@echo 'testing the Rust crates'
	@$(CARGO) test --quiet --workspace --locked >_build/cargo-test.log 2>&1 || { cat _build/cargo-test.log; exit 1; }
	@awk '/^test result: ok/ { passed += $$4; ignored += $$8 } \
	      END { printf "cargo test: %d tests passed, %d ignored\n", passed, ignored; exit passed == 0 }' _build/cargo-test.log

test-clients: $(clients)/node_modules/.package-lock.json $(clients)/venv/.requirements.txt \
	$(clients)/node-xmpp-bosh/node_modules/.package-lock.json

# rebar3 copies all of test over its last copy, and fails where a link has become a folder.
$(clients)/node_modules/.package-lock.json: $(clients)/package-lock.json
	@echo 'installing the XMPP clients of the tests (npm ci)'
	@rm -rf _build/test/extras/test/clients
	@npm ci --prefix $(clients) --silent --no-audit --no-fund
	@touch $@

# This one has a part in C++, which is compiled, with the headers that came with Node if there are some. Where it
# does not compile, the one test that needs it is skipped.
$(clients)/node-xmpp-bosh/node_modules/.package-lock.json: $(clients)/node-xmpp-bosh/package-lock.json
	@echo 'installing the BOSH server of the tests (npm ci)'
	@prefix=$$(dirname "$$(dirname "$$(readlink -f "$$(command -v node)")")"); \
	test ! -e "$$prefix/include/node/node.h" || export npm_config_nodedir="$$prefix"; \
	if npm ci --prefix $(clients)/node-xmpp-bosh --silent --no-audit --no-fund; then touch $@; \
	else rm -rf $(clients)/node-xmpp-bosh/node_modules; \
	    echo 'node-xmpp-bosh does not compile here (npm ci in $(clients)/node-xmpp-bosh says why): its test is skipped'; fi

$(clients)/venv/.requirements.txt: $(clients)/requirements.txt
	@echo 'installing the XMPP clients of the tests (pip install)'
	@python3 -m venv --clear $(clients)/venv
	@$(clients)/venv/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --no-deps \
	    --requirement $(clients)/requirements.txt
	@cp $(clients)/requirements.txt $@

test-erlang: test-clients
	@echo 'testing the application in ejabberd'
	@TERM=dumb QUIET=1 $(REBAR3) ct $(suites) --readable=compact >_build/ct.log 2>&1 || { cat _build/ct.log; exit 1; }
	@awk '/ ==> .*: SKIPPED/ { name = $$4; getline; sub(/^.*skip,"/, ""); sub(/"}.*$$/, ""); print "skipped", name, $$0 }' \
	    _build/ct.log
	@printf 'common_test: '; tail -n 1 _build/ct.log

# SUITE: another Debian: trixie, trixie-backports or forky. Each run begins with a bare system.
test-debian:
	@bash test/debian/chroot.sh "$(SUITE)" make test

# SUITE: bookworm or trixie. Builds the packages there, and installs, upgrades and removes them beside its ejabberd.
test-packages:
	@bash test/debian/chroot.sh "$(SUITE)" bash test/debian/packages.sh

# TARGET: one of native/fuzz/fuzz_targets; by default all, and the NIF's functions after them. SECONDS or HOURS: for how
# long each.
SECONDS ?= 60
fuzz_seconds = $(if $(HOURS),$(shell echo '$(HOURS)' | awk '{ print $$1 * 3600 }'),$(SECONDS))
fuzz: deps
	@python3 -B native/fuzz/run.py --seconds $(fuzz_seconds) $(TARGET)
	@$(if $(TARGET),:,$(MAKE) --no-print-directory fuzz-nif)

# CALLS: how many.
CALLS ?= 1000000
fuzz-nif: deps
	@echo 'calling the NIF $(CALLS) times'
	@MEGAPHONE_CALLS=$(CALLS) TERM=dumb QUIET=1 $(REBAR3) ct --suite test/socket/megaphone_prop_SUITE --case calls \
	    --readable=compact >_build/fuzz-nif.log 2>&1 || { cat _build/fuzz-nif.log; exit 1; }

# SANITIZE=--quick takes a fraction of the time.
sanitize:
	@bash native/fuzz/sanitize.sh $(SANITIZE)

lint: deps lint-rust lint-erlang lint-python lint-docs

lint-rust:
	@echo 'cargo fmt'
	@$(CARGO) fmt --all --check
	@$(CARGO) fmt --manifest-path native/fuzz/Cargo.toml --check
	@echo 'cargo clippy'
	@$(CARGO) clippy --quiet --workspace --all-targets --locked -- -D warnings

lint-erlang:
	@echo 'xref'
	@QUIET=1 $(REBAR3) as lint xref
	@echo 'dialyzer (the first time it reads all of ejabberd, which takes minutes)'
	@QUIET=1 $(REBAR3) as lint dialyzer
	@echo 'shellcheck'
	@shellcheck .ci/run native/nif/build.sh native/fuzz/sanitize.sh test/demo/*.sh test/debian/*.sh test/bench/*.sh \
	    packaging/*.sh packaging/*/*.sh

lint-python:
	@echo 'Python'
	@find test doc packaging native/fuzz -name '*.py' -not -path '*/venv/*' -not -path '*/node_modules/*' -print0 | \
	    PYTHONPYCACHEPREFIX=_build/pycache xargs -0 python3 -W error -m py_compile

lint-docs:
	@echo 'the documents'
	@python3 -B doc/make/options.py --check
	@python3 -B doc/make/manual.py --check
	@python3 -B doc/make/differences.py --check
	@python3 -B doc/make/links.py

# What of the documents is generated.
docs: deps
	@python3 -B doc/make/options.py
	@WRITE_MANUAL=1 $(CARGO) test --quiet --locked -p megaphone-ecm --test manual >/dev/null
	@python3 -B doc/make/manual.py
	@python3 -B doc/make/differences.py

# BENCH: options of test/bench/bench.py. Everything that it writes is in _build/bench.
bench: deps-bench build-bench
	@python3 test/bench/bench.py --quick $(BENCH)

bench-full: deps-bench build-bench
	@python3 test/bench/bench.py --full --publish $(BENCH)
	@python3 test/bench/million.py --users 50000 --only trunks --only websocket --output _build/bench/full/crowd

# USERS: how many. BENCH: options of test/bench/million.py.
million: deps-bench build-bench
	@python3 test/bench/million.py $(if $(filter-out 0,$(USERS)),--users $(USERS)) $(BENCH)

# FLEET: options of test/bench/fleet.py.
fleet: deps-bench build-bench
	@python3 test/bench/fleet.py $(FLEET)

# HOURS: how long. SOAK: options of test/bench/soak.py. What it writes is in _build/soak.
soak: deps-bench build-bench
	@python3 test/bench/soak.py $(if $(HOURS),--hours $(HOURS)) $(SOAK)

deps-bench:
	@sh test/demo/deps.sh bench

build-bench: build
	@echo 'building megaphone-swarm'
	@$(CARGO) build --quiet --release --locked -p megaphone-swarm

# BENCH=--quick takes a fraction of the time.
bench-nif: deps-run
	@sh test/bench/nif.sh $(BENCH)

bench-flow: deps
	@sh test/bench/flow.sh

# USERS: how many; ejabberd's files are in _build.
bench-sessions: deps-run
	@sh test/bench/sessions.sh

# As root, after `make build`: nothing is built here.
install: install-ejabberd install-ecm

built:
	@test -e $(built_application)/ebin/megaphone.app -a -e $(CARGO_TARGET_DIR)/release/megaphone-ecm || \
	    { echo 'nothing is built yet; try: make build' >&2; exit 1; }

install-ejabberd: built
	install -d $(application)/ebin $(application)/priv
	install -m 644 $(built_application)/ebin/* $(application)/ebin/
	install -m 644 $(built_application)/priv/megaphone_nif.so $(application)/priv/megaphone_nif.so.tmp
	mv $(application)/priv/megaphone_nif.so.tmp $(application)/priv/megaphone_nif.so

install-ecm: built
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(SYSCONFDIR)/megaphone
	install -m 755 $(CARGO_TARGET_DIR)/release/megaphone-ecm $(DESTDIR)$(PREFIX)/bin/
	test -e $(DESTDIR)$(SYSCONFDIR)/megaphone/ecm.toml || \
	    install -m 644 native/ecm/ecm.toml $(DESTDIR)$(SYSCONFDIR)/megaphone/

# CONTRIB=source: without the NIF.
contrib: build
	@packaging/contrib/make.sh _build/contrib/megaphone $(CONTRIB)
	@echo 'it is in _build/contrib/megaphone; its README.txt says how to install it'

# The packages for the Debian that this is; they are put into DEB_DIR.
DEB_DIR ?= _build/packages
deb: deps-deb
	@bash packaging/deb.sh $(DEB_DIR)

# The archives of the ECM and of the application; they are put into TARBALL_DIR.
TARBALL_DIR ?= _build/archives
tarball: deps-run
	@bash packaging/tarball.sh $(TARBALL_DIR)

deps-deb:
	@sh test/demo/deps.sh deb

clean:
	rm -rf _build _run erlang/priv target
