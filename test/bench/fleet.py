#!/usr/bin/env python3
"""Shows what a fleet survives: ejabberd nodes in one cluster, ECMs in front of them, and clients that count every
message, while nodes and ECMs are drained, killed, stopped and replaced."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab import command, fleet, machine
from lab.lab import ROOT, Lab
from lab.program import LabError
from lab.swarm import Event, Swarm

KINDS = (
    # Transport, TLS, stream management: a third with TLS, half with stream management.
    ("tcp", False, True),
    ("tcp", True, False),
    ("websocket", False, False),
    ("websocket", True, True),
    ("bosh", False, True),
    ("bosh", False, False),
)
BACK = 30
"""Seconds within which the clients of what was killed are to be back."""


@dataclass
class Result:
    """What became of the clients meanwhile."""

    name: str
    seconds: float = 0
    """That the traffic lasted."""
    sent: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    disconnected: int = 0
    resumed: int = 0
    latency_p99: float = 0
    """Milliseconds, of the worst kind of client."""
    latency_max: float = 0
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For people."""
        first = (
            f"== {self.name}\n"
            f"  messages      {self.sent:,} sent in {self.seconds:.0f} s, {self.lost} lost, {self.doubled} doubled, "
            f"{self.reordered} out of order; p99 {self.latency_p99:.0f} ms, at most {self.latency_max:.0f} ms\n"
            f"  clients       {self.disconnected} disconnected, {self.resumed} of these resumed their streams"
        )
        return "\n".join([first, *(f"  {note}" for note in self.notes)])


class Clients:
    """All of them: some talk, the others are online."""

    def __init__(self, lab: Lab, servers: list[fleet.FleetEcm], users: int, talking: int) -> None:
        self._all: list[Swarm] = []
        self._talking: list[Swarm] = []
        first = 0
        for transport, tls, management in KINDS:
            more = ("--reconnect", *(["--stream-management"] if management else []))
            for list_, count in ((self._talking, talking), (self._all, users - talking)):
                share = count // len(KINDS) // 2 * 2
                swarm = Swarm(lab, transport, servers, share, first=first, tls=tls, rate=100, more=more)
                first += share
                list_.append(swarm)
        self._all += self._talking
        self.count = first
        for swarm in self._all:
            swarm.all_online()

    def during(self, name: str, rate: float, seconds: float, act: Callable[[Result], None]) -> Result:
        """What became of them while something was done, which may take so many seconds."""
        result = Result(name)
        before = self._counts()
        for swarm in self._talking:
            swarm.begin_traffic(rate / len(self._talking), seconds)
        started = time.monotonic()
        act(result)
        took = time.monotonic() - started
        if took > seconds:
            result.notes.append(f"It took {took:.0f} s, longer than messages were sent.")
        for swarm in self._talking:
            traffic = swarm.end_traffic(seconds + 60)
            result.seconds = max(result.seconds, traffic["seconds"])
            result.sent += traffic["sent"]
            result.lost += traffic["lost"]
            result.doubled += traffic["doubled"]
            result.reordered += traffic["reordered"]
            result.latency_p99 = max(result.latency_p99, traffic["latency"]["p99"] / 1000)
            result.latency_max = max(result.latency_max, traffic["latency"]["max"] / 1000)
        self.wait_until_all_online(60)
        after = self._counts()
        result.disconnected = after["broken"] - before["broken"]
        result.resumed = after["resumed"] - before["resumed"]
        print(f"{result.text()}\n", flush=True)
        return result

    def missing(self) -> list[str]:
        """Those that are not online, of those that don't talk: the others say nothing meanwhile."""
        idle = [one for one in self._all if one not in self._talking]
        online = [(one, one.status()["online"]) for one in idle]
        return [f"{count} of {one.description}" for one, count in online if count < one.users]

    def wait_until_all_online(self, within: float) -> None:
        """Waits for all of them."""
        deadline = time.monotonic() + within
        while (online := self._counts()["online"]) < self.count:
            if time.monotonic() > deadline:
                raise LabError(f"{online} of {self.count} are online after {within:.0f} s")
            time.sleep(0.2)

    def _counts(self) -> dict[str, int]:
        sums = {"online": 0, "broken": 0, "resumed": 0}
        for swarm in self._all:
            status: Event = swarm.status()
            for key in sums:
                sums[key] += status.get(key, 0)
        return sums


