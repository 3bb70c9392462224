"""What a row of the bench gets."""

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .ecm import Ecm, Mode
from .ejabberd import BACKLOG, Ejabberd
from .fronts import haproxy, nginx
from .lab import Lab
from .names import HAPROXY, MEGAPHONE, MEGAPHONE_HTTP, NGINX, PLAIN, PLAIN_TABLE
from .plan import Plan
from .server import Server
from .swarm import Event, Swarm

_FIRST_USERS = 20
_WITH_OWN_TABLE = (MEGAPHONE, PLAIN_TABLE)
"""The variants whose ejabberd has `sm_db_type: megaphone`."""
_PLAIN_USER = 130_000
"""Bytes that a user of plain ejabberd and its client take at most."""
_EJABBERD = 200_000_000
"""Bytes of an ejabberd without users."""


@dataclass(frozen=True)
class Stage:
    """All variants of a row side by side, of which one is used at a time."""

    ejabberds: dict[str, Ejabberd]
    """Variants that are set up alike have the same."""
    fronts: dict[str, Server]
    """What clients connect to."""

    def cpu_seconds(self, variant: str) -> float:
        """User and system time of all processes of a variant."""
        return cpu_seconds(self.ejabberds[variant], self.fronts[variant])


@dataclass
class Context:
    """The laboratory, how much to measure, and where progress is told."""

    lab: Lab
    plan: Plan
    troubles: list[str] = field(default_factory=list)
    """What went wrong with clients and ended no measurement; each row takes those of its time."""

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def ejabberd(
        self, variant: str, users: int, *, backlog: int | None = BACKLOG, environment: Mapping[str, str] | None = None
    ) -> Ejabberd:
        """Begins to start the ejabberd of a variant."""
        own_table = variant in _WITH_OWN_TABLE
        return Ejabberd(self.lab, users, backlog=backlog, environment=environment, own_table=own_table)

    def stage(self, variants: Sequence[str], users: int) -> Stage:
        """Starts what variants need."""
        of_table = {one: self.ejabberd(one, users) for one in dict.fromkeys(map(_table, variants))}
        ejabberds = {variant: of_table[_table(variant)] for variant in variants}
        for one in of_table.values():
            one.ready()
        return Stage(ejabberds, {variant: self.front(variant, one) for variant, one in ejabberds.items()})

    def end(self, stage: Stage) -> None:
        """Ends all of it."""
        self.lab.end(*{one.pid: one for one in (*stage.fronts.values(), *stage.ejabberds.values())}.values())

    def front(self, variant: str, ejabberd: Ejabberd) -> Server:
        """What clients of a variant connect to: the ejabberd itself, or what is started in front of it."""
        if variant in (PLAIN, PLAIN_TABLE):
            return ejabberd
        return _FRONTS[variant](self.lab, ejabberd)

    def ejabberds_at_once(self) -> int:
        """How many ejabberds with idle users the machine's free memory has room for."""
        each = self.plan.memory_users * _PLAIN_USER + _EJABBERD
        free = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        room = int(free[1]) * 1024 // 2 // each if free else 1
        return max(1, min(room, self.plan.memory_at_once))

    def all_online(self, swarm: Swarm) -> Event:
        """Waits until a swarm is online. Some logins may fail, as with plain mod_bosh, and are noted."""
        online = swarm.all_online()
        if online["failed"]:
            self.troubles.append(f"{swarm.description}: {online['failed']} logins failed")
        return online

    def warm_up(self, ejabberd: Ejabberd, server: Server, transport: str, tls: bool = False) -> None:
        """A few users come, chat and go, so that code is loaded and connections are up that stay."""
        swarm = Swarm(self.lab, transport, server, _FIRST_USERS, tls=tls)
        self.all_online(swarm)
        swarm.traffic(100, 0.5)
        self.dismiss(swarm, ejabberd)

    def dismiss(self, swarm: Swarm, ejabberd: Ejabberd) -> None:
        """Makes a swarm leave, and waits until ejabberd is done with its users."""
        end = swarm.leave(within=10)
        if not end:
            self.troubles.append(f"{swarm.description}: some did not get out")
        elif end["broken"]:
            self.troubles.append(f"{swarm.description}: {end['broken']} connections were lost, {end['errors']}")
        self.lab.end(swarm)
        # ejabberd misses a BOSH client that is gone without a word only after a while. mod_bosh itself (23.01)
        # can leave one without an answer, and with it a message: when a request overtakes the one before it.
        ejabberd.disconnect_all()
        ejabberd.wait_until("nobody is online", lambda: ejabberd.memory()["sessions"] == 0)


_FRONTS: dict[str, Callable[[Lab, Ejabberd], Server]] = {
    NGINX: nginx,
    HAPROXY: haproxy,
    MEGAPHONE_HTTP: lambda lab, ejabberd: Ecm(lab, ejabberd, Mode.HTTP),
    MEGAPHONE: Ecm,
}


def _table(variant: str) -> str:
    """A variant with the same table of sessions."""
    return MEGAPHONE if variant in _WITH_OWN_TABLE else PLAIN


def cpu_seconds(*programs: Server) -> float:
    """User and system time of different programs together; one that is named twice counts once."""
    return sum(program.cpu_seconds() for program in {program.pid: program for program in programs}.values())


def settle(seconds: float = 1) -> None:
    """A pause in which a server finishes what logins left to do."""
    time.sleep(seconds)
