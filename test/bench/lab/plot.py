"""Charts of lines as SVG, readable on light and on dark pages."""

import math
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any
from xml.sax.saxutils import escape

Point = tuple[float, float]

WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 204, 64, 56
_LABEL_HEIGHT = 17

_STYLE = """
  text { font: 13px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 }
  .tick { font-size: 12px; fill: #57606a }
  .paper { fill: #ffffff }
  .grid { stroke: #d8dee4 }
  .axis { stroke: #8c959f }
  .line { fill: none; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .tick { fill: #9198a1 } .paper { fill: #0d1117 }
    .grid { stroke: #2a313c } .axis { stroke: #656c76 }
  }
"""


class Colour(Enum):
    """Of a line; each can be told from the others on white and on black."""

    BLUE = "#3b7dd8"
    TEAL = "#2a9d8f"
    VIOLET = "#8a63d2"
    RED = "#d1495b"
    ORANGE = "#d2842a"
    BROWN = "#9a6b4f"


@dataclass
class Line:
    """One line of a chart."""

    name: str
    colour: Colour
    points: list[Point] = field(default_factory=list)
    is_dashed: bool = False


@dataclass
class Chart:
    """Lines over common axes."""

    title: str
    x_label: str
    y_label: str
    lines: list[Line] = field(default_factory=list)
    is_logarithmic: bool = False
    """Whether both axes are."""

    def to_json(self) -> dict[str, Any]:
        """What is drawn."""
        lines = [{**asdict(line), "colour": line.colour.name.lower()} for line in self.lines]
        return {**asdict(self), "lines": lines}

    def has_points(self) -> bool:
        """Whether there is anything to draw."""
        return any(line.points for line in self.lines)

    def to_svg(self) -> str:
        """The picture."""
        points = [point for line in self.lines for point in line.points]
        if not points:
            raise ValueError(f"the chart {self.title!r} has no points")
        kind = _Logarithmic if self.is_logarithmic else _Linear
        x = kind([point[0] for point in points], _LEFT, WIDTH - _RIGHT)
        y = kind([point[1] for point in points], HEIGHT - _BOTTOM, _TOP)
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
                f'width="{WIDTH}" height="{HEIGHT}" role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<style>{_STYLE}</style>",
                f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
                _text(24, 28, self.title, "title"),
                *_axes(x, y),
                _text((x.start + x.end) / 2, HEIGHT - 14, self.x_label, anchor="middle"),
                _text(24, _TOP - 12, self.y_label, "tick"),
                *[_curve(line, x, y) for line in self.lines],
                *self._labels(x, y),
                "</svg>",
                "",
            ]
        )

    def _labels(self, x: "_Scale", y: "_Scale") -> list[str]:
        """Each line's name where it ends, or a little off if another one ends there."""
        ended = [line for line in self.lines if line.points]
        wanted = [y.place(max(line.points)[1]) for line in ended]
        parts = []
        for line, down in zip(ended, spread_out(wanted, _LABEL_HEIGHT, HEIGHT - _BOTTOM), strict=True):
            across, own = x.place(max(line.points)[0]), y.place(max(line.points)[1])
            parts.append(
                f'<path class="line" stroke="{line.colour.value}" opacity=".45" style="stroke-width:1" '
                f'd="M{across + 5:.1f} {own:.1f}L{x.end + 14:.1f} {down:.1f}"/>'
            )
            parts.append(_text(x.end + 18, down + 4, line.name, colour=line.colour.value))
        return parts


def spread_out(wanted: list[float], apart: float, bottom: float) -> list[float]:
    """Places as near to those wanted as may be, in their order, but so far apart and none below the bottom."""
    places = list(wanted)
    lowest = bottom
    for index in sorted(range(len(wanted)), key=lambda index: -wanted[index]):
        places[index] = min(places[index], lowest)
        lowest = places[index] - apart
    return places


def _curve(line: Line, x: "_Scale", y: "_Scale") -> str:
    places = [(x.place(point[0]), y.place(point[1])) for point in sorted(line.points)]
    path = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
    dash = ' stroke-dasharray="6 5"' if line.is_dashed else ""
    dots = "".join(f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3"/>' for across, down in places)
    return (
        f'<polyline class="line" stroke="{line.colour.value}"{dash} points="{path}"/>'
        f'<g fill="{line.colour.value}">{dots}</g>'
    )


class _Scale:
    """Maps values onto a stretch of the picture."""

    def __init__(self, low: float, high: float, start: float, end: float, ticks: list[float]) -> None:
        self.low, self.high, self.start, self.end, self.ticks = low, high, start, end, ticks

    def place(self, value: float) -> float:
        """Where a value is, in pixels."""
        part = (self.measure(value) - self.measure(self.low)) / (self.measure(self.high) - self.measure(self.low))
        return self.start + part * (self.end - self.start)

    @staticmethod
    def measure(value: float) -> float:
        """What is even on the scale."""
        return value


class _Linear(_Scale):
    """From zero to a round number."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        step = _round_step(max([*values, 1e-9]) / 5)
        count = math.ceil(max([*values, 1e-9]) / step - 1e-9)
        super().__init__(0, step * count, start, end, [step * number for number in range(count + 1)])


class _Logarithmic(_Scale):
    """From one of 1, 2, 5, 10, 20 ... to another one."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        positive = [value for value in values if value > 0]
        if not positive:
            raise ValueError("a logarithmic axis needs values above zero")
        exponents = range(math.floor(math.log10(min(positive))) - 1, math.ceil(math.log10(max(positive))) + 1)
        steps = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
        low = max(step for step in steps if step <= min(positive) * (1 + 1e-9))
        high = min(step for step in [*steps, steps[-1] * 2] if step >= max(positive) * (1 - 1e-9) and step > low)
        super().__init__(low, high, start, end, [step for step in steps if low <= step <= high])

    @staticmethod
    def measure(value: float) -> float:
        return math.log10(max(value, 1e-12))


def _round_step(step: float) -> float:
    """1, 2, 2.5 or 5 with zeros, no less than `step`."""
    base = 10.0 ** math.floor(math.log10(step))
    return next(base * digit for digit in (1, 2, 2.5, 5, 10) if base * digit >= step * (1 - 1e-9))


def _axes(x: _Scale, y: _Scale) -> list[str]:
    parts = []
    for tick in y.ticks:
        down = y.place(tick)
        parts.append(f'<path class="grid" d="M{x.start:.0f} {down:.1f}H{x.end:.0f}"/>')
        parts.append(_text(x.start - 8, down + 4, _short(tick), "tick", "end"))
    for tick in x.ticks:
        across = x.place(tick)
        parts.append(f'<path class="axis" d="M{across:.1f} {y.start:.0f}v5"/>')
        parts.append(_text(across, y.start + 20, _short(tick), "tick", "middle"))
    parts.append(f'<path class="axis" d="M{x.start:.0f} {y.start:.0f}H{x.end:.0f}"/>')
    return parts


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _text(across: float, down: float, text: str, kind: str = "", anchor: str = "start", colour: str = "") -> str:
    attributes = f' class="{kind}"' if kind else ""
    attributes += f' style="fill:{colour}"' if colour else ""
    return f'<text x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}"{attributes}>{escape(text)}</text>'
