"""Logins per second, one after the other as fast as they go."""

from lab.context import Context
from lab.names import MEGAPHONE, PLAIN, TRANSPORTS
from lab.report import Row
from lab.rounds import Better, Comparison, alternating
from lab.swarm import Swarm

_AT_ONCE = 100
_CASES = [(transport, variant) for transport in TRANSPORTS for variant in (PLAIN, MEGAPHONE)]


def run(context: Context) -> Row:
    """As soon as one of so many logins at work is done, the next one begins."""
    plan = context.plan
    rates = {
        transport: Comparison(
            f"logins per second, {name}", "", PLAIN, Better.HIGHER, is_prominent=transport == "websocket"
        )
        for transport, name in TRANSPORTS.items()
    }
    costs = {
        transport: Comparison(f"CPU per login, {name}", "us", PLAIN, is_headline=False)
        for transport, name in TRANSPORTS.items()
    }
    stage = context.stage((PLAIN, MEGAPHONE), plan.logins)
    for transport, variant in _CASES:
        context.warm_up(stage.ejabberds[variant], stage.fronts[variant], transport)
    for number, (transport, variant) in enumerate(alternating(_CASES, plan.rounds), start=1):
        context.say(f"logins {number} of {len(_CASES) * plan.rounds}: {transport}, {variant}")
        before = stage.cpu_seconds(variant)
        swarm = Swarm(context.lab, transport, stage.fronts[variant], plan.logins, at_once=_AT_ONCE)
        online = context.all_online(swarm)
        rates[transport].add(variant, online["per_second"])
        costs[transport].add(variant, (stage.cpu_seconds(variant) - before) / plan.logins * 1e6)
        context.dismiss(swarm, stage.ejabberds[variant])
    context.end(stage)
    return Row(
        "logins",
        "Logins per second",
        [*rates.values(), *costs.values()],
        notes=["the clients log in on the same CPUs"],
        settings={"users": plan.logins, "at once": _AT_ONCE, "rounds": plan.rounds},
    )
