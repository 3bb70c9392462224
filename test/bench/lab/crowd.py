"""Very many users, from their first login to the loss of what many of them are connected by."""

import sys
import time
from collections.abc import Callable, Sequence

from . import kernel, processes
from .ecm import Ecm
from .ejabberd import Ejabberd
from .program import LabError
from .summary import Idle, Loss, Pings, Sample, Summary
from .swarm import Event, Swarm

_MINUTE = 60
_QUIET = 30
"""Seconds until sessions sleep."""
_IDLE = 30
"""Seconds for which the CPU of idle users is measured."""
_PATIENCE = 180
"""Seconds without a single user more after which nothing is waited for any longer."""


class Crowd:
    """Users at one ejabberd; `come` starts the swarm that they are in, and `lose` breaks what some are connected by.

    `lose` says what it was and how many users it had; an ECM that has ended is out of `ecms` then.
    """

    def __init__(
        self,
        summary: Summary,
        ejabberd: Ejabberd,
        ecms: Sequence[Ecm],
        come: Callable[[], Swarm],
        lose: Callable[[], tuple[str, int]],
        reserve: int,
    ) -> None:
        """No more users are let in once the machine has less than `reserve` bytes left."""
        self._summary = summary
        self._ejabberd = ejabberd
        self._ecms = ecms
        self._come = come
        self._lose = lose
        self._reserve = reserve
        self._start = ejabberd.resident()
        self._erlang_start = ejabberd.memory()["total"]
        kernel.forget_files()
        self._kernel_start = kernel.look()
        self._swarm: Swarm | None = None
        self._began = 0.0

    def live(self, rate: float, seconds: float, period: float) -> None:
        """All of it, with a line of progress each minute; what it comes to is in the summary, also if it ends early.

        Messages: so many per second, for so long. All ping once in a period, if that is not 0.
        """
        summary = self._summary
        swarm = self._log_in()
        self._say(f"all are online; {_QUIET + _IDLE} s of quiet")
        time.sleep(_QUIET)
        self._rest()
        if period and self._ecms:
            self._say(f"each pings once in {period:.0f} s")
            self._ping(swarm, period)
        self._say(f"{rate:.0f} messages per second for {seconds:.0f} s")
        cpu = self._measured(lambda: summary.traffic.update(swarm.random_traffic(rate, seconds)))
        summary.traffic["cpu"] = cpu
        broken = swarm.status()["broken"]
        what, lost = self._lose()
        summary.loss = Loss(what, lost)
        self._say(f"{what}: {lost:,} users")
        cut = time.monotonic()
        self._watch(swarm, "coming back", lambda status: status["broken"] - broken >= lost)
        summary.loss.seconds = time.monotonic() - cut

    def _log_in(self) -> Swarm:
        summary = self._summary
        before = self._cpu()
        self._began = time.monotonic()
        swarm = self._swarm = self._come()
        summary.users = summary.wanted
        status = self._watch(swarm, "logging in", lambda _: swarm.is_settled)
        summary.users, summary.failed_logins = status["users"], status["failed"]
        summary.login_seconds = time.monotonic() - self._began
        cpu = self._cpu()
        summary.cpu_per_login = {part: 1e6 * (cpu[part] - before[part]) / summary.users for part in cpu}
        summary.rise = list(summary.samples)
        return swarm

    def _rest(self) -> None:
        summary = self._summary
        cpu = self._measured(lambda: time.sleep(_IDLE))
        now, sample = kernel.look(), self._look(summary.users)
        summary.idle = Idle(
            sample,
            self._ejabberd.memory()["total"] - self._erlang_start,
            kernel.growth(now, self._kernel_start),
            now.buffers,
            now.tables - self._kernel_start.tables,
            self._kernel_start.available - now.available,
            cpu,
        )
        summary.rise.append(sample)

    def _ping(self, swarm: Swarm, period: float) -> None:
        told: Event = {}
        users = self._summary.users
        cpu = self._measured(lambda: told.update(swarm.act("keep-alive", users / period, period, users)))
        self._summary.pings = Pings(told["seconds"], told["done"], told["answered"], cpu)

    def _watch(self, swarm: Swarm, what: str, is_done: Callable[[Event], bool]) -> Event:
        """Until all are online and something holds of what the swarm says; its last status."""
        summary = self._summary
        most, since, said = 0, time.monotonic(), time.monotonic()
        last = self._look(0)
        cpu = self._cpu()
        while True:
            status = swarm.status()
            now, sample = time.monotonic(), self._look(status["online"])
            summary.samples.append(sample)
            if is_done(status) and sample.online >= status.get("users", summary.users):
                return status
            if sample.online != most:
                most, since = sample.online, now
            if now - since > _PATIENCE:
                raise LabError(
                    f"{sample.online} of {summary.users} users are online, and for {_PATIENCE} s there were no more: "
                    f"{status.get('errors')}"
                )
            if not swarm.is_settled and not summary.ended and sample.available < self._reserve:
                swarm.enough()
                summary.ended = f"after {sample.online:,} users the machine had less than {_gb(self._reserve)} left"
                self._say(f"{summary.ended}; no more are let in")
            if now - said >= _MINUTE:
                used = self._cpu()
                self._line(what, sample, last, {part: (used[part] - cpu[part]) / (now - said) for part in used})
                said, last, cpu = now, sample, used
            time.sleep(1)

    def _line(self, what: str, sample: Sample, last: Sample, cpu: dict[str, float]) -> None:
        came, passed = sample.online - last.online, sample.seconds - last.seconds
        parts = ", ".join(f"{part} {use:.0%}" for part, use in cpu.items() if use)
        ecms = f", ECMs {_gb(sample.ecms)}" if sample.ecms else ""
        self._say(
            f"{what}: {sample.online:,} online, {came / passed:,.0f} per second; ejabberd {_gb(sample.ejabberd)}{ecms}, "
            f"swarm {_gb(sample.swarms)}, {_gb(sample.available)} left; CPU {parts}"
        )

    def _look(self, online: int) -> Sample:
        ejabberd = self._ejabberd.resident()
        return Sample(
            time.monotonic() - self._began,
            online,
            ejabberd,
            ejabberd - self._start,
            processes.private(*(ecm.pid for ecm in self._ecms)),
            processes.private(self._swarm.pid) if self._swarm else 0,
            kernel.available(),
        )

    def _measured(self, work: Callable[[], None]) -> dict[str, float]:
        """CPU seconds per second while something is done, by part."""
        before, began = self._cpu(), time.monotonic()
        work()
        passed = time.monotonic() - began
        return {part: (used - before[part]) / passed for part, used in self._cpu().items()}

    def _cpu(self) -> dict[str, float]:
        """Seconds so far, by part; the machine's are those of all programs, and of the kernel for itself."""
        return {
            "ejabberd": self._ejabberd.cpu_seconds(),
            "ECMs": processes.cpu_seconds(*(ecm.pid for ecm in self._ecms)),
            "swarm": self._swarm.cpu_seconds() if self._swarm else 0,
            "machine": kernel.cpu_seconds(),
        }

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self._summary.name}: {text}", file=sys.stderr, flush=True)


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
