"""The search for the highest rate."""

import unittest

from rows.capacity import search


class Search(unittest.TestCase):
    """From wherever it starts."""

    def test_the_highest_rate_is_found_to_a_tenth(self) -> None:
        for start in (1, 900, 1000, 50_000):
            tried: list[float] = []

            def holds(rate: float, tried: list[float] = tried) -> bool:
                tried.append(rate)
                return rate <= 1000

            found = search(holds, start)
            self.assertIn(found, tried)
            self.assertLessEqual(found, 1000)
            self.assertGreater(found, 1000 / 1.1)

    def test_a_start_that_is_nearly_right_takes_few_steps(self) -> None:
        tried: list[float] = []

        def holds(rate: float) -> bool:
            tried.append(rate)
            return rate <= 1000

        search(holds, 980)
        self.assertLessEqual(len(tried), 4)
