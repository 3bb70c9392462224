"""A swarm of clients, told what to do."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from .lab import Lab
from .program import LabError, Program
from .server import Server

Event = dict[str, Any]
"""A line of JSON from megaphone-swarm; see native/swarm/src/control.rs."""


class Swarm(Program):
    """A running megaphone-swarm. Its users begin to log in at once."""

    def __init__(
        self,
        lab: Lab,
        transport: str,
        server: Server | Sequence[Server],
        users: int,
        *,
        first: int = 0,
        tls: bool = False,
        rate: float = 0,
        at_once: int = 1_000_000,
        more: tuple[str, ...] = (),
    ) -> None:
        """`rate` logins per second are begun, 0 is all at once, and no more than `at_once` are at work.

        Of several servers, connections go to each in turn. `more` are further options of megaphone-swarm.
        """
        servers = [server] if isinstance(server, Server) else server
        self.users, self.transport, self.tls = users, transport, tls
        self.description = f"{users} users by {transport}{' with TLS' if tls else ''} at {servers[0].name}"
        options = [
            *("--control", "--transport", transport),
            *(f"--connect={one.entrances.address(transport, tls)}" for one in servers),
            *("--users", str(users), "--first", str(first)),
            *("--login-rate", str(rate), "--logins-at-once", str(at_once)),
            *(["--starttls" if transport == "tcp" else "--tls"] if tls else []),
            *more,
        ]
        self._started = time.monotonic()
        self._is_settled = False
        self._status: Event = {"online": 0, "failed": 0, "broken": 0}
        super().__init__("megaphone-swarm", [lab.built.swarm, *options], lab.folder("swarm"))
        lab.keep(self)

    def all_online(self, within: float = 300, look: Callable[[int], None] = lambda online: None) -> Event:
        """Waits until all are online, and says how that went; `look` hears each second how many are.

        More than one in a hundred logins that fail are a LabError.
        """
        deadline = time.monotonic() + within
        while (event := self._event(deadline - time.monotonic()))["event"] != "online":
            look(event["online"])
        self._is_settled = True
        if event["online"] < 0.99 * self.users:
            errors = (self.leave() or {}).get("errors")
            raise LabError(f"{event['online']} of {self.users} users are online, as there were {errors}")
        return event

    def status(self) -> Event:
        """How many are `online`, and how many connections were lost (`broken`), also while users log in."""
        if self._is_settled:
            self.tell("status")
            self._status = self._event(60)
        while not self._is_settled and (line := self.line(0.01)) is not None:
            event = json.loads(line)
            self._is_settled = event["event"] == "online"
            self._status = {"broken": 0, **self._status, **event}
        return self._status

    @property
    def is_settled(self) -> bool:
        """Whether all who began to log in are online, as `status` has found."""
        return self._is_settled

    def enough(self) -> None:
        """Users who have not begun to log in don't; `status` has the number of the others then, as `users`."""
        self.tell("enough")

    def online_after(self, seconds: float) -> tuple[int, float]:
        """How many are online so many seconds after the start, and when that was looked at; earlier if all are."""
        online = 0
        while (left := self._started + seconds - time.monotonic()) > 0:
            if (line := self.line(left)) is None:
                break
            event = json.loads(line)
            online = event["online"]
            if event["event"] == "online":
                break
        return online, time.monotonic() - self._started

    def traffic(self, rate: float, seconds: float) -> Event:
        """Messages between partners, so many per second over all. Says how many came, and their latency."""
        self.begin_traffic(rate, seconds)
        return self.end_traffic(seconds + 30)

    def act(self, activity: str, rate: float, seconds: float, groups: int, size: int = 1) -> Event:
        """One of megaphone-swarm's activities, so often per second, by the first user of each group in turn.

        Says how often it was `done`, and how many answers are `expected` and `answered`.
        """
        self.tell(f"act {activity} {rate} {seconds} {groups} {size}")
        return self._event(seconds + 30)

    def random_traffic(self, rate: float, seconds: float) -> Event:
        """Messages from any user to any other, so many per second. Says how many came, and their latency."""
        self.tell(f"random {rate} {seconds}")
        return self._event(seconds + 60)

    def begin_traffic(self, rate: float, seconds: float) -> None:
        """Tells it to; `end_traffic` says what came of it."""
        self.tell(f"traffic {rate} {seconds}")

    def stop_traffic(self) -> None:
        """Ends it early; `end_traffic` says what came of it."""
        self.tell("stop")

    def end_traffic(self, within: float) -> Event:
        """Waits for the end of the traffic."""
        return self._event(within)

    def leave(self, within: float = 60) -> Event | None:
        """Makes everybody leave, and says what went wrong meanwhile; None if some do not get out."""
        self.begin_to_leave()
        return self.has_left(within)

    def begin_to_leave(self) -> None:
        """Makes everybody leave; `has_left` waits for it."""
        self.tell("end")

    def has_left(self, within: float) -> Event | None:
        """As `leave`, once that has begun."""
        line = self.line(within)
        return json.loads(line) if line else None

    def _event(self, within: float) -> Event:
        line = self.line(max(within, 0))
        if line is None:
            raise LabError(f"megaphone-swarm says nothing within {within:.0f} s; see {self.log}")
        event: Event = json.loads(line)
        return event
