"""CPU of what clients do when they say nothing: they show that they are there, ask, and change their presence."""

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from lab.context import Context, settle
from lab.ejabberd import Ejabberd
from lab.names import MEGAPHONE, PLAIN, TRANSPORTS
from lab.report import Row
from lab.rounds import Comparison, alternating
from lab.server import Server
from lab.swarm import Swarm

_LOGINS_A_SECOND = 400
_VARIANTS = (PLAIN, MEGAPHONE)
_SLEEP = 6
"""Seconds between two turns of a client whose session sleeps: a second more than `hibernate_after`."""
_FEW = 20
"""Clients who have all the turns, so that their sessions don't sleep."""
_IDLE_SAMPLES = 5
"""Seconds of which each is looked at by itself."""
_CONTACTS = 10
_GROUP = _CONTACTS + 1
_KEEP_ALIVE = {"bosh": "BOSH request in place of the one that is held", "websocket": "WebSocket ping", "tcp": "white space"}
_ASLEEP = {True: "asleep", False: "awake"}


@dataclass(frozen=True)
class _Activity:
    """One of megaphone-swarm's, and which of the swarms does it."""

    name: str
    of_swarm: str


_ACTIVITIES = (
    _Activity("keep-alive", "alone"),
    _Activity("acknowledgement", "managed"),
    _Activity("ping", "alone"),
    _Activity("presence", "contacts"),
)
_SWARMS: dict[str, tuple[str, ...]] = {"alone": (), "managed": ("--stream-management",), "contacts": ()}
"""The swarms of each variant, with what they need. They are as large as each other."""


def run(context: Context) -> Row:
    """All clients of a transport are online together, at an ejabberd for each variant; some do something, in turn."""
    plan = context.plan
    users = plan.activity_users // _GROUP * _GROUP
    comparisons = {
        (transport, activity.name, asleep): Comparison(
            f"CPU per {_text(activity.name, transport)}, session {_ASLEEP[asleep]}", "us", PLAIN
        )
        for transport in plan.activity_transports
        for activity in _ACTIVITIES
        for asleep in _ASLEEP
    }
    stage = context.stage(_VARIANTS, users * len(_SWARMS))
    for one in stage.ejabberds.values():
        one.make_contacts(list(_SWARMS).index("contacts") * users, users // _GROUP, _GROUP)
    for transport in plan.activity_transports:
        swarms = {
            variant: _swarms(context, stage.ejabberds[variant], stage.fronts[variant], transport, users)
            for variant in _VARIANTS
        }
        time.sleep(_SLEEP)
        for number, variant in enumerate(alternating(_VARIANTS, plan.rounds), start=1):
            context.say(f"activities {number} of {len(_VARIANTS) * plan.rounds}: {transport}, {variant}")
            cpu = functools.partial(stage.cpu_seconds, variant)
            idle = _idle(cpu)
            for asleep in _ASLEEP:
                for activity in _ACTIVITIES:
                    swarm = swarms[variant][activity.of_swarm]
                    cost = _measure(context, swarm, activity.name, asleep, cpu, idle)
                    comparisons[transport, activity.name, asleep].add(variant, cost)
                # Who has just been told of a presence does not sleep yet.
                time.sleep(_SLEEP)
        for variant in _VARIANTS:
            for swarm in swarms[variant].values():
                swarm.leave(within=30)
                context.lab.end(swarm)
            stage.ejabberds[variant].disconnect_all()
    context.end(stage)
    return Row(
        "activities",
        "What clients do besides messages: CPU of ejabberd and of what stands in front of it",
        list(comparisons.values()),
        notes=[
            "less what was used while all were idle; plain ejabberd's sessions never sleep",
            f"of clients whose sessions sleep each has its turn every {_SLEEP} s; of the others, {_FEW} have all turns",
            f"a presence is delivered to {_CONTACTS} contacts, whose sessions sleep if the sender's does",
        ],
        settings={"users": users * len(_SWARMS), "rounds": plan.rounds},
    )


def _text(activity: str, transport: str) -> str:
    texts = {
        "keep-alive": _KEEP_ALIVE[transport],
        "acknowledgement": f"<r/> (XEP-0198), {TRANSPORTS[transport]}",
        "ping": f"ping to the server (XEP-0199), {TRANSPORTS[transport]}",
        "presence": f"presence to {_CONTACTS} contacts, {TRANSPORTS[transport]}",
    }
    return texts[activity]


def _swarms(context: Context, ejabberd: Ejabberd, front: Server, transport: str, users: int) -> dict[str, Swarm]:
    context.warm_up(ejabberd, front, transport)
    swarms = {}
    for number, (name, more) in enumerate(_SWARMS.items()):
        swarms[name] = Swarm(
            context.lab, transport, front, users, first=number * users, rate=_LOGINS_A_SECOND, more=more
        )
        context.all_online(swarms[name])
    return swarms


def _idle(cpu: Callable[[], float]) -> float:
    """CPU per second of who is idle: the median, as what is done once a minute may fall into one of the seconds."""
    samples = []
    for _ in range(_IDLE_SAMPLES):
        before = cpu()
        time.sleep(1)
        samples.append(cpu() - before)
    return statistics.median(samples)


def _measure(
    context: Context, swarm: Swarm, activity: str, asleep: bool, cpu: Callable[[], float], idle: float
) -> float:
    """Microseconds of CPU of one time."""
    size = _GROUP if activity == "presence" else 1
    groups = swarm.users // size
    rate = groups / _SLEEP
    if asleep:
        # Sessions fall asleep again while others have their turns: from the second time on that is all in the measure.
        swarm.act(activity, rate, _SLEEP, groups, size)
    started, before = time.monotonic(), cpu()
    acted = swarm.act(activity, rate, _SLEEP if asleep else _SLEEP / 2, groups if asleep else min(_FEW, groups), size)
    settle(0.2)
    used = cpu() - before - idle * (time.monotonic() - started)
    if acted["answered"] != acted["expected"]:
        context.troubles.append(
            f"{swarm.description}: {acted['answered']} of {acted['expected']} answers came to {activity}"
        )
    return used / acted["done"] * 1e6
