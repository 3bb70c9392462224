"""What became of messages."""

import unittest

from lab.clients import Result
from lab.counts import Counts, Faults

TRAFFIC = {
    "sent": 10,
    "lost": 3,
    "doubled": 1,
    "reordered": 2,
    "of_lost_sessions": {"lost": 2, "doubled": 1, "reordered": 0, "returned": 1},
}


class MessagesAreCounted(unittest.TestCase):
    def test_what_lost_sessions_held_is_apart(self) -> None:
        counts = Counts()
        counts.add(TRAFFIC)
        counts.add(TRAFFIC)
        self.assertEqual(counts, Counts(20, Faults(2, 0, 4), Faults(4, 2, 0), 2))
        self.assertIn("2 lost, 0 doubled, 4 out of order; by or to clients whose sessions were lost 4", counts.text())

    def test_no_fault_is_none(self) -> None:
        self.assertFalse(Faults())
        self.assertTrue(Faults(reordered=1))
        self.assertNotIn("sessions", Counts(sent=1).text())

    def test_a_promise_that_is_not_kept_is_told(self) -> None:
        result = Result("a", "something is done")
        result.promise(True, "kept")
        result.promise(False, "not kept at all")
        self.assertEqual(result.broken, ["not kept at all"])
        self.assertIn("NOT KEPT      not kept at all", result.text())


if __name__ == "__main__":
    unittest.main()
