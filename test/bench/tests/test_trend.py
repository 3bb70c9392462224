"""Lines through samples."""

import random
import unittest

from lab.trend import fit


class Trends(unittest.TestCase):
    def test_the_slope_of_a_line_is_found_without_error(self) -> None:
        trend = fit([(x, 3 * x + 5) for x in range(20)])
        assert trend
        self.assertAlmostEqual(trend.slope, 3)
        self.assertAlmostEqual(trend.mean, 3 * 9.5 + 5)
        self.assertAlmostEqual(trend.error, 0)
        self.assertTrue(trend.is_growth(0.01))

    def test_noise_is_no_growth(self) -> None:
        noise = random.Random(1)
        trends = [fit([(x / 100, 100 + noise.gauss(0, 5)) for x in range(100)]) for _ in range(200)]
        # Twice the standard error is passed by 2.3 in 100 on this side.
        self.assertLess(sum(trend.is_growth(0) for trend in trends if trend), 15)

    def test_what_drifts_to_and_fro_is_no_growth(self) -> None:
        noise = random.Random(2)
        grown = 0
        for _ in range(200):
            level, points = 0.0, []
            for x in range(100):
                level = 0.7 * level + noise.gauss(0, 5)
                points.append((x / 100, 100 + level))
            trend = fit(points)
            assert trend
            grown += trend.is_growth(0)
        self.assertLess(grown, 20)

    def test_growth_in_noise_is_found(self) -> None:
        noise = random.Random(3)
        for _ in range(50):
            trend = fit([(x / 100, 100 + 10 * x / 100 + noise.gauss(0, 2)) for x in range(100)])
            assert trend
            self.assertTrue(trend.is_growth(0.02))
            self.assertFalse(trend.is_growth(0.2))

    def test_a_few_samples_say_nothing(self) -> None:
        self.assertIsNone(fit([(x, x) for x in range(9)]))
        self.assertIsNone(fit([(1, x) for x in range(20)]))


if __name__ == "__main__":
    unittest.main()
