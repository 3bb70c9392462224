#!/usr/bin/env python3
"""Brings a million users online at one ejabberd, lets them ping and talk, breaks what some are connected by, and waits
until all are back."""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab import command, kernel, limits, machine
from lab.crowd import Crowd
from lab.ecm import Ecm
from lab.ejabberd import Ejabberd
from lab.lab import ROOT, Lab
from lab.plot import Chart, Colour, Line, Point
from lab.program import LabError
from lab.summary import Summary
from lab.swarm import Swarm

TRUNKS = 8
"""Of the users who come in trunks."""
OTHER_FILES = 600
"""Descriptors of a process that are no clients."""
POINTS = 100
"""Of a line of a picture."""
THREADS = 4
"""Of an ECM and of a process of the swarm, at most."""
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""A frame finds its connection in fewer steps where memory comes in large pages."""


@dataclass(frozen=True)
class Phase:
    """A way to connect for very many users."""

    title: str
    colour: Colour
    users: int
    """If nobody says how many."""
    memory: int
    """Bytes that a user took in all, on the machine of doc/measured.md."""
    tls: bool = False


PHASES = {
    "trunks": Phase("in trunks", Colour.BLUE, 1_000_000, 7_000),
    "websocket": Phase("by WebSocket", Colour.VIOLET, 1_000_000, 18_000),
    "wss": Phase("by WebSocket with TLS", Colour.TEAL, 400_000, 32_000, tls=True),
}


def main() -> int:
    """The exit status: 0 if all were online, 2 if not, 130 after Ctrl-C."""
    arguments = _arguments()
    output = (arguments.output or ROOT / "_build/bench/million").resolve()
    return command.run("million", arguments, output, lambda lab: _run(arguments, output, lab))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="trunks: in trunks that megaphone-swarm speaks itself, without sockets of their own. websocket, wss: each\n"
        "with a TCP connection of its own, through as many ECMs as the limit of open files asks for, and one more.\n"
        "Each has the machine for itself. Prints a line per minute and a summary; results.json and pictures are in\n"
        "the output folder, and keep what earlier runs found. If memory ends it goes on with those who are in.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=PHASES, help="one of them; may be repeated [all]")
    parser.add_argument("--users", type=int, metavar="N", help="how many in each [1000000, by wss 400000]")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="of the swarm, at least [1]")
    parser.add_argument("--at-once", type=int, default=200, metavar="N", help="logins at work at once [200]")
    parser.add_argument("--period", type=float, default=60, metavar="S", help="all ping once in this time; 0: none [60]")
    parser.add_argument("--messages", type=float, default=1000, metavar="N", help="messages per second [1000]")
    parser.add_argument("--seconds", type=float, default=60, metavar="S", help="for so long [60]")
    free = "no more users are let in once the machine has less memory left [1]"
    parser.add_argument("--keep-free", type=float, default=1, metavar="GIB", help=free)
    parser.add_argument("--check", action="store_true", help="only say whether the machine's limits leave room")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go [_build/bench/million]")
    parser.add_argument("--publish", action="store_true", help="put the pictures into doc/bench")
    command.add_programs(parser)
    arguments = parser.parse_args()
    arguments.only = arguments.only or list(PHASES)
    if arguments.users is not None and arguments.users < 2 * TRUNKS:
        parser.error(f"--users must be {2 * TRUNKS} or more")
    return arguments


def _run(arguments: argparse.Namespace, output: Path, lab: Lab) -> int:
    about = machine.describe()
    print(f"Megaphone {about['commit']} on {about['cpu']}, {about['cores']} cores, {about['memory']}", flush=True)
    plans = [_Plan.of(name, arguments, lab) for name in arguments.only]
    if troubles := sorted({trouble for plan in plans for trouble in plan.troubles()}):
        raise LabError("\n    ".join(["the machine's limits are too low for this", *troubles]))
    for plan in plans:
        print(plan.text(), flush=True)
    if arguments.check:
        return 0
    is_complete = True
    for plan in plans:
        summary = Summary(plan.phase.title, plan.users)
        try:
            _crowd(plan, summary, arguments, lab).live(arguments.messages, arguments.seconds, arguments.period)
        except (LabError, KeyboardInterrupt) as error:
            summary.ended = summary.ended or str(error) or "interrupted"
            raise
        finally:
            lab.end_all()
            if summary.samples:
                _keep(output, plan.name, summary, about, arguments.publish)
                print(f"\n{summary.text()}\n", flush=True)
        is_complete = is_complete and not summary.ended
    print(f"results.json and the pictures are in {output}")
    return 0 if is_complete else 2


@dataclass(frozen=True)
class _Plan:
    """How many of what a phase has."""

    name: str
    phase: Phase
    users: int
    processes: int
    """Of the swarm."""
    ecms: int

    @classmethod
    def of(cls, name: str, arguments: argparse.Namespace, lab: Lab) -> "_Plan":
        """Of a phase. When an ECM is lost, the others have room for its users."""
        users = arguments.users or PHASES[name].users
        if name == "trunks":
            return cls(name, PHASES[name], users, 1, 0)
        most = lab.descriptors - OTHER_FILES
        processes = limits.share(users, most, arguments.processes)
        # Each process has as many, and partners are in one process.
        users = math.ceil(users / (2 * processes)) * 2 * processes
        return cls(name, PHASES[name], users, processes, limits.share(users, most, arguments.processes) + 1)

    def troubles(self) -> list[str]:
        """What the machine does not allow."""
        connections = self.users if self.ecms else 0
        return limits.Need(connections, self.ecms, THREADS * (self.ecms + self.processes)).troubles()

    def text(self) -> str:
        """For people."""
        room = kernel.available() // self.phase.memory
        by = f" through {self.ecms} ECMs, in {self.processes} processes of the swarm," if self.ecms else ""
        return (
            f"{self.phase.title}: {self.users:,} users{by} need some {self.users * self.phase.memory / 1e9:.1f} GB; "
            f"{kernel.available() / 1e9:.1f} GB are there" + ("" if room >= self.users else f", for some {room:,} users")
        )


def _crowd(plan: _Plan, summary: Summary, arguments: argparse.Namespace, lab: Lab) -> Crowd:
    ejabberd = Ejabberd(lab, plan.users, environment=HUGE_PAGES).ready(_tell)
    ecms = [Ecm(lab, ejabberd, trunks=1, is_silence_fine=True) for _ in range(plan.ecms)]
    reserve = int(arguments.keep_free * (1 << 30))
    if not ecms:
        more = ("--trunks", str(TRUNKS), "--reconnect")

        def come() -> Swarm:
            return Swarm(lab, "trunk", ejabberd, plan.users, at_once=arguments.at_once, more=more)

        return Crowd(summary, ejabberd, ecms, come, lambda: ("one trunk of 8 cut", ejabberd.cut_trunk()), reserve)

    def come_through() -> Swarm:
        more = ("--processes", str(plan.processes), "--reconnect", *_addresses(plan))
        tls = plan.phase.tls
        return Swarm(lab, "websocket", ecms, plan.users, tls=tls, at_once=arguments.at_once, more=more)

    def lose() -> tuple[str, int]:
        lost = ecms.pop()
        users = int(lost.metrics()['sessions{transport="websocket"}'])
        lab.end(lost)
        return "one ECM killed", users

    return Crowd(summary, ejabberd, ecms, come_through, lose, reserve)


def _addresses(plan: _Plan) -> list[str]:
    """Local addresses for each process, as one has only so many ports."""
    each = math.ceil(plan.users / plan.processes / limits.PORTS)
    return [f"--from=127.1.{process}.{last + 1}" for process in range(plan.processes) for last in range(each)]


def _tell(count: int) -> None:
    if count % 100_000 == 0:
        print(f"{time.strftime('%H:%M:%S')} {count:,} users created", file=sys.stderr, flush=True)


def _keep(output: Path, name: str, summary: Summary, about: dict[str, str], is_published: bool) -> None:
    """Writes what a phase came to beside what earlier runs found of the others, and the pictures of all."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / "results.json"
    phases: dict[str, Any] = json.loads(path.read_text())["phases"] if path.exists() else {}
    phases[name] = {"machine": about, "text": summary.text(), **asdict(summary)}
    path.write_text(json.dumps({"phases": phases}, indent=1) + "\n")
    memory = Chart("ejabberd's memory against users online", "thousand users online", "GB over the start (RSS)")
    online = Chart("Users online, and what some were connected by is lost", "minutes", "thousand users online")
    left = Chart("What the machine has left", "thousand users online", "GB")
    for each, phase in PHASES.items():
        if each in phases:
            rise, samples = phases[each]["rise"] or phases[each]["samples"], phases[each]["samples"]
            _draw(memory, phase, rise, lambda one: (one["online"] / 1000, one["grown"] / 1e9))
            _draw(online, phase, samples, lambda one: (one["seconds"] / 60, one["online"] / 1000))
            _draw(left, phase, rise, lambda one: (one["online"] / 1000, one["available"] / 1e9))
    for folder in [output, *([ROOT / "doc/bench"] if is_published else [])]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "million-memory.svg").write_text(memory.to_svg())
        (folder / "million-online.svg").write_text(online.to_svg())
        (folder / "million-left.svg").write_text(left.to_svg())


def _draw(chart: Chart, phase: Phase, samples: list[dict[str, Any]], point: Callable[[dict[str, Any]], Point]) -> None:
    chart.lines.append(Line(phase.title, phase.colour, [point(one) for one in _thinned(samples)]))


def _thinned(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many as can be told apart, with the last one and those before a fall."""
    step = math.ceil(len(samples) / POINTS)
    pairs = enumerate(zip(samples, samples[1:], strict=False))
    kept = [one for number, (one, after) in pairs if number % step == 0 or after["online"] < one["online"]]
    return kept + samples[-1:]


if __name__ == "__main__":
    sys.exit(main())
