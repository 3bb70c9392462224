"""Whether something grows: a line through samples, and how well they tell its slope."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .plot import Point

_FEWEST = 10
"""Samples; fewer tell nothing."""


@dataclass(frozen=True)
class Trend:
    """A line through samples."""

    samples: int
    watched: float
    """The time from the first to the last of them."""
    mean: float
    slope: float
    """Per unit of the samples' time."""
    error: float
    """Twice the standard error of the slope."""

    def is_growth(self, least: float) -> bool:
        """Whether it rises beyond its error, and by more than this part of the mean per unit of time."""
        return self.slope > self.error and self.slope > least * self.mean


def fit(points: Sequence[Point]) -> Trend | None:
    """The line of least squares; None for too few samples.

    Samples in a row are alike, so they say less than as many independent ones would. The error allows for that by the
    correlation of each residual with the one before it.
    """
    count = len(points)
    if count < _FEWEST:
        return None
    x_mean = sum(x for x, _ in points) / count
    y_mean = sum(y for _, y in points) / count
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    if not spread:
        return None
    slope = sum((x - x_mean) * (y - y_mean) for x, y in points) / spread
    residuals = [y - y_mean - slope * (x - x_mean) for x, y in points]
    squares = sum(one**2 for one in residuals)
    error = 2 * math.sqrt(squares / (count - 2) / spread)
    together = sum(one * other for one, other in zip(residuals, residuals[1:], strict=False))
    correlation = min(0.95, max(0.0, together / squares)) if squares else 0.0
    watched = max(points)[0] - min(points)[0]
    return Trend(count, watched, y_mean, slope, error * math.sqrt((1 + correlation) / (1 - correlation)))
