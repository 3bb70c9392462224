#!/usr/bin/env python3
"""Shows what hours of trouble leave behind: an ejabberd and two ECMs whose clients count every message, while trunks
are cut, programs killed, stopped and reloaded, ports flooded, and files used up, in an order that is drawn by lot."""

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from lab import census, command, fleet, machine
from lab.census import Census
from lab.clients import KINDS, Clients, Result
from lab.command import say
from lab.ejabberd import Ejabberd
from lab.lab import ROOT, Lab
from lab.program import Program
from lab.record import LEAST_GROWTH, Record, Sample, write
from lab.trouble import PATIENCE, TROUBLES, Scene, kill_and_start

SETTLED = 0.1
"""The part of a round that messages are sent before anything is done."""
SPARE_USERS = 100
"""Users for floods."""
EMULATOR = ("+MFatags", "true")
"""So that timers can be counted."""
SOAKED = (*KINDS, ("tcp", False, False), ("bosh", True, True))
"""Kinds of clients: half of all have stream management, and each transport is there with TLS and without."""
LAST_DEATH = 0.25
"""The part of the time after which ejabberd is not killed any more, so that its memory can be watched."""
LONG_ENOUGH = 0.3
"""Hours that a program's memory has to be watched before growth counts: allocators take a while to get their room."""
KILLED = {"kill-ecm": "ECM 1", "kill-ejabberd": "ejabberd"}
"""Which trouble ends which program."""
ERROR = re.compile(r"\[(error|critical)\]|\bERROR\b|panicked|CRASH REPORT")
"""What is an error in a log: of ejabberd, of an ECM."""


def deal(names: list[str], chance: random.Random) -> Iterator[str]:
    """Kinds of trouble without end: all of them in any order, and again."""
    while True:
        hand = list(names)
        chance.shuffle(hand)
        yield from hand


