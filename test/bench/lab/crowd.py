"""Very many users, from their first login to the loss of a trunk."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .ecm import Ecm
from .ejabberd import Ejabberd
from .program import LabError
from .swarm import Swarm

_MINUTE = 60
_QUIET = 30
"""Seconds until sessions sleep."""
_PATIENCE = 180
"""Seconds without a single user more after which nothing is waited for any longer."""


@dataclass
class Sample:
    """A look at all of it. Sizes are in bytes, RSS."""

    seconds: float
    """Since the first login."""
    online: int
    ejabberd: int
    grown: int
    """ejabberd's over its start."""
    ecms: int
    swarms: int


@dataclass
class Summary:
    """What became of a crowd."""

    name: str
    users: int
    login_seconds: float = 0
    logins_per_second: float = 0
    cpu_per_login: dict[str, float] = field(default_factory=dict)
    """Microseconds, by part."""
    idle: Sample | None = None
    """When all were online and asleep."""
    erlang_memory: int = 0
    """erlang:memory(total) over the start, then."""
    traffic: dict[str, float] = field(default_factory=dict)
    cut_users: int = 0
    back_seconds: float = 0
    rise: list[Sample] = field(default_factory=list)
    """While users came."""
    samples: list[Sample] = field(default_factory=list)

    def text(self) -> str:
        """For people."""
        assert self.idle
        traffic = self.traffic
        cpu = ", ".join(f"{part} {cost:.0f}" for part, cost in self.cpu_per_login.items())
        ecms = f"\n  ECMs                  {_gb(self.idle.ecms)}, {self.idle.ecms / self.users:.0f} B per user"
        return (
            f"== {self.users:,} users online, {self.name}\n"
            f"  logins                {self.logins_per_second:,.0f} per second, {self.login_seconds / 60:.1f} minutes; "
            f"CPU per login (us): {cpu}\n"
            f"  ejabberd              {_gb(self.idle.grown)} over its start, "
            f"{self.idle.grown / self.users:.0f} B per user (RSS); "
            f"{self.erlang_memory / self.users:.0f} B by erlang:memory"
            f"{ecms if self.idle.ecms else ''}\n"
            f"  messages              {traffic['sent'] / traffic['seconds']:.0f} per second, latency p50 "
            f"{traffic['p50'] / 1000:.1f} ms, p99 {traffic['p99'] / 1000:.1f} ms; {traffic['lost']:.0f} lost, "
            f"{traffic['doubled']:.0f} doubled\n"
            f"  one trunk of 8 cut    {self.cut_users:,} users lost it; all were back after {self.back_seconds:.0f} s, "
            f"{self.cut_users / max(self.back_seconds, 1e-9):,.0f} per second"
        )


class Crowd:
    """Users at one ejabberd; `come` starts the swarms that they are in."""

    def __init__(
        self, name: str, ejabberd: Ejabberd, ecms: Sequence[Ecm], come: Callable[[], list[Swarm]]
    ) -> None:
        self.name = name
        self._ejabberd = ejabberd
        self._ecms = ecms
        self._come = come
        self._swarms: list[Swarm] = []
        self._start = ejabberd.resident()
        self._erlang_start = ejabberd.memory()["total"]
        self._began = 0.0

    def live(self, messages: float, seconds: float) -> Summary:
        """All of it, with a line of progress each minute."""
        before = self._cpu()
        self._began = time.monotonic()
        self._swarms = self._come()
        users = sum(swarm.users for swarm in self._swarms)
        summary = Summary(self.name, users)
        self._watch(summary, users, "logging in")
        summary.login_seconds = time.monotonic() - self._began
        summary.logins_per_second = users / summary.login_seconds
        cpu = self._cpu()
        summary.cpu_per_login = {part: 1e6 * (cpu[part] - before[part]) / users for part in cpu if cpu[part]}
        summary.rise = list(summary.samples)
        self._say(f"all are online; {_QUIET} s of quiet")
        time.sleep(_QUIET)
        summary.idle = self._look(users)
        summary.erlang_memory = self._ejabberd.memory()["total"] - self._erlang_start
        summary.rise.append(summary.idle)
        self._say(f"{messages:.0f} messages per second for {seconds:.0f} s")
        self._talk(summary, messages, seconds)
        self._say("cutting a trunk")
        summary.cut_users = self._ejabberd.cut_trunk()
        cut = time.monotonic()
        self._watch(summary, users, "coming back", summary.cut_users)
        summary.back_seconds = time.monotonic() - cut
        return summary

    def _watch(self, summary: Summary, users: int, what: str, losses: int = 0) -> None:
        """Until all are online, after so many have lost their connections."""
        most, since, said = 0, time.monotonic(), time.monotonic()
        last: Sample | None = None
        cpu = self._cpu()
        while True:
            status = [swarm.status() for swarm in self._swarms]
            online = sum(one["online"] for one in status)
            now = time.monotonic()
            sample = self._look(online)
            summary.samples.append(sample)
            if online >= users and sum(one["broken"] for one in status) >= losses:
                return
            if online != most:
                most, since = online, now
            if now - since > _PATIENCE:
                raise LabError(f"{online} of {users} users are online, and for {_PATIENCE} s there were no more")
            if now - said >= _MINUTE:
                used = self._cpu()
                self._line(what, sample, last, {part: (used[part] - cpu[part]) / (now - said) for part in used})
                said, last, cpu = now, sample, used
            time.sleep(1)

    def _line(self, what: str, sample: Sample, last: Sample | None, cpu: dict[str, float]) -> None:
        came = sample.online - (last.online if last else 0)
        passed = sample.seconds - (last.seconds if last else 0)
        parts = ", ".join(f"{part} {use:.0%}" for part, use in cpu.items() if use)
        ecms = f", ECMs {_gb(sample.ecms)}" if sample.ecms else ""
        self._say(
            f"{what}: {sample.online:,} online, {came / passed:,.0f} per second; ejabberd {_gb(sample.ejabberd)}{ecms}, "
            f"swarm {_gb(sample.swarms)}; CPU {parts}"
        )

    def _talk(self, summary: Summary, messages: float, seconds: float) -> None:
        for swarm in self._swarms:
            swarm.begin_traffic(messages / len(self._swarms), seconds)
        told = [swarm.end_traffic(seconds + 60) for swarm in self._swarms]
        summary.traffic = {name: sum(one[name] for one in told) for name in ("sent", "received", "lost", "doubled")}
        summary.traffic["seconds"] = max(one["seconds"] for one in told)
        # Several swarms have as many messages each.
        for name in ("p50", "p99"):
            summary.traffic[name] = statistics.median([one["latency"][name] for one in told])

    def _look(self, online: int) -> Sample:
        ejabberd = self._ejabberd.resident()
        return Sample(
            time.monotonic() - self._began,
            online,
            ejabberd,
            ejabberd - self._start,
            sum(ecm.resident() for ecm in self._ecms),
            sum(swarm.resident() for swarm in self._swarms),
        )

    def _cpu(self) -> dict[str, float]:
        return {
            "ejabberd": self._ejabberd.cpu_seconds(),
            "ECMs": sum(ecm.cpu_seconds() for ecm in self._ecms),
            "swarm": sum(swarm.cpu_seconds() for swarm in self._swarms),
        }

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self.name}: {text}", file=sys.stderr, flush=True)


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
