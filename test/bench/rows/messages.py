"""CPU and latency of a delivered message."""

import time
from dataclasses import dataclass

from lab.context import Context, settle
from lab.names import MEGAPHONE_HTTP, PLAIN, TRANSPORTS
from lab.report import Row
from lab.rounds import Comparison, alternating
from lab.swarm import Swarm

_LOGINS_A_SECOND = 400


@dataclass(frozen=True)
class _Case:
    transport: str
    variant: str


_QUANTITIES = {
    "CPU per message": "us",
    "latency p50": "ms",
    "latency p99": "ms",
    "CPU while all are idle": "ms per second",
}


def run(context: Context) -> Row:
    """The ejabberds and all that stands in front of them run side by side; one way is used at a time."""
    plan = context.plan
    comparisons = {
        (transport, quantity): Comparison(
            f"{quantity}, {name}", unit, PLAIN, is_headline=quantity != "CPU while all are idle"
        )
        for quantity, unit in _QUANTITIES.items()
        for transport, name in TRANSPORTS.items()
    }
    cases = [
        _Case(transport, variant)
        for transport in TRANSPORTS
        for variant in plan.traffic_variants
        # In HTTP mode an XML stream is relayed as bytes.
        if (transport, variant) != ("tcp", MEGAPHONE_HTTP)
    ]
    stage = context.stage(plan.traffic_variants, plan.traffic_users)
    for case in cases:
        context.say(f"messages, warming up: {case.transport}, {case.variant}")
        context.warm_up(stage.ejabberds[case.variant], stage.fronts[case.variant], case.transport)
    for number, case in enumerate(alternating(cases, plan.rounds), start=1):
        context.say(f"messages {number} of {len(cases) * plan.rounds}: {case.transport}, {case.variant}")
        swarm = Swarm(context.lab, case.transport, stage.fronts[case.variant], plan.traffic_users, rate=_LOGINS_A_SECOND)
        context.all_online(swarm)
        settle()
        start = stage.cpu_seconds(case.variant)
        time.sleep(plan.idle_seconds)
        before = stage.cpu_seconds(case.variant)
        traffic = swarm.traffic(plan.traffic_rate, plan.traffic_seconds)
        used = stage.cpu_seconds(case.variant) - before
        if traffic["lost"] or traffic["doubled"]:
            context.troubles.append(
                f"{swarm.description}: {traffic['lost']} of {traffic['sent']} messages were lost, "
                f"{traffic['doubled']} came twice"
            )
        for quantity, value in {
            "CPU per message": used / traffic["received"] * 1e6,
            "latency p50": traffic["latency"]["p50"] / 1e3,
            "latency p99": traffic["latency"]["p99"] / 1e3,
            "CPU while all are idle": (before - start) / plan.idle_seconds * 1e3,
        }.items():
            comparisons[case.transport, quantity].add(case.variant, value)
        context.dismiss(swarm, stage.ejabberds[case.variant])
    context.end(stage)
    return Row(
        "messages",
        "A delivered message: CPU of ejabberd and of what stands in front of it, and latency",
        list(comparisons.values()),
        settings={
            "users": plan.traffic_users,
            "messages per second": plan.traffic_rate,
            "seconds": plan.traffic_seconds,
            "rounds": plan.rounds,
        },
    )
