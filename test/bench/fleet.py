#!/usr/bin/env python3
"""Shows what a fleet survives: ejabberd nodes in one cluster, ECMs in front of them, and clients that count every
message, while nodes and ECMs are drained, killed, stopped and replaced."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import command, fleet, machine
from lab.clients import Clients, Result
from lab.command import say
from lab.ejabberd import Ejabberd
from lab.knocker import Knocker
from lab.lab import ROOT, Lab
from lab.program import LabError, wait

BACK = 30
"""Seconds within which the clients of what was killed are to be back."""
PAUSE = 1
"""Seconds that a client waits at most as its session moves, of 99 in 100."""
IMBALANCE = 0.05
"""By how much of its share a node may differ, ten slow-start times after it is back."""
SETTLED = 3
"""Seconds that messages are sent before anything is done, and after it."""


@dataclass
class Scene:
    """What a scenario has to do with."""

    lab: Lab
    fleet: fleet.Fleet
    clients: Clients
    slow_start: float
    """Seconds that a node gets less than its share, once it is back."""
    stopped: float
    """Seconds that a node is stopped."""


def drain_each_node(scene: Scene, result: Result) -> None:
    """Each node in turn is drained, restarted and readmitted."""
    fleet_ = scene.fleet
    moved = took = 0.0
    for node in fleet_.nodes:
        sessions = fleet_.sessions()[node.name]
        started = time.monotonic()
        fleet_.control("drain", node.name)
        wait(f"node {node.name} has no sessions", lambda node=node: fleet_.sessions()[node.name] == 0, 60)
        seconds = time.monotonic() - started
        moved, took = moved + sessions, took + seconds
        result.notes.append(
            f"node {node.name}        {sessions} sessions moved in {seconds:.1f} s, {sessions / seconds:,.0f} per second"
        )
        node.ejabberd.stop_in_order()
        say(f"node {node.name} is drained and stopped")
        node.ejabberd.start_again()
        node.ejabberd.ready()
        fleet_.control("ready", node.name)
        wait(f"node {node.name} has trunks", lambda node=node: _has_trunks(fleet_, node.name), 30)
        say(f"node {node.name} is back")
    result.figures["moved"] = moved
    result.figures["moved_per_second"] = moved / took
    _even_out(scene, result)
    pause = _quantile([ecm.histogram("move_seconds") for ecm in fleet_.ecms], 0.99)
    result.figures["pause_p99"] = pause
    result.notes.append(f"pause         p99 at most {pause:g} s")
    result.promise(pause <= PAUSE, f"a client waited more than {PAUSE} s (p99) as its session moved")


def _even_out(scene: Scene, result: Result) -> None:
    """Each node has its share again within ten times its slow start."""
    fleet_, started = scene.fleet, time.monotonic()
    # Each ECM evens out its own sessions, and has no half ones.
    rounding = len(fleet_.ecms) * len(fleet_.nodes) / max(1, sum(fleet_.sessions().values()))
    while (imbalance := _imbalance(fleet_)) > IMBALANCE + rounding:
        if time.monotonic() > started + 10 * scene.slow_start:
            break
        time.sleep(0.1)
    took = time.monotonic() - started
    result.figures |= {"imbalance": imbalance, "even_after": took}
    result.notes.append(f"imbalance     {imbalance:.1%} {took:.1f} s after the last node was back")
    result.promise(imbalance <= IMBALANCE + rounding, f"a node's share differs by {imbalance:.1%}")


def kill_a_node(scene: Scene, result: Result) -> None:
    """A node is killed, and started again once its clients are back."""
    node = scene.fleet.nodes[0]
    sessions = scene.fleet.sessions()[node.name]
    node.ejabberd.kill()
    _come_back(scene, result, sessions, f"clients of node {node.name}")
    node.ejabberd.start_again()
    node.ejabberd.ready()
    wait(f"node {node.name} has trunks", lambda: _has_trunks(scene.fleet, node.name), 30)


def kill_an_ecm(scene: Scene, result: Result) -> None:
    """An ECM is killed, and started again once its clients are back."""
    ecm = scene.fleet.ecms[0]
    sessions = sum(ecm.sessions().values())
    ecm.kill()
    _come_back(scene, result, sessions, "clients of an ECM")
    ecm.start_again()
    ecm.wait_for_trunks()


def replace_an_ecm(scene: Scene, result: Result) -> None:
    """A new program takes the place of an ECM, of the one with the most clients."""
    counts = [sum(ecm.sessions().values()) for ecm in scene.fleet.ecms]
    sessions = max(counts)
    at = counts.index(sessions)
    old = scene.fleet.ecms[at]
    knocker = Knocker(old.entrances)
    started = time.monotonic()
    scene.fleet.ecms[at] = fleet.FleetEcm(scene.lab, old.config, replaces=old)
    old.wait_for_end(60)
    took = time.monotonic() - started
    knocker.end()
    result.figures |= {"let_go": sessions, "let_go_seconds": took}
    result.figures |= {"knocked": knocker.knocked, "refused": len(knocker.refused)}
    result.notes.append(f"replaced      {sessions} clients let go in {took:.1f} s")
    result.notes.append(f"new clients   {knocker.knocked} came meanwhile, {len(knocker.refused)} were refused")
    result.promise(not knocker.refused, f"new clients were refused: {', '.join(sorted(set(knocker.refused))[:3])}")


def stop_a_node(scene: Scene, result: Result) -> None:
    """A node is stopped for a while, and goes on."""
    node = scene.fleet.nodes[1]
    sessions = scene.fleet.sessions()[node.name]
    started = time.monotonic()
    node.ejabberd.signal(signal.SIGSTOP)
    try:
        left = {"ejected (silent)", "ejected (logins)", "down"}
        wait(f"node {node.name} is ejected", lambda: _conditions(scene.fleet, node.name) <= left, 30)
        ejected = time.monotonic() - started
        say(f"node {node.name} is ejected")
        time.sleep(max(0.0, started + scene.stopped - time.monotonic()))
    finally:
        node.ejabberd.signal(signal.SIGCONT)
    resumed = time.monotonic()
    well = {"starting", "well"}
    wait(f"node {node.name} is well", lambda: _conditions(scene.fleet, node.name) <= well, 60)
    again = time.monotonic() - resumed
    result.figures |= {"clients": sessions, "ejected": ejected, "well_again": again}
    result.notes.append(f"node {node.name}        ejected after {ejected:.1f} s, well {again:.1f} s after it went on")


def _come_back(scene: Scene, result: Result, count: int, who: str) -> None:
    """Those that don't talk tell."""
    started = time.monotonic()
    # It is noticed within a moment.
    time.sleep(1)

    told = 0.0

    def are_back() -> bool:
        nonlocal told
        missing = scene.clients.missing()
        if missing and time.monotonic() > told + 1:
            told = time.monotonic()
            say(f"{missing} of the clients that don't talk are not back yet")
        return not missing

    wait(f"the {who} are back", are_back, 2 * BACK)
    took = time.monotonic() - started
    result.figures |= {"clients": count, "back": took}
    result.notes.append(f"back          the {count} {who}: all within {took:.1f} s")
    result.promise(took <= BACK, f"the {who} were back after {took:.1f} s, not within {BACK}")


