"""What a bench came to: on a terminal, as JSON, and as Markdown for the documents."""

from dataclasses import asdict, dataclass, field
from typing import Any

from .plot import Chart
from .rounds import Comparison

_NAME_WIDTH = 34


@dataclass
class Figure:
    """One number that stands for itself."""

    name: str
    value: float
    unit: str
    remark: str = ""
    is_headline: bool = False
    """Whether doc/measured.md has it."""


@dataclass
class Row:
    """What one row of the bench came to."""

    name: str
    title: str
    comparisons: list[Comparison] = field(default_factory=list)
    charts: dict[str, Chart] = field(default_factory=dict)
    """By the name of the file."""
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """With what it was measured."""
    figures: list[Figure] = field(default_factory=list)
    text: str = ""
    """What is printed as it is: the output of a benchmark that has one of its own."""

    def pictures(self) -> dict[str, str]:
        """The charts as SVG, by the name of the file; one that came to nothing has none."""
        return {name: chart.to_svg() for name, chart in self.charts.items() if chart.has_points()}

    def to_json(self) -> dict[str, Any]:
        """All of it but the charts' looks."""
        return {
            "name": self.name,
            "title": self.title,
            "settings": self.settings,
            "notes": self.notes,
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "charts": {name: chart.to_json() for name, chart in self.charts.items()},
            "figures": [asdict(figure) for figure in self.figures],
            "text": self.text,
        }


def terminal(row: Row) -> str:
    """A table for people."""
    settings = ", ".join(f"{name} {value}" for name, value in row.settings.items())
    lines = [f"== {row.title}", f"   {settings}" if settings else "", ""]
    for comparison in row.comparisons:
        lines += [*_comparison(comparison), ""]
    for chart in row.charts.values():
        lines += [*_chart(chart), ""]
    if row.figures:
        lines += [*map(_figure, row.figures), ""]
    if row.text:
        lines += [row.text.rstrip(), ""]
    lines += [f"   note: {note}" for note in row.notes] + ([""] if row.notes else [])
    return "\n".join(lines)


def _comparison(comparison: Comparison) -> list[str]:
    unit = f"{comparison.unit}, " if comparison.unit else ""
    lines = [f"   {comparison.name} ({unit}{comparison.better.value} is better)"]
    for variant in comparison.samples:
        low, high = comparison.range(variant)
        spread = f"{number(low)} .. {number(high)}"
        line = f"     {variant:<{_NAME_WIDTH}}{number(comparison.median(variant)):>9}   {spread:<20}"
        if variant != comparison.baseline:
            line += _against_baseline(comparison, variant)
        lines.append(line.rstrip())
    return lines


def _chart(chart: Chart) -> list[str]:
    across = sorted({point[0] for line in chart.lines for point in line.points})
    head = f"   {chart.title}: {chart.y_label} by {chart.x_label}"
    lines = [head, f"     {'':<{_NAME_WIDTH}}" + "".join(f"{number(value):>9}" for value in across)]
    for line in chart.lines:
        points = dict(line.points)
        cells = (number(points[value]) if value in points else "" for value in across)
        lines.append((f"     {line.name:<{_NAME_WIDTH}}" + "".join(f"{cell:>9}" for cell in cells)).rstrip())
    return lines


def _figure(figure: Figure) -> str:
    return f"     {figure.name:<58}{number(figure.value):>9} {figure.unit:<4}{figure.remark}".rstrip()


def _against_baseline(comparison: Comparison, variant: str) -> str:
    ratios, middle = comparison.ratios(variant), comparison.ratio(variant)
    if middle is None:
        return ""
    text = f"×{middle:.2f}"
    if len(ratios) > 1:
        text += f" ({min(ratios):.2f} .. {max(ratios):.2f})"
    if len(ratios) == 1:
        return f"{text} ≈ one round shows nothing"
    return text if comparison.is_shown(variant) else f"{text} ≈ not beyond the spread"


def number(value: float) -> str:
    """With three digits that say something, or all before the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def summary(rows: list[Row], columns: list[str]) -> str:
    """A table for people with a line for each headline and a column for each of these variants."""
    table = _table(rows, columns)
    widths = [max(len(line[index]) for line in table) for index in range(len(table[0]))]
    lines = []
    for line in table:
        cells = [f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True)]
        lines.append("   ".join([f"{line[0]:<{widths[0]}}", *cells]).rstrip())
    return "\n".join(lines)


def markdown(rows: list[Row], columns: list[str]) -> str:
    """The summary as a table of Markdown."""
    head, *lines = _table(rows, columns)
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def _table(rows: list[Row], columns: list[str]) -> list[list[str]]:
    """The cells: each number with its ratio to the baseline. What has no number has no line or column."""
    shown = [one for row in rows for one in row.comparisons if one.is_headline and one.samples]
    columns = [column for column in columns if any(column in one.samples for one in shown)]
    table = [["", *columns]]
    for comparison in shown:
        unit = f", {comparison.unit}" if comparison.unit else ""
        table.append([comparison.name + unit, *[_cell(comparison, column) for column in columns]])
    return table


def _cell(comparison: Comparison, variant: str) -> str:
    if variant not in comparison.samples:
        return ""
    value, ratio = number(comparison.median(variant)), comparison.ratio(variant)
    if variant == comparison.baseline or ratio is None:
        return value
    return f"{value} (×{ratio:.2f})" + ("" if comparison.is_shown(variant) else " ≈")