class Soak:
    """One run."""

    def __init__(self, arguments: argparse.Namespace, output: Path, lab: Lab) -> None:
        """Starts the servers, and counts what they hold once the first clients have come and gone."""
        self._arguments, self._output, self._lab = arguments, output, lab
        self._chance = random.Random(arguments.seed)
        settings = {name: value for name, value in vars(arguments).items() if not isinstance(value, Path)}
        self.record = Record(machine.describe(), settings)
        users, crowd = arguments.users, arguments.users // 5
        say("ejabberd and two ECMs start")
        resume = f"mod_stream_mgmt: {{resume_timeout: {arguments.resume}}}"
        self._ejabberd = Ejabberd(
            lab,
            users + max(crowd, SPARE_USERS),
            in_cluster=True,
            emulator=EMULATOR,
            edit=lambda text: text.replace("mod_stream_mgmt: {}", resume),
        )
        self._fleet = fleet.start(lab, [self._ejabberd], 2, slow_start=1)
        say("a few clients come and go")
        few = min(users, 20 * len(SOAKED))
        Clients(lab, self._fleet.ecms, few, few, kinds=SOAKED).leave()
        self._before = census.steady(self._looks(), PATIENCE)
        self._memory_before = self._memory()
        say("clients log in")
        self._clients = Clients(lab, self._fleet.ecms, users, users * 7 // 8, kinds=SOAKED, back=PATIENCE)
        self._scene = Scene(
            lab=lab,
            fleet=self._fleet,
            clients=self._clients,
            chance=self._chance,
            spare=users,
            crowd=crowd,
            stopped=arguments.stopped,
            long_stopped=arguments.long_stopped,
        )
        self._started = time.monotonic()

    def run(self) -> None:
        """Trouble of each kind, and on until the time is over; then all clients leave."""
        arguments = self._arguments
        names = [name for name in arguments.only if arguments.long_stopped or not name.endswith("-long")]
        print(f"{self._clients.count:,} clients are online; the seed is {arguments.seed}\n", flush=True)
        self._sample()
        for number, name in enumerate(deal(names, self._chance)):
            part = self._minutes() / (60 * arguments.hours) if arguments.hours else 1.0
            if number >= len(names):
                if part >= 1:
                    break
                if name == "kill-ejabberd" and part > LAST_DEATH:
                    continue
            self._make(name)
        self._leave()

    def _make(self, name: str) -> None:
        arguments, trouble = self._arguments, TROUBLES[name]
        result = Result(name, trouble.what, figures={"minute": self._minutes()})
        pids = {program: one.pid for program, one in self._programs().items()}
        until = time.monotonic() + arguments.round

        def act(result: Result) -> None:
            time.sleep(SETTLED * arguments.round)
            say(trouble.what)
            trouble.make(self._scene, result)
            time.sleep(max(0.0, until - time.monotonic()))

        self.record.results.append(result)
        self._clients.during(result, arguments.messages, act, in_order=not trouble.disconnects)
        if not trouble.disconnects:
            result.promise(not result.disconnected, f"{result.disconnected} clients lost their connections")
        if not trouble.forgets:
            result.promise(not result.managed.apart, "sessions with stream management were lost")
        for program, one in self._programs().items():
            result.promise(KILLED.get(name) == program or one.pid == pids[program], f"{program} was started again")
        if name == "kill-ejabberd":
            self.record.killed = self._minutes()
        self._sample()
        print(f"{result.text()}\n", flush=True)
        write(self.record, self._output)

    def _leave(self) -> None:
        """All clients leave, and nothing of them is left."""
        record = self.record
        say("all clients leave")
        for transport, stuck in self._clients.leave().items():
            record.broken.append(f"{stuck} clients by {transport} did not get out")
        # Sessions whose clients left without a word wait for these.
        within = self._arguments.resume + PATIENCE
        for name, look in self._looks().items():
            record.left[name] = census.left(self._before[name], look, within)
            if more := census.unexplained(record.left[name]):
                record.broken.append(f"{name} has more than before: {more}")
        self._ejabberd.collect_garbage()
        after = self._memory()
        record.memory = {name: (before, after[name]) for name, before in self._memory_before.items()}
        for number, ecm in enumerate(self._fleet.ecms, 1):
            if panics := ecm.metrics().get("panics_total", 0):
                record.broken.append(f"ECM {number} has panicked {panics:.0f} times")
        record.errors = dict(sum((_errors(one) for one in self._programs().values()), Counter()))
        for name, trend in record.trends().items():
            if trend and trend.watched >= LONG_ENOUGH and trend.is_growth(LEAST_GROWTH):
                record.broken.append(f"{name}: grows by {trend.slope / 1e6:.2f} ± {trend.error / 1e6:.2f} MB per hour")

    def compare(self) -> None:
        """Plain ejabberd is killed as this one was, with the same clients but for TLS."""
        arguments, lab = self._arguments, self._lab
        lab.end_all()
        say("plain ejabberd starts")
        ejabberd = Ejabberd(lab, arguments.users).ready()
        kinds = [(transport, False, management) for transport, _, management in SOAKED]
        clients = Clients(lab, [ejabberd], arguments.users, arguments.users * 7 // 8, kinds=kinds, back=PATIENCE)
        for number in range(arguments.plain):
            result = Result("plain", "plain ejabberd is killed")
            self.record.plain.append(result)
            until = time.monotonic() + arguments.round

            def act(result: Result, until: float = until) -> None:
                time.sleep(SETTLED * arguments.round)
                say(f"plain ejabberd is killed, {number + 1} of {arguments.plain}")
                kill_and_start(ejabberd, clients, result)
                time.sleep(max(0.0, until - time.monotonic()))

            clients.during(result, arguments.messages, act)
            # What plain ejabberd does is not promised here.
            result.notes += result.broken
            result.broken = []
            print(f"{result.text()}\n", flush=True)

    def _programs(self) -> dict[str, Program]:
        ecms = {f"ECM {number}": ecm for number, ecm in enumerate(self._fleet.ecms, 1)}
        return {"ejabberd": self._ejabberd, **ecms}

    def _looks(self) -> dict[str, Callable[[], Census]]:
        looks: dict[str, Callable[[], Census]] = {"ejabberd": lambda: census.of_ejabberd(self._ejabberd)}
        for number, ecm in enumerate(self._fleet.ecms, 1):
            looks[f"ECM {number}"] = lambda ecm=ecm: census.of_ecm(ecm)
        return looks

    def _memory(self) -> dict[str, int]:
        resident = {f"{name}, RSS": one.resident() for name, one in self._programs().items()}
        return {**resident, "ejabberd, erlang:memory()": self._ejabberd.memory()["total"]}

    def _sample(self) -> None:
        memory = self._ejabberd.memory()
        self.record.samples.append(
            Sample(
                self._minutes(),
                self._ejabberd.resident(),
                memory["total"],
                memory["process_count"],
                [ecm.resident() for ecm in self._fleet.ecms],
                [sum(ecm.sessions().values()) for ecm in self._fleet.ecms],
            )
        )

    def _minutes(self) -> float:
        return (time.monotonic() - self._started) / 60


def _errors(program: Program) -> Counter[str]:
    """The lines of a log that are errors, without times and numbers."""
    lines = program.log.read_text(errors="replace").splitlines()
    bare = (re.sub(r"\d+", "N", re.sub(r"^[-\d:T. +Z]+", "", line)) for line in lines if ERROR.search(line))
    return Counter(f"{program.name}: {line[:200]}" for line in bare)


def main() -> int:
    """The exit status: 0 if all promises are kept, 1 if one is not, 2 if it can't be shown, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1, metavar="N", help="how long, at least each trouble once [1]")
    parser.add_argument("--users", type=int, default=5_000, metavar="N", help="how many are online [5000]")
    parser.add_argument("--messages", type=float, default=200, metavar="N", help="messages per second [200]")
    parser.add_argument("--round", type=float, default=20, metavar="S", help="seconds for each trouble, at least [20]")
    parser.add_argument("--stopped", type=float, default=8, metavar="S", help="seconds that a program is stopped [8]")
    parser.add_argument(
        "--long-stopped", type=float, default=60, metavar="S", help="seconds until it counts as lost; 0: never [60]"
    )
    parser.add_argument(
        "--resume", type=int, default=300, metavar="S", help="seconds that a session waits for its client [300]"
    )
    parser.add_argument("--plain", type=int, default=3, metavar="N", help="how often plain ejabberd is killed [3]")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), metavar="N", help="of the order [any]")
    what = "; ".join(f"{name}: {one.what}" for name, one in TROUBLES.items())
    parser.add_argument("--only", nargs="+", choices=TROUBLES, default=list(TROUBLES), metavar="NAME", help=what)
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go [_build/soak]")
    command.add_programs(parser)
    arguments = parser.parse_args()
    output = (arguments.output or ROOT / "_build/soak").resolve()
    return command.run("soak", arguments, output, lambda lab: _run(arguments, output, lab))


def _run(arguments: argparse.Namespace, output: Path, lab: Lab) -> int:
    soak = Soak(arguments, output, lab)
    try:
        soak.run()
        write(soak.record, output)
        if arguments.plain:
            soak.compare()
    finally:
        write(soak.record, output)
    broken = soak.record.all_broken()
    print(soak.record.markdown())
    print(f"report.md, results.json and memory.svg are in {output}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
