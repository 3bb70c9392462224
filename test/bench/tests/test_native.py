"""What is read of other benchmarks' output."""

import json
import os
import tempfile
import unittest
from pathlib import Path

from lab.report import Figure
from rows.native import criterion, scale


class Native(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def measured(self, name: str, throughput: dict[str, int] | None, median: float, when: float) -> None:
        new = self.folder / name / "new"
        new.mkdir(parents=True)
        (new / "benchmark.json").write_text(json.dumps({"full_id": name, "throughput": throughput}))
        (new / "estimates.json").write_text(json.dumps({"median": {"point_estimate": median}}))
        os.utime(new / "estimates.json", (when, when))

    def test_criterion_says_what_it_measured_in_this_run(self) -> None:
        self.measured("head/100", {"Bytes": 1 << 20}, 1e9, 100)
        self.measured("frames", {"Elements": 1000}, 5000, 100)
        self.measured("one", None, 7.5, 100)
        self.measured("of an earlier run", None, 1, 10)
        self.assertEqual(
            criterion(self.folder, 50),
            [
                Figure("frames", 5000, "ns", "5.0 ns each"),
                Figure("head/100", 1e9, "ns", "1 MiB/s"),
                Figure("one", 7.5, "ns"),
            ],
        )

    def test_the_nif_says_what_few_and_many_connections_cost(self) -> None:
        cost = {"what": "recv", "few": {"median": 300.0}, "many": {"median": 390.0}, "ratio": 1.3}
        self.assertEqual(
            scale({"connections": 1_000_000, "costs": [cost]}),
            [
                Figure("NIF, recv, 1,000 connections", 300.0, "ns", is_headline=True),
                Figure("NIF, recv, 1,000,000 connections", 390.0, "ns", "×1.30", is_headline=True),
            ],
        )


if __name__ == "__main__":
    unittest.main()