def _has_trunks(fleet_: fleet.Fleet, name: str) -> bool:
    return all(one["trunks"] > 0 for ecm in fleet_.ecms for one in ecm.nodes() if one.get("name") == name)


def _conditions(fleet_: fleet.Fleet, name: str) -> set[str]:
    return {str(one["condition"]) for ecm in fleet_.ecms for one in ecm.nodes() if one.get("name") == name}


def _imbalance(fleet_: fleet.Fleet) -> float:
    """By how much the node with the most sessions has more than its share, or that with the fewest less."""
    counts = fleet_.sessions().values()
    mean = sum(counts) / len(counts)
    return max(abs(count - mean) for count in counts) / mean


def _quantile(histograms: list[dict[float, float]], quantile: float) -> float:
    """The bound that so many of all values don't exceed."""
    bounds = sorted({bound for one in histograms for bound in one})
    sums = [sum(one.get(bound, 0) for one in histograms) for bound in bounds]
    if not sums or not sums[-1]:
        raise LabError("no session has moved")
    return next(bound for bound, count in zip(bounds, sums, strict=True) if count >= quantile * sums[-1])


def _promised(name: str, result: Result) -> None:
    """What is promised of the clients besides that all messages between clients that keep their sessions arrive."""
    clients = result.figures.get("clients", result.figures.get("let_go", 0))
    result.promise(
        result.disconnected <= clients, f"{result.disconnected} clients were disconnected, not {clients:.0f} or fewer"
    )
    if name in ("drain", "kill-ecm", "replace-ecm"):
        result.promise(not result.managed.apart, "sessions with stream management were lost")


