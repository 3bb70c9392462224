"""What became of a crowd of users, for people."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Sample:
    """A look at all of it. Sizes are in bytes."""

    seconds: float
    """Since the first login."""
    online: int
    ejabberd: int
    """RSS, and so `grown`."""
    grown: int
    """ejabberd's over its start."""
    ecms: int
    """What only they hold, without the program itself; so `swarms`."""
    swarms: int
    available: int = 0
    """What the machine has left."""


@dataclass
class Idle:
    """When all were online and asleep."""

    sample: Sample
    erlang_memory: int
    """erlang:memory(total) over the start."""
    slabs: dict[str, int]
    """By how many bytes the kernel's objects have grown over the start, by their cache."""
    buffers: int
    """Bytes in TCP sockets."""
    tables: int
    """Page tables and threads' stacks, over the start."""
    taken: int
    """Bytes that the machine had at the start and has no more."""
    cpu: dict[str, float]
    """CPU seconds per second, by part."""


@dataclass
class Pings:
    """Each user sent one within so many seconds."""

    seconds: float
    done: int
    answered: int
    cpu: dict[str, float]


@dataclass
class Loss:
    """Something broke, and users had to come back."""

    what: str
    users: int
    seconds: float = 0
    """Until all were back."""


@dataclass
class Summary:
    """What became of a crowd. A run that ended early has no more than it came to."""

    name: str
    wanted: int
    users: int = 0
    """How many came."""
    ended: str = ""
    """Why no more came, or why it ended early."""
    login_seconds: float = 0
    failed_logins: int = 0
    """Of users who tried again."""
    cpu_per_login: dict[str, float] = field(default_factory=dict)
    """Microseconds, by part."""
    idle: Idle | None = None
    pings: Pings | None = None
    traffic: dict[str, Any] = field(default_factory=dict)
    loss: Loss | None = None
    rise: list[Sample] = field(default_factory=list)
    """While users came."""
    samples: list[Sample] = field(default_factory=list)

    def text(self) -> str:
        """For people: a paragraph, a line for each thing that was measured."""
        lines = [f"== {self.users:,} users online, {self.name}"]
        if self.ended:
            lines.append(f"ended early           {self.ended}")
        if self.users and self.login_seconds:
            lines.append(
                f"logins                {self.users / self.login_seconds:,.0f} per second, "
                f"{self.login_seconds / 60:.1f} minutes, {self.failed_logins} tried again; "
                f"CPU per login (us): {_parts(self.cpu_per_login, '{:.0f}')}"
            )
        lines += [*self._idle(), *self._pings(), *self._traffic(), *self._loss()]
        return "\n  ".join(lines)

    def _idle(self) -> list[str]:
        if not self.idle:
            return []
        idle, sample = self.idle, self.idle.sample
        slabs = sum(idle.slabs.values())
        largest = ", ".join(f"{name} {size / self.users:,.0f}" for name, size in list(idle.slabs.items())[:6])
        return [
            f"ejabberd              {self._each(sample.grown)} over its start (RSS); "
            f"{idle.erlang_memory / self.users:,.0f} B by erlang:memory",
            *([f"ECMs                  {self._each(sample.ecms)}"] if sample.ecms else []),
            f"swarm                 {self._each(sample.swarms)}",
            f"kernel                {self._each(slabs)} in slabs ({largest}), "
            f"{_gb(idle.buffers)} in sockets' buffers, {_gb(idle.tables)} page tables and stacks",
            f"machine               {self._each(idle.taken)} taken in all, {_gb(sample.available)} left",
            f"CPU while idle        {_parts(idle.cpu, '{:.0%}')} of a core",
        ]

    def _pings(self) -> list[str]:
        if not self.pings:
            return []
        pings = self.pings
        return [
            f"CPU while all ping    {_parts(pings.cpu, '{:.0%}')} of a core; {pings.done:,} pings in "
            f"{pings.seconds:.0f} s, {pings.answered:,} answered"
        ]

    def _traffic(self) -> list[str]:
        if not self.traffic:
            return []
        traffic, latency = self.traffic, self.traffic["latency"]
        return [
            f"messages              {traffic['sent']:,} sent, {traffic['sent'] / traffic['seconds']:.0f} per second, "
            f"latency p50 {latency['p50'] / 1000:.1f} ms, p99 {latency['p99'] / 1000:.1f} ms; {traffic['lost']} lost, "
            f"{traffic['doubled']} doubled, {traffic['misrouted']} to a wrong user"
        ]

    def _loss(self) -> list[str]:
        if not self.loss:
            return []
        loss = self.loss
        back = f"all were back after {loss.seconds:.0f} s, {loss.users / max(loss.seconds, 1e-9):,.0f} per second"
        return [f"{loss.what:<22}{loss.users:,} users lost it; {back if loss.seconds else 'not all came back'}"]

    def _each(self, size: int) -> str:
        return f"{_gb(size)}, {size / self.users:,.0f} B per user"


def _parts(of: dict[str, float], form: str) -> str:
    return ", ".join(f"{part} {form.format(value)}" for part, value in of.items() if value)


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
