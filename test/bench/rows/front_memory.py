"""Memory an idle WebSocket client of what stands in front of ejabberd: the ECM, nginx, HAProxy."""

from collections.abc import Iterator

from lab.context import HAPROXY, MEGAPHONE, NGINX, Context
from lab.ejabberd import Ejabberd
from lab.interleave import Waiting, interleave
from lab.report import Row
from lab.rounds import Comparison, alternating
from lab.swarm import Swarm

_LOGINS_A_SECOND = 500
_FIRST_USERS = 20
"""They make a front load and allocate what it does but once."""
_MOMENTS = ("right after login", "after a quiet minute")
_CASES = [(variant, tls) for tls in (False, True) for variant in (NGINX, HAPROXY, MEGAPHONE)]


def run(context: Context) -> Row:
    """One ejabberd stands behind all of them. Each measurement starts its proxy or ECM anew."""
    plan = context.plan
    names = {False: "WebSocket", True: "WebSocket with TLS"}
    comparisons = {
        (tls, moment): Comparison(f"RSS of the front a client, {names[tls]}, {moment}", "KB", NGINX, is_headline=moment == _MOMENTS[1])
        for moment in reversed(_MOMENTS)
        for tls in names
    }
    most = plan.memory_users * plan.memory_at_once
    ejabberd = Ejabberd(context.lab, most + _FIRST_USERS)

    def measure(number: int, variant: str, tls: bool) -> Waiting:
        front = context.front(variant, ejabberd)
        address = front.entrances.address("websocket", tls)
        first = Swarm(context.lab, "websocket", address, _FIRST_USERS, first=most, tls=tls)
        first.all_online()
        first.leave()
        context.lab.end(first)
        yield plan.memory_warm_up / 5
        before = front.resident()
        swarm = Swarm(
            context.lab,
            "websocket",
            address,
            plan.memory_users,
            # Those who measure at the same time have other users.
            first=number % plan.memory_at_once * plan.memory_users,
            tls=tls,
            rate=_LOGINS_A_SECOND,
        )
        swarm.all_online()
        for moment in _MOMENTS:
            comparisons[tls, moment].add(variant, (front.resident() - before) / plan.memory_users / 1000)
            if moment == _MOMENTS[0]:
                yield plan.quiet
        context.lab.end(swarm, front)

    def measurements() -> Iterator[Waiting]:
        for number, (variant, tls) in enumerate(alternating(_CASES, plan.rounds)):
            context.say(f"front memory {number + 1} of {len(_CASES) * plan.rounds}: {variant}, {names[tls]}")
            yield measure(number, variant, tls)

    # All their users are at one ejabberd, which may have as many connections as the system allows.
    connections = context.lab.descriptors - 2000
    interleave(measurements(), max(1, min(plan.memory_at_once, connections // plan.memory_users)))
    context.lab.end(ejabberd)
    return Row(
        "front-memory",
        "Memory an idle client of what stands in front of ejabberd",
        list(comparisons.values()),
        settings={"clients": plan.memory_users, "quiet seconds": plan.quiet, "rounds": plan.rounds},
    )