def drain_each_node(fleet_: fleet.Fleet, clients: Clients) -> Callable[[Result], None]:
    """Each node in turn is drained, restarted and readmitted."""

    def act(result: Result) -> None:
        for node in fleet_.nodes:
            sessions = fleet_.sessions()[node.name]
            started = time.monotonic()
            fleet_.control("drain", node.name)
            _wait(f"node {node.name} has no sessions", lambda node=node: fleet_.sessions()[node.name] == 0, 60)
            took = time.monotonic() - started
            node.ejabberd.stop_in_order()
            node.ejabberd.start_again()
            node.ejabberd.ready()
            fleet_.control("ready", node.name)
            _wait(f"node {node.name} has trunks", lambda node=node: _has_trunks(fleet_, node.name), 30)
            result.notes.append(
                f"node {node.name}       {sessions} sessions moved in {took:.1f} s, {sessions / took:,.0f} per second"
            )
        time.sleep(10 * fleet.SLOW_START)
        result.notes.append(f"imbalance     {_imbalance(fleet_):.1%}")
        pauses = [ecm.histogram("move_seconds") for ecm in fleet_.ecms]
        result.notes.append(f"pause         p99 {_quantile(pauses, 0.99)} s")

    return act


def kill_a_node(fleet_: fleet.Fleet, clients: Clients) -> Callable[[Result], None]:
    """A node is killed, and started again once its clients are back."""

    def act(result: Result) -> None:
        node = fleet_.nodes[0]
        sessions = fleet_.sessions()[node.name]
        node.ejabberd.kill()
        _come_back(clients, result, f"the {sessions} clients of node {node.name}")
        node.ejabberd.start_again()
        node.ejabberd.ready()

    return act


def kill_an_ecm(fleet_: fleet.Fleet, clients: Clients) -> Callable[[Result], None]:
    """An ECM is killed, and started again once its clients are back."""

    def act(result: Result) -> None:
        ecm = fleet_.ecms[0]
        sessions = sum(ecm.sessions().values())
        ecm.kill()
        _come_back(clients, result, f"the {sessions} clients of an ECM")
        ecm.start_again()

    return act


def replace_an_ecm(fleet_: fleet.Fleet, clients: Clients, lab: Lab) -> Callable[[Result], None]:
    """A new program takes the place of an ECM."""

    def act(result: Result) -> None:
        old = fleet_.ecms[0]
        sessions = sum(old.sessions().values())
        started = time.monotonic()
        fleet_.ecms[0] = fleet.FleetEcm(lab, old.config, replaces=old)
        old.wait_for_end(60)
        took = time.monotonic() - started
        result.notes.append(f"replaced      {sessions} clients let go in {took:.1f} s")

    return act


def stop_a_node(fleet_: fleet.Fleet, clients: Clients) -> Callable[[Result], None]:
    """A node is stopped for 30 seconds, and goes on."""

    def act(result: Result) -> None:
        node = fleet_.nodes[1]
        started = time.monotonic()
        node.ejabberd.signal(signal.SIGSTOP)
        try:
            left = {"ejected (silent)", "ejected (logins)", "down"}
            _wait(f"node {node.name} is ejected", lambda: _conditions(fleet_, node.name) <= left, 30)
            result.notes.append(f"ejected       after {time.monotonic() - started:.1f} s")
            time.sleep(max(0.0, started + 30 - time.monotonic()))
        finally:
            node.ejabberd.signal(signal.SIGCONT)
        resumed = time.monotonic()
        _wait(f"node {node.name} is well", lambda: _conditions(fleet_, node.name) <= {"starting", "well"}, 60)
        result.notes.append(f"well again    {time.monotonic() - resumed:.1f} s after it went on")

    return act


