"""The most messages per second that arrive in time."""

import math
import time
from collections.abc import Callable

from lab.context import Context, settle
from lab.names import MEGAPHONE, PLAIN, TRANSPORTS
from lab.report import Row
from lab.rounds import Better, Comparison, alternating
from lab.swarm import Swarm

_LOGINS_A_SECOND = 400
_IN_TIME = 100
"""Milliseconds that 99 of 100 messages take at most."""
_GROWTH = 1.4
_PRECISION = 1.1
_KEEPS_UP = 0.98
"""The part of the messages asked for that have to be sent: the clients are on the same CPUs."""
_DRAINED_AFTER = 60
"""Seconds after which what was too much has arrived."""


def run(context: Context) -> Row:
    """Each round searches anew, from what the round before has found."""
    plan = context.plan
    variants = (PLAIN, MEGAPHONE)
    most = {
        transport: Comparison(
            f"most messages per second with p99 under {_IN_TIME} ms, {name}", "", PLAIN, Better.HIGHER
        )
        for transport, name in TRANSPORTS.items()
        if transport in plan.capacity_transports
    }
    cases = [(transport, variant) for transport in plan.capacity_transports for variant in variants]
    stage = context.stage(variants, plan.traffic_users)
    for transport, variant in cases:
        context.warm_up(stage.ejabberds[variant], stage.fronts[variant], transport)
    found = dict.fromkeys(cases, plan.capacity_start)
    for number, (transport, variant) in enumerate(alternating(cases, plan.rounds), start=1):
        context.say(f"capacity {number} of {len(cases) * plan.rounds}: {transport}, {variant}")
        swarm = Swarm(context.lab, transport, stage.fronts[variant], plan.traffic_users, rate=_LOGINS_A_SECOND)
        context.all_online(swarm)
        settle()
        rate = search(lambda rate, swarm=swarm: _holds(context, swarm, rate), found[transport, variant])
        found[transport, variant] = rate
        most[transport].add(variant, rate)
        context.dismiss(swarm, stage.ejabberds[variant])
    context.end(stage)
    return Row(
        "capacity",
        f"The most messages per second of which 99 in 100 arrive within {_IN_TIME} ms",
        list(most.values()),
        notes=[f"found to a tenth, by steps of {plan.capacity_seconds} s; the clients run on the same CPUs"],
        settings={"users": plan.traffic_users, "seconds per step": plan.capacity_seconds, "rounds": plan.rounds},
    )


def search(holds: Callable[[float], bool], start: float) -> float:
    """The highest rate found for which something holds, within a tenth of one for which it does not."""
    low, high, rate = 0.0, math.inf, start
    while low == 0 or high / low > _PRECISION:
        if holds(rate):
            low = rate
        else:
            high = rate
        if high == math.inf:
            rate = low * _GROWTH
        elif low == 0:
            rate = high / _GROWTH
        else:
            rate = math.sqrt(low * high)
    return low


def _holds(context: Context, swarm: Swarm, rate: float) -> bool:
    seconds = context.plan.capacity_seconds
    traffic = swarm.traffic(rate, seconds)
    p99 = traffic["latency"]["p99"] / 1e3
    context.say(f"  {rate:,.0f} per second: {traffic['received']:,} of {traffic['sent']:,} came, p99 {p99:,.1f} ms")
    deadline = time.monotonic() + _DRAINED_AFTER
    while (status := swarm.status())["received"] < status["sent"] and time.monotonic() < deadline:
        settle()
    settle()
    return not traffic["lost"] and traffic["sent"] >= _KEEPS_UP * rate * seconds and p99 < _IN_TIME
