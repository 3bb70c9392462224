"""Memory per idle WebSocket client of what stands in front of ejabberd: the ECM, nginx, HAProxy."""

from collections.abc import Iterator

from lab.context import Context
from lab.ejabberd import Ejabberd
from lab.interleave import Waiting, interleave
from lab.names import HAPROXY, MEGAPHONE, NGINX
from lab.report import Row
from lab.rounds import Comparison, alternating
from lab.swarm import Swarm

_LOGINS_A_SECOND = 800
_START = 3
"""Seconds that an ejabberd takes to start; meanwhile others are measured."""
_MOMENTS = ("right after login", "after a quiet minute")
_CASES = [(variant, tls) for tls in (False, True) for variant in (NGINX, HAPROXY, MEGAPHONE)]


def run(context: Context) -> Row:
    """Each measurement has a proxy or ECM of its own, with an ejabberd behind it."""
    plan = context.plan
    names = {False: "WebSocket", True: "WebSocket with TLS"}
    comparisons = {
        (tls, moment): Comparison(
            f"RSS of the front per client, {names[tls]}, {moment}",
            "KB",
            NGINX,
            is_headline=moment == _MOMENTS[1],
            is_prominent=moment == _MOMENTS[1],
        )
        for moment in reversed(_MOMENTS)
        for tls in names
    }

    def measure(variant: str, tls: bool) -> Waiting:
        ejabberd = Ejabberd(context.lab, plan.memory_users)
        yield _START
        front = context.front(variant, ejabberd.ready())
        context.warm_up(ejabberd, front, "websocket", tls)
        yield plan.memory_warm_up / 5
        before = front.resident()
        swarm = Swarm(context.lab, "websocket", front, plan.memory_users, tls=tls, rate=_LOGINS_A_SECOND)
        context.all_online(swarm)
        for moment in _MOMENTS:
            comparisons[tls, moment].add(variant, (front.resident() - before) / plan.memory_users / 1000)
            if moment == _MOMENTS[0]:
                yield plan.quiet
        context.lab.end(swarm, front, ejabberd)

    def measurements() -> Iterator[Waiting]:
        for number, (variant, tls) in enumerate(alternating(_CASES, plan.rounds), start=1):
            context.say(f"front memory {number} of {len(_CASES) * plan.rounds}: {variant}, {names[tls]}")
            yield measure(variant, tls)

    interleave(measurements(), context.ejabberds_at_once(), apart=_START)
    return Row(
        "front-memory",
        "Memory per idle client of what stands in front of ejabberd",
        list(comparisons.values()),
        settings={"clients": plan.memory_users, "quiet seconds": plan.quiet, "rounds": plan.rounds},
    )
