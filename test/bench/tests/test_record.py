"""The record of a soak."""

import json
import random
import tempfile
import unittest
from itertools import islice
from pathlib import Path

import soak
from lab.clients import Result
from lab.counts import Counts, Faults
from lab.record import Record, Sample, table, write
from lab.trouble import TROUBLES


def record() -> Record:
    return Record({"cpu": "a CPU", "cores": "2", "memory": "1 GiB", "commit": "abc"},
                  {"users": 100, "messages": 5.0, "seed": 7})


def samples(growth: int) -> list[Sample]:
    """Of an hour, in which ejabberd grows."""
    return [Sample(minute, 10**8 + growth * minute, 10**8, 500, [10**7, 10**7], [50, 50]) for minute in range(60)]


class Records(unittest.TestCase):
    def test_memory_is_watched_from_the_last_death_on(self) -> None:
        one = record()
        one.samples = samples(0)
        for sample in one.samples[:20]:
            sample.ejabberd *= 3
        one.killed = 15
        trend = one.trends()["ejabberd, RSS"]
        assert trend
        self.assertEqual((trend.samples, trend.mean, trend.slope), (34, 10**8, 0))

    def test_growth_is_found(self) -> None:
        one = record()
        one.samples = samples(10**6)
        trend = one.trends()["ejabberd, RSS"]
        assert trend
        self.assertAlmostEqual(trend.slope, 60e6)
        self.assertTrue(trend.is_growth(soak.LEAST_GROWTH) and trend.watched > soak.LONG_ENOUGH)

    def test_trouble_of_a_kind_is_one_line(self) -> None:
        def result(lost: int, back: float) -> Result:
            managed = Counts(10, Faults(), Faults(lost, 0, 0), 1)
            return Result("kill", "a kill", disconnected=5, resumed=2, managed=managed, figures={"back": back})

        lines = table([result(1, 2.0), result(3, 9.0), Result("a", "another")], "what")
        self.assertEqual(len(lines), 4)
        self.assertEqual(lines[2], "| a kill | 2 | 10 | 4 | 20 | 0, 0, 0 | 4, 0, 0 (2 returned) | 0, 0, 0 | 9.0 s |")

    def test_it_is_written_with_all_broken_promises(self) -> None:
        one = record()
        one.samples = samples(0)
        one.results = [Result("cut-trunk", "a trunk is cut", broken=["a message was lost"])]
        one.broken = ["ECM 1 has panicked"]
        one.left = {"ejabberd": {"timer bif_timer": 3}, "ECM 1": {}}
        with tempfile.TemporaryDirectory() as folder:
            write(one, Path(folder))
            report = (Path(folder) / "report.md").read_text()
            results = json.loads((Path(folder) / "results.json").read_text())
            self.assertIn("<svg", (Path(folder) / "memory.svg").read_text())
        self.assertEqual(results["all_broken"], ["a trunk is cut: a message was lost", "ECM 1 has panicked"])
        for words in ("- ejabberd: timer bif_timer +3", "- ECM 1: nothing", "- ECM 1 has panicked"):
            self.assertIn(words, report)


class TheOrder(unittest.TestCase):
    def test_it_is_another_one_for_each_seed_and_has_all_each_time(self) -> None:
        names = list(TROUBLES)
        hands = [list(islice(soak.deal(names, random.Random(seed)), 2 * len(names))) for seed in (1, 1, 2)]
        self.assertEqual(hands[0], hands[1])
        self.assertNotEqual(hands[0], hands[2])
        for hand in hands:
            self.assertEqual(sorted(hand[: len(names)]), sorted(names))
            self.assertEqual(sorted(hand[len(names) :]), sorted(names))


if __name__ == "__main__":
    unittest.main()
