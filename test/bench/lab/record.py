"""The record of a soak: what was done, what became of the clients, what the servers hold, and what that comes to."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .census import Census
from .clients import Result
from .counts import Counts, Faults
from .plot import Chart, Colour, Line
from .trend import Trend, fit

WARM_UP = 0.25
"""The part of a program's time that says nothing of its memory, as caches fill and the allocators get their room."""
LEAST_GROWTH = 0.01
"""The part of a program's memory by which it may seem to grow per hour."""
_EJABBERD, _ERLANG, _ECM = "ejabberd, RSS", "ejabberd, erlang:memory()", "the ECM that is not killed, RSS"


@dataclass
class Sample:
    """What the servers hold once all clients are back. Sizes are in bytes."""

    minutes: float
    """Since all were online for the first time."""
    ejabberd: int
    erlang: int
    """erlang:memory(total)."""
    processes: int
    """Of ejabberd."""
    ecms: list[int]
    sessions: list[int]
    """Of each ECM."""


@dataclass
class Record:
    """All of a run so far."""

    machine: dict[str, str]
    settings: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    killed: float = 0
    """The minute when ejabberd was killed last."""
    plain: list[Result] = field(default_factory=list)
    """Of plain ejabberd that was killed."""
    left: dict[str, Census] = field(default_factory=dict)
    """What there was more of once the clients had gone, by server."""
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Bytes before clients came, and once they had gone."""
    errors: dict[str, int] = field(default_factory=dict)
    """Lines in the servers' logs that are errors, without their numbers."""
    broken: list[str] = field(default_factory=list)
    """Promises of the whole run that were not kept."""

    def all_broken(self) -> list[str]:
        """All promises that were not kept."""
        of_results = [f"{one.what}: {broken}" for one in (*self.results, *self.plain) for broken in one.broken]
        return [*of_results, *self.broken]

    def trends(self) -> dict[str, Trend | None]:
        """Of memory, in bytes per hour; None where there are too few samples."""
        end = self.samples[-1].minutes if self.samples else 0.0
        lines = {}
        for name, points, born in (
            (_EJABBERD, [(one.minutes, one.ejabberd) for one in self.samples], self.killed),
            (_ERLANG, [(one.minutes, one.erlang) for one in self.samples], self.killed),
            (_ECM, [(one.minutes, one.ecms[-1]) for one in self.samples], 0.0),
        ):
            warm = born + WARM_UP * (end - born)
            lines[name] = fit([(minutes / 60, float(size)) for minutes, size in points if minutes >= warm])
        return lines

    def chart(self) -> Chart:
        """Memory by time."""
        series = (
            (_EJABBERD, Colour.BLUE, [one.ejabberd for one in self.samples]),
            ("erlang:memory()", Colour.TEAL, [one.erlang for one in self.samples]),
            ("ECM, killed at times", Colour.ORANGE, [one.ecms[0] for one in self.samples]),
            ("ECM", Colour.VIOLET, [one.ecms[-1] for one in self.samples]),
        )
        minutes = [one.minutes for one in self.samples]
        lines = [
            Line(name, colour, [(at, size / 1e6) for at, size in zip(minutes, sizes, strict=True)])
            for name, colour, sizes in series
        ]
        return Chart("Memory in the long run", "minutes", "MB", lines)

    def markdown(self) -> str:
        """For people."""
        settings = self.settings
        lines = [
            "# Soak",
            "",
            f"{settings['users']:,} clients, {settings['messages']:g} messages per second, seed {settings['seed']}; "
            f"{len(self.results)} times something was done in {self.samples[-1].minutes if self.samples else 0:.0f} minutes.",
            f"{self.machine['cpu']}, {self.machine['cores']} cores, {self.machine['memory']}; {self.machine['commit']}.",
            "",
            *table(self.results, "what is done"),
            "",
            *(["The same clients, but for TLS, at plain ejabberd:", "", *table(self.plain, "what is done"), ""] if self.plain else []),
            "## Memory",
            "",
            *self._trends(),
            "",
            "![memory](memory.svg)",
            "",
            "| after all clients have left | before they came, MB | after, MB |",
            "| --- | ---: | ---: |",
            *(f"| {name} | {before / 1e6:.1f} | {after / 1e6:.1f} |" for name, (before, after) in self.memory.items()),
            "",
            "## What is left",
            "",
            *(
                f"- {server}: {', '.join(f'{name} {count:+g}' for name, count in more.items()) or 'nothing'}"
                for server, more in self.left.items()
            ),
            "",
            "## Errors in the logs",
            "",
            *([f"- {count} times {line}" for line, count in self.errors.items()] or ["none"]),
            "",
            "## What clients were told as they lost their connections",
            "",
            *([f"- {count} times {line}" for line, count in self._told().items()] or ["nothing"]),
            "",
            "## Promises that were not kept",
            "",
            *([f"- {one}" for one in self.all_broken()] or ["none"]),
            "",
        ]
        return "\n".join(lines)

    def _trends(self) -> list[str]:
        lines = ["| | mean, MB | slope, MB per hour | samples |", "| --- | ---: | ---: | ---: |"]
        for name, trend in self.trends().items():
            if trend:
                slope = f"{trend.slope / 1e6:+.2f} ± {trend.error / 1e6:.2f}"
                lines.append(f"| {name} | {trend.mean / 1e6:.1f} | {slope} | {trend.samples} |")
            else:
                lines.append(f"| {name} | | too few samples | |")
        return lines

    def _told(self) -> Counter[str]:
        told: Counter[str] = Counter()
        for result in self.results:
            told.update(result.errors)
        return told

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        trends = {name: asdict(trend) if trend else None for name, trend in self.trends().items()}
        return {**asdict(self), "trends": trends, "all_broken": self.all_broken()}


def table(results: list[Result], what: str) -> list[str]:
    """A line for each kind of trouble, of Markdown."""
    lines = [
        f"| {what} | times | disconnected | resumed | messages | lost, doubled, out of order | "
        "of lost sessions, with stream management | without | back after, at most |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind in dict.fromkeys(one.what for one in results):
        of_kind = [one for one in results if one.what == kind]
        managed = _sum([one.managed for one in of_kind])
        unmanaged = _sum([one.unmanaged for one in of_kind])
        back = max((one.figures["back"] for one in of_kind if "back" in one.figures), default=None)
        cells = [
            kind,
            f"{len(of_kind)}",
            f"{sum(one.disconnected for one in of_kind):,}",
            f"{sum(one.resumed for one in of_kind):,}",
            f"{managed.sent + unmanaged.sent:,}",
            _faults(managed.faults + unmanaged.faults),
            _apart(managed),
            _apart(unmanaged),
            "" if back is None else f"{back:.1f} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _sum(counts: list[Counts]) -> Counts:
    return Counts(
        sum(one.sent for one in counts),
        sum((one.faults for one in counts), Faults()),
        sum((one.apart for one in counts), Faults()),
        sum(one.returned for one in counts),
    )


def _faults(faults: Faults) -> str:
    return f"{faults.lost}, {faults.doubled}, {faults.reordered}"


def _apart(counts: Counts) -> str:
    returned = f" ({counts.returned} returned)" if counts.returned else ""
    return _faults(counts.apart) + returned


def write(record: Record, folder: Path) -> None:
    """Writes it: results.json, report.md and memory.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(f"{json.dumps(record.to_json(), indent=1, default=str)}\n")
    (folder / "report.md").write_text(record.markdown())
    if record.samples:
        (folder / "memory.svg").write_text(record.chart().to_svg())
