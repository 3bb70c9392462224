"""What is left."""

import os
import unittest
from collections.abc import Iterator

from lab import census
from lab.census import Census


class WhatIsLeft(unittest.TestCase):
    def test_only_what_there_is_more_of(self) -> None:
        before: Census = {"processes": 10, "timers": 5, "sockets": 3}
        self.assertEqual(census.growth(before, {"processes": 12, "timers": 4, "sockets": 3, "pipes": 1}),
                         {"processes": 2, "pipes": 1})

    def test_what_goes_in_time_is_not_left(self) -> None:
        looks: Iterator[Census] = iter([{"processes": 2}, {"processes": 1}])
        self.assertEqual(census.left({"processes": 1}, lambda: next(looks), within=60), {})

    def test_what_does_not_go_is_left_after_the_time_for_it(self) -> None:
        self.assertEqual(census.left({}, lambda: {"processes": 1}, within=0), {"processes": 1})

    def test_what_ejabberd_remembers_is_not_waited_for(self) -> None:
        more = census.left({}, lambda: {"rows of stream_mgmt_cache": 7}, within=60)
        self.assertEqual((more, census.unexplained(more)), ({"rows of stream_mgmt_cache": 7}, {}))

    def test_an_open_file_is_counted_by_its_kind(self) -> None:
        before = census.of_files(os.getpid())
        with open(__file__, "rb"), open(os.pipe()[0], "rb"):
            more = census.growth(before, census.of_files(os.getpid()))
        self.assertEqual(more, {f"fd of {os.path.realpath(__file__)}": 1, "fd of pipe": 2})


if __name__ == "__main__":
    unittest.main()
