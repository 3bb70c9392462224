"""A crowd that logs in at once."""

from lab.context import Context
from lab.ejabberd import BACKLOG, Ejabberd
from lab.names import MEGAPHONE, PLAIN, TRANSPORTS
from lab.report import Row
from lab.rounds import Better, Comparison, alternating
from lab.swarm import Swarm

_DEFAULT_BACKLOG = 5


def run(context: Context) -> Row:
    """Each measurement has an ejabberd of its own."""
    plan = context.plan
    transports = {transport: TRANSPORTS[transport] for transport in plan.storm_transports}
    backlogs = {BACKLOG: "", _DEFAULT_BACKLOG: f"; plain with its default backlog, {_DEFAULT_BACKLOG}"}
    crowd = f"{plan.storm_users:,} log in at once"
    within = f"{plan.storm_seconds:.0f} s"
    online = {
        (transport, backlog): Comparison(f"online {within} after {crowd}, {name}{but}", "", PLAIN, Better.HIGHER)
        for transport, name in transports.items()
        for backlog, but in backlogs.items()
    }
    took = {
        transport: Comparison(f"{crowd}, {name}: time, {within} at most", "s", PLAIN)
        for transport, name in transports.items()
    }
    cases = [
        (transport, variant, backlog)
        for transport in transports
        for variant, backlog in ((PLAIN, BACKLOG), (PLAIN, _DEFAULT_BACKLOG), (MEGAPHONE, BACKLOG))
    ]
    for number, (transport, variant, backlog) in enumerate(alternating(cases, plan.rounds), start=1):
        context.say(f"storm {number} of {len(cases) * plan.rounds}: {transport}, {variant}, backlog {backlog}")
        given = None if backlog == _DEFAULT_BACKLOG else backlog
        ejabberd = Ejabberd(context.lab, plan.storm_users, backlog=given).ready()
        front = context.front(variant, ejabberd)
        swarm = Swarm(context.lab, transport, front, plan.storm_users)
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