def _come_back(clients: Clients, result: Result, who: str) -> None:
    """Those that don't talk tell."""
    started = time.monotonic()
    # It is noticed within a moment.
    time.sleep(1)
    _wait(f"{who} are back", lambda: not clients.missing(), 2 * BACK)
    result.notes.append(f"back          {who}: all within {time.monotonic() - started:.1f} s")


def _wait(what: str, holds: Callable[[], bool], within: float) -> None:
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            raise LabError(f"it took more than {within:.0f} s until {what}")
        time.sleep(0.1)


def _has_trunks(fleet_: fleet.Fleet, name: str) -> bool:
    return all(one["trunks"] > 0 for ecm in fleet_.ecms for one in ecm.nodes() if one.get("name") == name)


def _conditions(fleet_: fleet.Fleet, name: str) -> set[str]:
    return {str(one["condition"]) for ecm in fleet_.ecms for one in ecm.nodes() if one.get("name") == name}


def _imbalance(fleet_: fleet.Fleet) -> float:
    """By how much the node with the most sessions has more than its share, or that with the fewest less."""
    counts = fleet_.sessions().values()
    mean = sum(counts) / len(counts)
    return max(abs(count - mean) for count in counts) / mean


def _quantile(histograms: list[dict[float, float]], quantile: float) -> str:
    bounds = sorted({bound for one in histograms for bound in one})
    sums = [sum(one.get(bound, 0) for one in histograms) for bound in bounds]
    if not sums or not sums[-1]:
        return "unknown"
    return f"at most {next(bound for bound, count in zip(bounds, sums, strict=True) if count >= quantile * sums[-1])}"


SCENARIOS = {
    "drain": (90, "each node in turn is drained, restarted and readmitted"),
    "kill-node": (60, "a node is killed"),
    "kill-ecm": (60, "an ECM is killed"),
    "replace-ecm": (60, "an ECM is replaced by a new program"),
    "stop-node": (90, "a node is stopped for 30 s"),
}


def main() -> int:
    """The exit status: 0 if it was shown, 2 if not, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=10_000, metavar="N", help="how many are online [10000]")
    parser.add_argument("--talking", type=int, default=1_000, metavar="N", help="how many of them talk [1000]")
    parser.add_argument("--messages", type=float, default=500, metavar="N", help="messages per second [500]")
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="ejabberd nodes, 2 to 8 [3]")
    parser.add_argument("--ecms", type=int, default=3, metavar="N", help="ECMs [3]")
    what = "; ".join(f"{name}: {what}" for name, (_, what) in SCENARIOS.items())
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="NAME", help=what)
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go [_build/bench/fleet]")
    command.add_programs(parser)
    arguments = parser.parse_args()
    output = (arguments.output or ROOT / "_build/bench/fleet").resolve()
    return command.run("fleet", arguments, output, lambda lab: _run(arguments, output, lab))


def _run(arguments: argparse.Namespace, output: Path, lab: Lab) -> int:
    about = machine.describe()
    print(f"Megaphone {about['commit']} on {about['cpu']}, {about['cores']} cores, {about['memory']}", flush=True)
    fleet_ = fleet.start(lab, arguments.users, arguments.nodes, arguments.ecms)
    clients = Clients(lab, fleet_.ecms, arguments.users, arguments.talking)
    print(f"{clients.count:,} clients are online at {len(fleet_.nodes)} nodes through {len(fleet_.ecms)} ECMs\n", flush=True)
    acts: dict[str, Callable[[Result], None]] = {
        "drain": drain_each_node(fleet_, clients),
        "kill-node": kill_a_node(fleet_, clients),
        "kill-ecm": kill_an_ecm(fleet_, clients),
        "replace-ecm": replace_an_ecm(fleet_, clients, lab),
        "stop-node": stop_a_node(fleet_, clients),
    }
    results = []
    for name in arguments.only:
        seconds, what = SCENARIOS[name]
        results.append(clients.during(what, arguments.messages, seconds, acts[name]))
        output.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"machine": about, "results": [asdict(one) for one in results]}, indent=1)
        (output / "results.json").write_text(f"{text}\n")
    print(f"results.json is in {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
