"""What a row of the bench gets."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from .ecm import Ecm, Mode
from .ejabberd import Ejabberd
from .fronts import Front, haproxy, nginx
from .lab import Lab
from .plan import Plan
from .swarm import Swarm

PLAIN = "plain ejabberd"
NGINX = "nginx in front"
HAPROXY = "HAProxy in front"
MEGAPHONE_HTTP = "Megaphone, HTTP mode"
MEGAPHONE = "Megaphone"
COLUMNS = [PLAIN, NGINX, HAPROXY, MEGAPHONE_HTTP, MEGAPHONE]
"""The variants, in the order of the summary."""

TRANSPORTS = {"bosh": "BOSH", "websocket": "WebSocket", "tcp": "TCP"}
"""The swarm's transports, and how people call them."""


_FIRST_USERS = 20


@dataclass
class Context:
    """The laboratory, how much to measure, and where progress is told."""

    lab: Lab
    plan: Plan

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def front(self, variant: str, ejabberd: Ejabberd) -> Ejabberd | Ecm | Front:
        """What clients of a variant connect to: the ejabberd itself, or what is started in front of it."""
        if variant == PLAIN:
            return ejabberd
        return _FRONTS[variant](self.lab, ejabberd)

    def warm_up(self, ejabberd: Ejabberd, front: Ejabberd | Ecm | Front, transport: str) -> None:
        """A few users come, chat and go, so that code is loaded and connections are up that stay."""
        swarm = Swarm(self.lab, transport, front.entrances.address(transport), _FIRST_USERS)
        swarm.all_online()
        swarm.traffic(100, 0.5)
        self.dismiss(swarm, ejabberd)

    def dismiss(self, swarm: Swarm, ejabberd: Ejabberd) -> None:
        """Makes a swarm leave, and waits until ejabberd is done with its users."""
        swarm.leave()
        self.lab.end(swarm)
        ejabberd.wait_until("nobody is online", lambda: ejabberd.memory()["sessions"] == 0)


_FRONTS: dict[str, Callable[[Lab, Ejabberd], Ecm | Front]] = {
    NGINX: nginx,
    HAPROXY: haproxy,
    MEGAPHONE_HTTP: lambda lab, ejabberd: Ecm(lab, ejabberd, Mode.HTTP),
    MEGAPHONE: Ecm,
}


def cpu_seconds(*programs: Ejabberd | Ecm | Front) -> float:
    """User and system time of different programs together; one that is named twice counts once."""
    return sum(program.cpu_seconds() for program in {program.pid: program for program in programs}.values())


def settle(seconds: float = 1) -> None:
    """A pause in which a server finishes what logins left to do."""
    time.sleep(seconds)