SCENARIOS: dict[str, tuple[str, Callable[[Scene, Result], None]]] = {
    "drain": ("each node in turn is drained, restarted and readmitted", drain_each_node),
    "kill-node": ("a node is killed", kill_a_node),
    "kill-ecm": ("an ECM is killed", kill_an_ecm),
    "replace-ecm": ("an ECM is replaced by a new program", replace_an_ecm),
    "stop-node": ("a node is stopped for a while", stop_a_node),
}


def main() -> int:
    """The exit status: 0 if all promises are kept, 1 if one is not, 2 if it can't be shown, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=10_000, metavar="N", help="how many are online [10000]")
    parser.add_argument("--talking", type=int, default=1_000, metavar="N", help="how many of them talk [1000]")
    parser.add_argument("--messages", type=float, default=500, metavar="N", help="messages per second [500]")
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="ejabberd nodes, 2 to 8 [3]")
    parser.add_argument("--ecms", type=int, default=3, metavar="N", help="ECMs, 2 or more [3]")
    parser.add_argument("--slow-start", type=int, default=3, metavar="S", help="seconds of a node's slow start [3]")
    parser.add_argument("--stopped", type=float, default=30, metavar="S", help="seconds that a node is stopped [30]")
    what = "; ".join(f"{name}: {what}" for name, (what, _) in SCENARIOS.items())
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="NAME", help=what)
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go [_build/bench/fleet]")
    command.add_programs(parser)
    arguments = parser.parse_args()
    output = (arguments.output or ROOT / "_build/bench/fleet").resolve()
    return command.run("fleet", arguments, output, lambda lab: _run(arguments, output, lab))


def _run(arguments: argparse.Namespace, output: Path, lab: Lab) -> int:
    about = machine.describe()
    print(f"Megaphone {about['commit']} on {about['cpu']}, {about['cores']} cores, {about['memory']}", flush=True)
    say("nodes and ECMs start")
    # The first has the users, which the others learn of as they join.
    counts = [arguments.users, *[0] * (arguments.nodes - 1)]
    members = [Ejabberd(lab, count, in_cluster=True) for count in counts]
    fleet_ = fleet.start(lab, members, arguments.ecms, arguments.slow_start)
    say("clients log in")
    clients = Clients(lab, fleet_.ecms, arguments.users, arguments.talking)
    print(f"{clients.count:,} clients are online at {len(fleet_.nodes)} nodes through {len(fleet_.ecms)} ECMs\n", flush=True)
    scene = Scene(lab, fleet_, clients, arguments.slow_start, arguments.stopped)
    results: list[Result] = []
    for name in arguments.only:
        what, act = SCENARIOS[name]
        result = Result(name, what)
        results.append(result)
        say(what)

        def act_and_settle(result: Result, act: Callable[[Scene, Result], None] = act) -> None:
            time.sleep(SETTLED)
            act(scene, result)
            time.sleep(SETTLED)

        clients.during(result, arguments.messages, act_and_settle)
        _promised(name, result)
        print(f"{result.text()}\n", flush=True)
        output.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"machine": about, "results": [asdict(one) for one in results]}, indent=1)
        (output / "results.json").write_text(f"{text}\n")
    print(_table(results))
    print(f"results.json is in {output}")
    return 1 if any(one.broken for one in results) else 0


def _table(results: list[Result]) -> str:
    """Lost / doubled / out of order, of messages by and to clients that kept their sessions, and of others."""
    head = ("", "disconnected", "resumed", "sessions kept", "lost, managed", "lost, others", "back", "promises")
    rows = [head]
    for one in results:
        faults = [
            f"{each.lost} / {each.doubled} / {each.reordered}"
            for each in (one.managed.faults + one.unmanaged.faults, one.managed.apart, one.unmanaged.apart)
        ]
        back = f"{one.figures['back']:.1f} s" if "back" in one.figures else ""
        kept = "not kept" if one.broken else "kept"
        rows.append((one.name, f"{one.disconnected}", f"{one.resumed}", *faults, back, kept))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(["messages lost / doubled / out of order", *lines])


if __name__ == "__main__":
    sys.exit(main())
