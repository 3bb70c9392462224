"""The arithmetic of comparisons."""

import unittest

from lab.rounds import Better, Comparison, alternating


def compared(**samples: list[float]) -> Comparison:
    return Comparison("it", "us", "plain", samples=samples)


class Rounds(unittest.TestCase):
    def test_every_second_round_is_in_reverse(self) -> None:
        self.assertEqual("".join(alternating("abc", 3)), "abccbaabc")

    def test_medians_and_ranges_are_over_the_rounds(self) -> None:
        comparison = compared(plain=[3.0, 100.0, 1.0])
        self.assertEqual(comparison.median("plain"), 3.0)
        self.assertEqual(comparison.range("plain"), (1.0, 100.0))

    def test_ratios_are_within_a_round(self) -> None:
        # A machine that is half as fast in the second round changes no ratio.
        comparison = compared(plain=[100.0, 200.0], other=[50.0, 100.0])
        self.assertEqual(comparison.ratios("other"), [0.5, 0.5])
        self.assertEqual(comparison.ratio("other"), 0.5)

    def test_rounds_without_a_baseline_have_no_ratio(self) -> None:
        self.assertEqual(compared(plain=[0.0, 2.0], other=[1.0, 1.0]).ratios("other"), [0.5])
        self.assertIsNone(compared(plain=[0.0], other=[1.0]).ratio("other"))
        self.assertIsNone(compared(other=[1.0]).ratio("other"))

    def test_a_difference_is_shown_if_it_is_wider_than_the_spread(self) -> None:
        base = [100.0, 100.0, 100.0]
        self.assertTrue(compared(plain=base, other=[50.0, 60.0, 55.0]).is_shown("other"))
        self.assertTrue(compared(plain=base, other=[150.0, 160.0, 155.0]).is_shown("other"))
        self.assertFalse(compared(plain=base, other=[90.0, 70.0, 110.0]).is_shown("other"))
        self.assertFalse(compared(plain=base, other=base).is_shown("other"))

    def test_one_round_shows_nothing(self) -> None:
        self.assertFalse(compared(plain=[100.0], other=[1.0]).is_shown("other"))

    def test_json_has_all_samples_and_what_they_come_to(self) -> None:
        comparison = Comparison("it", "", "plain", Better.HIGHER)
        for variant, value in (("plain", 2.0), ("other", 4.0), ("plain", 2.0), ("other", 6.0)):
            comparison.add(variant, value)
        written = comparison.to_json()
        self.assertEqual(written["better"], "higher")
        self.assertEqual(written["samples"], {"plain": [2.0, 2.0], "other": [4.0, 6.0]})
        self.assertEqual(
            written["summary"]["other"],
            {
                "median": 5.0,
                "lowest": 4.0,
                "highest": 6.0,
                "ratio": 2.5,
                "ratios": [2.0, 3.0],
                "difference_exceeds_spread": True,
            },
        )


if __name__ == "__main__":
    unittest.main()
