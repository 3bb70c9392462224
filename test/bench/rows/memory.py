"""ejabberd's memory per idle user."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from lab.context import Context
from lab.ejabberd import Ejabberd
from lab.interleave import Waiting, interleave
from lab.names import MEGAPHONE, MEGAPHONE_HTTP, PLAIN, TRANSPORTS
from lab.plot import Chart, Colour, Line
from lab.program import Program
from lab.report import Row
from lab.rounds import Comparison, alternating
from lab.server import Server
from lab.swarm import Swarm

_LOGINS_A_SECOND = 800
_START = 3
"""Seconds that an ejabberd takes to start; meanwhile others are measured."""
_STEPS = 4
"""Points of each line of the chart."""


@dataclass(frozen=True)
class _Case:
    transport: str
    variant: str
    environment: str = ""

    def __str__(self) -> str:
        with_environment = f" with {self.environment}" if self.environment else ""
        return f"{self.transport}, {self.variant}{with_environment}"


_FULLSWEEP = "ERL_FULLSWEEP_AFTER=0"
_CASES = [
    *(_Case(transport, PLAIN, environment) for transport in TRANSPORTS for environment in ("", _FULLSWEEP)),
    *(_Case(transport, MEGAPHONE_HTTP) for transport in ("bosh", "websocket")),
    *(_Case(transport, MEGAPHONE) for transport in TRANSPORTS),
]

_COLOURS = {
    (PLAIN, "bosh"): Colour.RED,
    (PLAIN, "websocket"): Colour.ORANGE,
    (PLAIN, "tcp"): Colour.BROWN,
    (MEGAPHONE, "bosh"): Colour.VIOLET,
    (MEGAPHONE, "websocket"): Colour.BLUE,
    (MEGAPHONE, "tcp"): Colour.TEAL,
}

_KINDS = ("ejabberd's RSS", "erlang:memory")
_MOMENTS = ("right after login", "after a quiet minute")


def run(context: Context) -> Row:
    """Each measurement has an ejabberd of its own, whose users log in and are idle."""
    plan = context.plan
    comparisons = {
        (transport, environment, moment, kind): Comparison(
            f"{kind} per idle user, {name}, {moment}" + (f"; plain with {environment}" if environment else ""),
            "KB",
            PLAIN,
            is_headline=moment == _MOMENTS[1],
            is_prominent=(environment, moment, kind) == ("", _MOMENTS[1], _KINDS[0]),
        )
        for moment in reversed(_MOMENTS)
        for kind in _KINDS
        for environment in ("", _FULLSWEEP)
        for transport, name in TRANSPORTS.items()
    }
    chart = Chart("ejabberd's memory against idle users", "users online", "MB over the start (erlang:memory)")

    charted = [
        case
        for case in _CASES
        if case.variant in (PLAIN, MEGAPHONE) and not case.environment and case.transport in plan.chart_transports
    ]

    def note(case: _Case, moment: str, grown: "_Memory") -> None:
        # Megaphone as it is stands beside plain ejabberd with either setting.
        environments = ("", _FULLSWEEP) if case.variant == MEGAPHONE else (case.environment,)
        for environment in environments:
            for kind, size in zip(_KINDS, (grown.resident, grown.erlang), strict=True):
                comparison = comparisons[case.transport, environment, moment, kind]
                comparison.add(case.variant, size / plan.memory_users / 1000)

    def measurements() -> Iterator[Waiting]:
        for number, case in enumerate(alternating(_CASES, plan.rounds), start=1):
            context.say(f"memory {number} of {len(_CASES) * plan.rounds}: {case}")
            yield _measure(context, case, note)
        for case in charted:
            context.say(f"memory, chart: {case}")
            yield _grow(context, case, chart)

    interleave(measurements(), context.ejabberds_at_once(), apart=_START)
    return Row(
        "memory",
        "ejabberd's memory per idle user",
        list(comparisons.values()),
        {"memory": chart},
        notes=["users first take what ejabberd's start had freed and kept, so with few users RSS grows by less"],
        settings={"users": plan.memory_users, "quiet seconds": plan.quiet, "rounds": plan.rounds},
    )


@dataclass(frozen=True)
class _Memory:
    resident: int
    erlang: int

    @staticmethod
    def of(ejabberd: Ejabberd) -> "_Memory":
        return _Memory(ejabberd.resident(), ejabberd.memory()["total"])

    def __sub__(self, other: "_Memory") -> "_Memory":
        return _Memory(self.resident - other.resident, self.erlang - other.erlang)


@dataclass
class _Stage:
    """An ejabberd, what its clients connect to, and all that runs."""

    ejabberd: Ejabberd
    server: Server
    running: list[Program]


def _stage(context: Context, case: _Case) -> Generator[float, None, _Stage]:
    environment = dict([case.environment.split("=")]) if case.environment else {}
    ejabberd = context.ejabberd(case.variant, context.plan.memory_users, environment=environment)
    yield _START
    front = context.front(case.variant, ejabberd.ready())
    context.warm_up(ejabberd, front, case.transport)
    # So that the garbage of the start, which goes sooner or later, hides nothing of what users take.
    ejabberd.collect_garbage()
    yield context.plan.memory_warm_up
    running: list[Program] = [ejabberd] if front is ejabberd else [front, ejabberd]
    return _Stage(ejabberd, front, running)


def _measure(context: Context, case: _Case, note: Callable[[_Case, str, _Memory], None]) -> Waiting:
    stage = yield from _stage(context, case)
    before = _Memory.of(stage.ejabberd)
    swarm = Swarm(context.lab, case.transport, stage.server, context.plan.memory_users, rate=_LOGINS_A_SECOND)
    context.all_online(swarm)
    note(case, _MOMENTS[0], _Memory.of(stage.ejabberd) - before)
    yield context.plan.quiet
    note(case, _MOMENTS[1], _Memory.of(stage.ejabberd) - before)
    context.lab.end(swarm, *stage.running)


def _grow(context: Context, case: _Case, chart: Chart) -> Waiting:
    """Users come in groups, and each point is what it takes once they are quiet."""
    stage = yield from _stage(context, case)
    before = _Memory.of(stage.ejabberd)
    name = f"{case.variant}, {TRANSPORTS[case.transport]}"
    line = Line(name, _COLOURS[case.variant, case.transport], [(0, 0)])
    chart.lines.append(line)
    step = context.plan.memory_users // _STEPS
    for first in range(0, step * _STEPS, step):
        swarm = Swarm(context.lab, case.transport, stage.server, step, first=first, rate=_LOGINS_A_SECOND)
        stage.running.insert(0, swarm)
        context.all_online(swarm)
        yield context.plan.quiet / 3
        line.points.append((first + step, (_Memory.of(stage.ejabberd) - before).erlang / 1e6))
    context.lab.end(*stage.running)
