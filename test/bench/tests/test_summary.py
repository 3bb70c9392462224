"""What a crowd's summary says."""

import unittest

from lab.summary import Idle, Loss, Pings, Sample, Summary

SAMPLE = Sample(
    seconds=400, online=1000, ejabberd=9_000_000, grown=6_000_000, ecms=1_500_000, swarms=2_000_000, available=4 * 10**9
)
IDLE = Idle(
    SAMPLE,
    erlang_memory=4_000_000,
    slabs={"TCP": 5_000_000, "filp": 400_000},
    buffers=0,
    tables=0,
    taken=15_000_000,
    cpu={"ejabberd": 0.014, "machine": 0.126},
)
TRAFFIC = {
    **{"sent": 5000, "seconds": 5.0, "lost": 0, "doubled": 2, "misrouted": 1},
    **{"latency": {"p50": 700, "p99": 2500}, "cpu": {"machine": 1.5}},
}


class TheSummary(unittest.TestCase):
    """Its numbers are a user's, and a second's."""

    def test_sizes_are_divided_among_the_users(self) -> None:
        text = Summary(
            "by WebSocket",
            wanted=1000,
            users=1000,
            login_seconds=300,
            failed_logins=3,
            cpu_per_login={"ejabberd": 700.4, "ECMs": 199.6, "swarm": 0},
            idle=IDLE,
            pings=Pings(60, 1000, 999, {"ECMs": 0.255}),
            traffic=TRAFFIC,
            loss=Loss("one ECM killed", 125, 0.5),
        ).text()
        for part in (
            "1,000 users online, by WebSocket",
            "3 per second, 5.0 minutes, 3 tried again; CPU per login (us): ejabberd 700, ECMs 200\n",
            "0.01 GB, 6,000 B per user over its start (RSS); 4,000 B by erlang:memory",
            "0.00 GB, 1,500 B per user",
            "0.01 GB, 5,400 B per user in slabs (TCP 5,000, filp 400)",
            "15,000 B per user taken in all, 4.00 GB left",
            "ejabberd 1%, machine 13% of a core",
            "1,000 pings in 60 s, 999 answered",
            "1000 per second, latency p50 0.7 ms, p99 2.5 ms; 0 lost, 2 doubled, 1 to a wrong user",
            "one ECM killed        125 users lost it; all were back after 0 s, 250 per second",
        ):
            self.assertIn(part, text)
        self.assertNotIn("ended early", text)

    def test_what_was_not_measured_is_not_told(self) -> None:
        text = Summary("in trunks", wanted=10, users=4, ended="interrupted").text()
        self.assertEqual(text, "== 4 users online, in trunks\n  ended early           interrupted")

    def test_those_who_are_not_back_are_not_said_to_be(self) -> None:
        self.assertIn("not all came back", Summary("x", wanted=1, users=1, loss=Loss("cut", 1)).text())


if __name__ == "__main__":
    unittest.main()
