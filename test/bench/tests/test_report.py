"""Tables."""

import json
import tempfile
import unittest
from pathlib import Path

from lab.names import MEGAPHONE, PLAIN
from lab.plot import Chart, Colour, Line
from lab.program import LabError
from lab.documents import END, START, publish, replaced
from lab.report import Figure, Row, markdown, number, summary, terminal
from lab.rounds import Comparison

ROW = Row(
    "messages",
    "A message",
    [
        Comparison(
            "CPU per message",
            "us",
            "plain",
            samples={"plain": [200.0, 220.0, 210.0], "front": [230.0, 200.0, 210.0], "ours": [80.0, 88.0, 84.0]},
            is_prominent=True,
        ),
        Comparison("detail", "", "plain", samples={"plain": [1.0]}, is_headline=False),
    ],
    settings={"users": 500},
    notes=["2 messages were lost"],
    figures=[Figure("a frame", 12.5, "ns", "80 MiB/s")],
    charts={"latency": Chart("Latency", "messages per second", "ms", [Line("ours", Colour.BLUE, [(100, 0.5)])])},
)


class Reports(unittest.TestCase):
    def test_numbers_have_three_digits_that_say_something(self) -> None:
        shown = [number(value) for value in (0, 0.123, 5.678, 56.78, 567.8, 5678)]
        self.assertEqual(shown, ["0", "0.12", "5.68", "56.8", "568", "5,678"])

    def test_the_terminal_has_medians_ranges_ratios_and_what_is_not_shown(self) -> None:
        lines = [line.split() for line in terminal(ROW).splitlines()]
        self.assertIn("plain 210 200 .. 220".split(), lines)
        self.assertIn("ours 84.0 80.0 .. 88.0 ×0.40 (0.40 .. 0.40)".split(), lines)
        self.assertIn("front 210 200 .. 230 ×1.00 (0.91 .. 1.15) ≈ not beyond the spread".split(), lines)
        self.assertIn("note: 2 messages were lost".split(), lines)
        self.assertIn("a frame 12.5 ns 80 MiB/s".split(), lines)
        self.assertIn("ours 0.50".split(), lines)

    def test_the_summary_has_headlines_in_the_order_of_the_columns(self) -> None:
        lines = [line.split() for line in summary([ROW], ["ours", "none", "plain", "front"]).splitlines()]
        self.assertEqual(
            lines, ["ours plain front".split(), "CPU per message, us 84.0 (×0.40) 210 210 (×1.00) ≈".split()]
        )

    def test_markdown_is_the_summary(self) -> None:
        self.assertEqual(
            markdown([ROW], ["plain", "ours"]).splitlines(),
            ["|  | plain | ours |", "| --- | ---: | ---: |", "| CPU per message, us | 210 | 84.0 (×0.40) |"],
        )

    def test_json_can_be_written(self) -> None:
        written = json.loads(json.dumps(ROW.to_json()))
        self.assertEqual(written["comparisons"][0]["samples"]["ours"], [80.0, 88.0, 84.0])
        self.assertEqual(written["charts"]["latency"]["lines"][0]["points"], [[100, 0.5]])

    def test_a_chart_without_points_has_no_picture(self) -> None:
        charts = {"empty": Chart("Latency", "x", "y", [Line("ours", Colour.BLUE)]), **ROW.charts}
        self.assertEqual(list(Row("load", "Load", charts=charts).pictures()), ["latency"])

    def test_what_is_between_the_markers_is_replaced(self) -> None:
        text = f"before\n{START}\nold\n{END}\nafter\n"
        self.assertEqual(replaced(text, "new"), f"before\n{START}\n\nnew\n\n{END}\nafter\n")
        with self.assertRaises(LabError):
            replaced("no markers", "new")

    def test_the_documents_get_the_tables_and_the_pictures(self) -> None:
        plain = Comparison("latency", "ms", PLAIN, samples={PLAIN: [1.0], MEGAPHONE: [2.0]})
        prominent = Comparison("memory", "KB", PLAIN, samples={PLAIN: [4.0], MEGAPHONE: [1.0]}, is_prominent=True)
        headline = Figure("NIF, recv", 317, "ns", is_headline=True)
        row = Row("row", "Row", [plain, prominent], figures=[headline, *ROW.figures], charts=ROW.charts)
        machine = dict.fromkeys(("cpu", "cores", "kernel", "ejabberd", "otp", "nginx", "haproxy", "rustc"), "1")
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            (root / "doc").mkdir()
            for document in ("README.md", "doc/measured.md"):
                (root / document).write_text(f"# Title\n\n{START}\n{END}\n\nThe end.\n")
            publish(root, [row], machine)
            self.assertTrue((root / "doc/bench/latency.svg").read_text().startswith("<svg"))
            measured = (root / "doc/measured.md").read_text().splitlines()
            self.assertIn("| latency, ms | 1.00 | 2.00 (×2.00) ≈ |", measured)
            self.assertIn("| memory, KB | 4.00 | 1.00 (×0.25) ≈ |", measured)
            self.assertIn("![latency](bench/latency.svg)", measured)
            self.assertIn("- NIF, recv: 317 ns", measured)
            self.assertEqual(measured[-1], "The end.")
            readme = (root / "README.md").read_text().splitlines()
            rows = [line for line in readme if line.startswith("| ")][2:]
            self.assertEqual(rows, ["| memory, KB | 4.00 | 1.00 (×0.25) ≈ |"])
            self.assertNotIn("![", "".join(readme))


if __name__ == "__main__":
    unittest.main()
