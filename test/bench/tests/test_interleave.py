"""Measurements that wait at the same time."""

import time
import unittest

from lab.interleave import Waiting, interleave


class Interleave(unittest.TestCase):
    def setUp(self) -> None:
        self.steps: list[str] = []

    def measure(self, name: str, *pauses: float) -> Waiting:
        self.steps.append(f"{name} starts")
        for pause in pauses:
            yield pause
            self.steps.append(f"{name} goes on")

    def test_one_waits_while_another_one_starts(self) -> None:
        interleave([self.measure("a", 0.05), self.measure("b", 0.1)], 2)
        self.assertEqual(self.steps, ["a starts", "b starts", "a goes on", "b goes on"])

    def test_no_more_than_so_many_wait_at_a_time(self) -> None:
        interleave([self.measure("a", 0.01, 0.01), self.measure("b")], 1)
        self.assertEqual(self.steps, ["a starts", "a goes on", "a goes on", "b starts"])

    def test_nobody_waits_for_less_than_it_wanted(self) -> None:
        started = time.monotonic()
        interleave([self.measure("a", 0.05, 0.05)], 3)
        self.assertGreaterEqual(time.monotonic() - started, 0.1)

    def test_two_begin_so_far_apart(self) -> None:
        started = time.monotonic()
        interleave([self.measure("a"), self.measure("b"), self.measure("c")], 3, apart=0.05)
        self.assertGreaterEqual(time.monotonic() - started, 0.1)

    def test_what_is_due_goes_before_what_is_new(self) -> None:
        interleave([self.measure("a", 0.0), self.measure("b")], 2)
        self.assertEqual(self.steps, ["a starts", "a goes on", "b starts"])


if __name__ == "__main__":
    unittest.main()
