"""What is said of limits."""

import unittest

from lab import limits
from lab.limits import Need


class Limits(unittest.TestCase):
    def test_processes_have_room_for_all(self) -> None:
        self.assertEqual(limits.share(1_000_000, 19_400), 52)
        self.assertEqual(limits.share(19_400, 19_400), 1)
        self.assertEqual(limits.share(5, 10, least=3), 3)

    def test_this_machine_has_room_for_a_few(self) -> None:
        self.assertEqual(Need(connections=10, processes=1, threads=10).troubles(), [])

    def test_no_machine_has_room_for_any_number(self) -> None:
        troubles = Need(connections=1 << 62, processes=1, threads=1 << 40).troubles()
        for name in ("fs.file-max", "fs.epoll.max_user_watches", "kernel.pid_max"):
            self.assertTrue(any(one.startswith(f"{name} is ") for one in troubles), name)

    def test_a_setting_may_be_missing(self) -> None:
        self.assertEqual(limits.numbers("net/none"), [])
        self.assertEqual(len(limits.numbers("net/ipv4/ip_local_port_range")), 2)


if __name__ == "__main__":
    unittest.main()
