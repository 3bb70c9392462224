"""Clients that count every message: by all transports, a third with TLS, half with stream management. Some talk, the
others are online and say when they are back."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from .counts import Counts
from .lab import Lab
from .program import LabError
from .server import Server
from .swarm import Swarm

Kind = tuple[str, bool, bool]

KINDS: tuple[Kind, ...] = (
    # Transport, TLS, stream management.
    ("tcp", False, True),
    ("tcp", True, False),
    ("websocket", False, False),
    ("websocket", True, True),
    ("bosh", False, True),
    ("bosh", False, False),
)
_PATIENCE = 1.1
"""Seconds that a client waits before it connects again. Of two sessions of a user that began within the same second, at
different nodes, ejabberd may take the older one for the newer."""
_AT_MOST = 3600
"""Seconds that messages are sent at most, if nobody says stop."""
_LAST_MESSAGES = 180
"""Seconds within which a swarm has said what became of its messages."""


@dataclass
class Result:
    """What became of the clients while something was done."""

    name: str
    what: str
    seconds: float = 0
    """That messages were sent."""
    managed: Counts = field(default_factory=Counts)
    """Messages of clients with stream management, to each other."""
    unmanaged: Counts = field(default_factory=Counts)
    """Those of clients without it."""
    each: dict[str, Counts] = field(default_factory=dict)
    """The same by transport, TLS and stream management."""
    disconnected: int = 0
    """Sessions that lost their connection."""
    resumed: int = 0
    """Those of them that went on by stream management."""
    latency_p99: float = 0
    """Milliseconds, of the worst kind of client."""
    latency_max: float = 0
    figures: dict[str, float] = field(default_factory=dict)
    """What was measured besides."""
    errors: dict[str, int] = field(default_factory=dict)
    """What clients were told as they lost their connections, or did not get in, and how often."""
    notes: list[str] = field(default_factory=list)
    """The same in words."""
    broken: list[str] = field(default_factory=list)
    """The promises that were not kept."""

    def promise(self, holds: bool, otherwise: str) -> None:
        """Notes a promise that was not kept."""
        if not holds:
            self.broken.append(otherwise)

    def text(self) -> str:
        """For people."""
        lines = [
            f"messages      with stream management: {self.managed.text()}",
            f"              without: {self.unmanaged.text()}",
            f"              for {self.seconds:.0f} s; p99 {self.latency_p99:.0f} ms, at most {self.latency_max:.0f} ms",
            f"clients       {self.disconnected} disconnected, {self.resumed} of these resumed their streams",
            *self.notes,
            *(f"told          {count} {error}" for error, count in self.errors.items()),
            *(f"NOT KEPT      {one}" for one in self.broken),
        ]
        return "\n".join([f"== {self.what}", *(f"  {line}" for line in lines)])


class Clients:
    """All of them."""

    def __init__(
        self,
        lab: Lab,
        servers: Sequence[Server],
        users: int,
        talking: int,
        *,
        kinds: Sequence[Kind] = KINDS,
        back: float = 60,
    ) -> None:
        """Returns once they are online. They may be offline for `back` seconds after all that was done."""
        self._lab = lab
        self._back = back
        self._idle: list[Swarm] = []
        self._talking: list[tuple[Swarm, bool]] = []
        """With whether they have stream management."""
        first = 0
        for transport, tls, management in kinds:
            more = ("--reconnect", "--reconnect-after", str(_PATIENCE), *(["--stream-management"] if management else []))
            for talk, count in ((True, talking), (False, users - talking)):
                if not (share := count // len(kinds) // 2 * 2):
                    continue
                swarm = Swarm(lab, transport, servers, share, first=first, tls=tls, rate=100, more=more)
                first += share
                if talk:
                    self._talking.append((swarm, management))
                else:
                    self._idle.append(swarm)
        self.count = first
        for swarm in self._all():
            swarm.all_online()

    def during(self, result: Result, rate: float, act: Callable[[Result], None], *, in_order: bool = True) -> None:
        """What becomes of them while something is done, at so many messages per second.

        Without `in_order` messages may arrive after later ones, if none is lost or doubled: when a session is resumed,
        ejabberd routes what its old process still got once more, and what comes meanwhile may overtake that.
        """
        before, errors = self._counts(), self._errors()
        for swarm, _ in self._talking:
            swarm.begin_traffic(rate / len(self._talking), _AT_MOST)
        try:
            act(result)
        finally:
            for swarm, _ in self._talking:
                swarm.stop_traffic()
        for swarm, management in self._talking:
            traffic = swarm.end_traffic(_LAST_MESSAGES)
            kind = " ".join([swarm.transport, *(["tls"] if swarm.tls else []), *(["managed"] if management else [])])
            for counts in (result.managed if management else result.unmanaged, result.each.setdefault(kind, Counts())):
                counts.add(traffic)
            for one in traffic["named"]:
                is_late = one.endswith("out of order") and not in_order
                (result.notes if is_late else result.broken).append(f"{swarm.description}: {one}")
            result.seconds = max(result.seconds, traffic["seconds"])
            result.latency_p99 = max(result.latency_p99, traffic["latency"]["p99"] / 1000)
            result.latency_max = max(result.latency_max, traffic["latency"]["max"] / 1000)
        self._wait_until_all_online()
        after = self._counts()
        result.disconnected = after["broken"] - before["broken"]
        result.resumed = after["resumed"] - before["resumed"]
        result.errors = dict(self._errors() - errors)
        for name, counts in (("with", result.managed), ("without", result.unmanaged)):
            faults = counts.faults if in_order else replace(counts.faults, reordered=0)
            result.promise(not faults, f"messages {name} stream management: {counts.faults.text()}")

    def leave(self) -> dict[str, int]:
        """All leave in order. Says how many did not get out, by transport."""
        stuck: Counter[str] = Counter()
        for swarm in self._all():
            swarm.begin_to_leave()
        for swarm in self._all():
            end = swarm.has_left(self._back)
            stuck[swarm.transport] += end["stuck"] if end else swarm.users
            self._lab.end(swarm)
        return dict(+stuck)

    def missing(self) -> int:
        """How many are not online, of those that don't talk: the others say nothing meanwhile."""
        return sum(one.users - one.status()["online"] for one in self._idle)

    def _all(self) -> list[Swarm]:
        return [*self._idle, *(swarm for swarm, _ in self._talking)]

    def _wait_until_all_online(self) -> None:
        deadline = time.monotonic() + self._back
        while (online := self._counts()["online"]) < self.count:
            if time.monotonic() > deadline:
                raise LabError(f"{online} of {self.count} clients are online after {self._back:.0f} s")
            time.sleep(0.2)

    def _counts(self) -> dict[str, int]:
        statuses = [swarm.status() for swarm in self._all()]
        return {key: sum(one.get(key, 0) for one in statuses) for key in ("online", "broken", "resumed")}

    def _errors(self) -> Counter[str]:
        """What went wrong so far, by transport."""
        errors: Counter[str] = Counter()
        for swarm in self._all():
            for error, count in swarm.status().get("errors", {}).items():
                errors[f"{swarm.transport}: {error}"] += count
        return errors
