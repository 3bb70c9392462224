"""Measurements that mostly wait, several at a time."""

import math
import time
from collections.abc import Generator, Iterable

Waiting = Generator[float, None, None]
"""A measurement that yields the seconds it wants to wait for, at the least."""


def interleave(measurements: Iterable[Waiting], at_most: int, apart: float = 0) -> None:
    """Runs all of them to their end. While one waits another one works, but no two work at a time.

    Those under way are no more than `at_most`, and two begin no less than `apart` seconds apart.
    """
    waiting: list[tuple[float, int, Waiting]] = []
    coming = enumerate(measurements)
    next_begins = time.monotonic()
    has_more = True
    while waiting or has_more:
        waiting.sort()
        due = waiting[0][0] if waiting else math.inf
        may_begin = next_begins if has_more and len(waiting) < at_most else math.inf
        time.sleep(max(0.0, min(due, may_begin) - time.monotonic()))
        if due <= time.monotonic():
            _, number, measurement = waiting.pop(0)
            _advance(waiting, number, measurement)
        elif new := next(coming, None):
            next_begins = time.monotonic() + apart
            _advance(waiting, *new)
        else:
            has_more = False


def _advance(waiting: list[tuple[float, int, Waiting]], number: int, measurement: Waiting) -> None:
    seconds = next(measurement, None)
    if seconds is not None:
        waiting.append((time.monotonic() + seconds, number, measurement))
