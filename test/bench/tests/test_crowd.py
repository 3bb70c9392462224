"""What a crowd's summary says."""

import unittest

from lab.crowd import Sample, Summary


class TheSummary(unittest.TestCase):
    """Its numbers are a user's, and a second's."""

    def test_sizes_are_divided_among_the_users(self) -> None:
        idle = Sample(seconds=400, online=1000, ejabberd=9_000_000, grown=6_000_000, ecms=1_500_000, swarms=0)
        summary = Summary(
            "through ECMs",
            users=1000,
            login_seconds=300,
            logins_per_second=2500,
            cpu_per_login={"ejabberd": 700.4, "ECMs": 199.6},
            idle=idle,
            erlang_memory=4_000_000,
            traffic={"sent": 5000, "seconds": 5, "p50": 700, "p99": 2500, "lost": 0, "doubled": 0},
            cut_users=125,
            back_seconds=0.5,
        )
        text = summary.text()
        for part in (
            "1,000 users online, through ECMs",
            "2,500 per second, 5.0 minutes; CPU per login (us): ejabberd 700, ECMs 200",
            "0.01 GB over its start, 6000 B per user (RSS); 4000 B by erlang:memory",
            "0.00 GB, 1500 B per user",
            "1000 per second, latency p50 0.7 ms, p99 2.5 ms; 0 lost, 0 doubled",
            "125 users lost it; all were back after 0 s, 250 per second",
        ):
            self.assertIn(part, text)

    def test_without_ecms_nothing_is_said_of_them(self) -> None:
        idle = Sample(seconds=1, online=1, ejabberd=1, grown=1, ecms=0, swarms=0)
        traffic = {"sent": 1, "seconds": 1, "p50": 1, "p99": 1, "lost": 0, "doubled": 0}
        self.assertNotIn("ECM", Summary("in trunks", users=1, idle=idle, traffic=traffic).text())


if __name__ == "__main__":
    unittest.main()
