#!/usr/bin/env python3
"""Brings a million users online at one ejabberd, lets them talk, cuts a trunk, and waits until all are back."""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from lab import command, machine
from lab.crowd import Crowd, Sample, Summary
from lab.ecm import Ecm
from lab.ejabberd import Ejabberd
from lab.lab import ROOT, Lab
from lab.plot import Chart, Colour, Line
from lab.program import LabError
from lab.swarm import Swarm

TRUNKS = 8
OTHERS = 600
"""Descriptors of a process that are no clients."""
PORTS = 4000
"""Clients that come from one local address. Linux looks through 14,000 of its ports first, one by one, and those
of clients that come back are taken twice for a minute."""
POINTS = 100
"""Of a line of a picture."""
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""A frame finds its connection in fewer steps where memory comes in large pages."""


def main() -> int:
    """The exit status: 0 if all were online, 2 if not, 130 after Ctrl-C."""
    arguments = _arguments()
    output = (arguments.output or ROOT / "_build/bench/million").resolve()
    return command.run("million", arguments, output, lambda lab: _run(arguments, output, lab))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="First the users come in trunks that megaphone-swarm speaks itself, as they need no sockets; then with\n"
        "sockets of their own, by WebSocket through ECMs, as many as the limit of open files allows. Prints a\n"
        "line per minute and a summary; results.json and pictures are in the output folder.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    users = "how many; 0 is only those with sockets [1000000]"
    parser.add_argument("--users", type=int, default=1_000_000, metavar="N", help=users)
    parser.add_argument("--sockets", type=int, metavar="N", help="how many with sockets; 0 is none [all that can]")
    parser.add_argument("--at-once", type=int, default=200, metavar="N", help="logins at work at once [200]")
    parser.add_argument("--messages", type=float, default=1000, metavar="N", help="messages per second [1000]")
    parser.add_argument("--seconds", type=float, default=60, metavar="S", help="for so long [60]")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go [_build/bench/million]")
    parser.add_argument("--publish", action="store_true", help="put the pictures into doc/bench")
    command.add_programs(parser)
    arguments = parser.parse_args()
    if 0 < arguments.users < TRUNKS:
        parser.error(f"--users must be {TRUNKS} or more, one in each trunk")
    return arguments


def _run(arguments: argparse.Namespace, output: Path, lab: Lab) -> int:
    about = machine.describe()
    print(f"Megaphone {about['commit']} on {about['cpu']}, {about['cores']} cores, {about['memory']}", flush=True)
    memory = Chart("ejabberd's memory against users online", "thousand users online", "GB over the start (RSS)")
    online = Chart("Users online, and one of eight trunks cut", "minutes", "thousand users online")
    summaries: list[Summary] = []
    for name, colour, crowd in _crowds(arguments, lab):
        summary = crowd.live(arguments.messages, arguments.seconds)
        lab.end_all()
        summaries.append(summary)
        rise, samples = _thinned(summary.rise), _thinned(summary.samples)
        memory.lines.append(Line(name, colour, [(one.online / 1000, one.grown / 1e9) for one in rise]))
        online.lines.append(Line(name, colour, [(one.seconds / 60, one.online / 1000) for one in samples]))
        for folder in [output, *([ROOT / "doc/bench"] if arguments.publish else [])]:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "million-memory.svg").write_text(memory.to_svg())
            (folder / "million-online.svg").write_text(online.to_svg())
        results = {"machine": about, "phases": [asdict(one) for one in summaries]}
        (output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    for summary in summaries:
        print(f"\n{summary.text()}", flush=True)
    print(f"\nresults.json and the pictures are in {output}")
    return 0


def _thinned(samples: list[Sample]) -> list[Sample]:
    """As many as can be told apart, with the last one and those before a fall."""
    step = math.ceil(len(samples) / POINTS)
    pairs = enumerate(zip(samples, samples[1:], strict=False))
    kept = [one for number, (one, following) in pairs if number % step == 0 or following.online < one.online]
    return kept + samples[-1:]


def _crowds(arguments: argparse.Namespace, lab: Lab) -> Iterator[tuple[str, Colour, Crowd]]:
    """Made one after the other, as each has the machine for itself."""
    if arguments.users:
        yield "in trunks", Colour.BLUE, _in_trunks(arguments, lab)
    most = TRUNKS * (lab.descriptors - OTHERS)
    sockets = min(arguments.users or most, most) if arguments.sockets is None else arguments.sockets
    if sockets > most:
        raise LabError(f"{sockets} sockets need {sockets // TRUNKS + OTHERS} open files a process; see ulimit -Hn")
    if sockets >= TRUNKS:
        yield "through ECMs", Colour.VIOLET, _through_ecms(arguments, lab, sockets // TRUNKS * TRUNKS)


def _in_trunks(arguments: argparse.Namespace, lab: Lab) -> Crowd:
    ejabberd = _ejabberd(arguments.users, lab)

    def come() -> list[Swarm]:
        more = ("--trunks", str(TRUNKS), "--reconnect")
        return [Swarm(lab, "trunk", ejabberd, arguments.users, at_once=arguments.at_once, more=more)]

    return Crowd("in trunks", ejabberd, [], come)


def _through_ecms(arguments: argparse.Namespace, lab: Lab, users: int) -> Crowd:
    ejabberd = _ejabberd(users, lab)
    ecms = [Ecm(lab, ejabberd, trunks=1) for _ in range(TRUNKS)]
    share, at_once = users // TRUNKS, max(1, arguments.at_once // TRUNKS)

    def come() -> list[Swarm]:
        return [
            Swarm(
                lab,
                "websocket",
                ecm,
                share,
                first=number * share,
                at_once=at_once,
                more=("--reconnect", *_from(number, share)),
            )
            for number, ecm in enumerate(ecms)
        ]

    return Crowd("through ECMs", ejabberd, ecms, come)


def _from(number: int, users: int) -> list[str]:
    """Addresses of its own for a swarm: one that is nearly out of ports is slow to find the next."""
    addresses = [f"127.1.{number}.{last + 1}" for last in range(math.ceil(users / PORTS))]
    return [option for address in addresses for option in ("--from", address)]


def _ejabberd(users: int, lab: Lab) -> Ejabberd:
    ejabberd = Ejabberd(lab, users, environment=HUGE_PAGES)

    def tell(count: int) -> None:
        if count % 100_000 == 0:
            print(f"{time.strftime('%H:%M:%S')} {count} users created", file=sys.stderr, flush=True)

    return ejabberd.ready(tell)


if __name__ == "__main__":
    sys.exit(main())
