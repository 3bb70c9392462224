"""Measurements that mostly wait, several at a time."""

import time
from collections.abc import Generator, Iterable

Waiting = Generator[float, None, None]
"""A measurement that yields the seconds it wants to wait for, at the least."""


def interleave(measurements: Iterable[Waiting], at_most: int) -> None:
    """Runs all of them to their end. While one waits another one works, but no two work at a time."""
    waiting: list[tuple[float, int, Waiting]] = []
    coming = enumerate(measurements)
    while True:
        waiting.sort()
        is_due = bool(waiting) and waiting[0][0] <= time.monotonic()
        if not is_due and len(waiting) < at_most and (new := next(coming, None)):
            _advance(waiting, *new)
        elif waiting:
            due, number, measurement = waiting.pop(0)
            time.sleep(max(0.0, due - time.monotonic()))
            _advance(waiting, number, measurement)
        else:
            return


def _advance(waiting: list[tuple[float, int, Waiting]], number: int, measurement: Waiting) -> None:
    seconds = next(measurement, None)
    if seconds is not None:
        waiting.append((time.monotonic() + seconds, number, measurement))
