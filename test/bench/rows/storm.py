"""A crowd that logs in at once."""

from lab.context import Context
from lab.ejabberd import BACKLOG
from lab.names import MEGAPHONE, PLAIN, TRANSPORTS
from lab.report import Row
from lab.rounds import Better, Comparison, alternating
from lab.swarm import Swarm

_DEFAULT_BACKLOG = 5


def run(context: Context) -> Row:
    """Each measurement has an ejabberd of its own."""
    plan = context.plan
    crowds = {transport: context.lab.crowd(plan.storm_users, transport) for transport in plan.storm_transports}
    backlogs = {BACKLOG: "", _DEFAULT_BACKLOG: f"; plain with its default backlog, {_DEFAULT_BACKLOG}"}

    def name(transport: str) -> str:
        return f"{crowds[transport]:,} log in at once, {TRANSPORTS[transport]}"

    within = f"{plan.storm_seconds:.0f} s"
    online = {
        (transport, backlog): Comparison(f"online {within} after {name(transport)}{but}", "", PLAIN, Better.HIGHER)
        for transport in crowds
        for backlog, but in backlogs.items()
    }
    took = {
        transport: Comparison(
            f"{name(transport)}: time, {within} at most", "s", PLAIN, is_prominent=transport == "websocket"
        )
        for transport in crowds
    }
    cases = [
        (transport, variant, backlog)
        for transport in crowds
        for variant, backlog in ((PLAIN, BACKLOG), (PLAIN, _DEFAULT_BACKLOG), (MEGAPHONE, BACKLOG))
    ]
    for number, (transport, variant, backlog) in enumerate(alternating(cases, plan.rounds), start=1):
        context.say(f"storm {number} of {len(cases) * plan.rounds}: {transport}, {variant}, backlog {backlog}")
        given = None if backlog == _DEFAULT_BACKLOG else backlog
        users = crowds[transport]
        ejabberd = context.ejabberd(variant, users, backlog=given).ready()
        front = context.front(variant, ejabberd)
        swarm = Swarm(context.lab, transport, front, users)
        count, seconds = swarm.online_after(plan.storm_seconds)
        context.lab.end(swarm, *{front.pid: front, ejabberd.pid: ejabberd}.values())
        # Megaphone's trunks need no backlog, so it stands beside either.
        for compared in backlogs if variant == MEGAPHONE else (backlog,):
            online[transport, compared].add(variant, count)
        if backlog == BACKLOG:
            took[transport].add(variant, seconds)
    return Row(
        "storm",
        "A crowd that logs in at once",
        [*online.values(), *took.values()],
        settings={"users": plan.storm_users, "rounds": plan.rounds},
    )
