"""The arithmetic of a comparison: rounds in alternating order, medians, ratios and their spread."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, TypeVar

Variant = TypeVar("Variant")


def alternating(variants: Sequence[Variant], rounds: int) -> Iterator[Variant]:
    """All variants in each round, every second time in reverse.

    So what drifts while a bench runs, the clock of a warm CPU say, meets all of them alike.
    """
    for number in range(rounds):
        yield from variants if number % 2 == 0 else reversed(variants)


class Better(Enum):
    """Which way a number should go."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass
class Comparison:
    """One quantity of several variants, measured in the same rounds."""

    name: str
    unit: str
    baseline: str
    """The variant that the others are compared with."""
    better: Better = Better.LOWER
    samples: dict[str, list[float]] = field(default_factory=dict)
    """Of each variant, one number per round."""
    is_headline: bool = True
    """Whether the summary and doc/measured.md have it."""
    is_prominent: bool = False
    """Whether the README has it."""

    def add(self, variant: str, value: float) -> None:
        """Notes what a round came to."""
        self.samples.setdefault(variant, []).append(value)

    def median(self, variant: str) -> float:
        """The middle one of a variant's rounds."""
        return statistics.median(self.samples[variant])

    def range(self, variant: str) -> tuple[float, float]:
        """The lowest and the highest of a variant's rounds."""
        return min(self.samples[variant]), max(self.samples[variant])

    def ratios(self, variant: str) -> list[float]:
        """What the variant came to as a part of the baseline, in each round that has both."""
        pairs = zip(self.samples[variant], self.samples.get(self.baseline, []), strict=False)
        return [value / base for value, base in pairs if base > 0]

    def ratio(self, variant: str) -> float | None:
        """The median of the ratios; None without a baseline above zero."""
        ratios = self.ratios(variant)
        return statistics.median(ratios) if ratios else None

    def is_shown(self, variant: str) -> bool:
        """Whether the variant differs from the baseline by more than its ratios spread over the rounds.

        One round shows nothing.
        """
        ratios = self.ratios(variant)
        if len(ratios) < 2:
            return False
        return abs(statistics.median(ratios) - 1) > max(ratios) - min(ratios)

    def to_json(self) -> dict[str, Any]:
        """All samples, and what they come to."""
        summary = {}
        for variant in self.samples:
            low, high = self.range(variant)
            summary[variant] = {
                "median": self.median(variant),
                "lowest": low,
                "highest": high,
                "ratio": self.ratio(variant),
                "ratios": self.ratios(variant),
                "difference_exceeds_spread": self.is_shown(variant),
            }
        return {**asdict(self), "better": self.better.value, "summary": summary}
