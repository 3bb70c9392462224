"""The programs of the laboratory, with shells in their place."""

import os
import tempfile
import time
import unittest
from pathlib import Path

from lab.lab import Built, Lab
from lab.program import LabError, Program

NOTHING = Built(Path("/nowhere"), Path("/nowhere"), Path("/nowhere"))


def is_running(pid: int) -> bool:
    """Not so if it is gone, or has only yet to be waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Programs(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def shell(self, script: str) -> Program:
        program = Program("a shell", ["sh", "-c", script], self.folder / "shell", {"GREETING": "hello"})
        self.addCleanup(program.kill)
        return program

    def test_it_is_told_lines_and_tells_lines(self) -> None:
        program = self.shell('echo "$GREETING"; read word; printf "%s\\n" "$word" again')
        self.assertEqual(program.line(10), "hello")
        program.tell("word")
        self.assertEqual([program.line(10), program.line(10)], ["word", "again"])

    def test_a_line_that_does_not_come_is_none(self) -> None:
        self.assertIsNone(self.shell("printf 'half a line'; read word").line(0.1))

    def test_who_has_ended_is_an_error_with_the_end_of_its_log(self) -> None:
        program = self.shell("echo 'no such thing' >&2; exit 3")
        with self.assertRaisesRegex(LabError, r"(?s)a shell has ended \(its status: 3\).*no such thing"):
            program.line(10)
        with self.assertRaisesRegex(LabError, "has ended before it is up"):
            program.wait_until("it is up", lambda: False)

    def test_what_it_started_ends_with_it(self) -> None:
        program = self.shell("sleep 100 & echo $!; wait")
        child = int(program.line(10) or 0)
        program.kill()
        deadline = time.monotonic() + 10
        while is_running(child):
            self.assertLess(time.monotonic(), deadline, "the child of a program that was killed still runs")

    def test_a_program_that_is_not_there_is_an_error(self) -> None:
        with self.assertRaisesRegex(LabError, "has ended"):
            program = Program("nothing", ["/nowhere/nothing"], self.folder)
            self.addCleanup(program.kill)
            program.line(10)

    def test_leaving_the_laboratory_ends_all(self) -> None:
        with Lab(self.folder / "lab", NOTHING) as lab:
            program = lab.keep(Program("a shell", ["sh", "-c", "echo up; read word"], lab.folder("shell")))
            program.line(10)
        self.assertFalse(os.path.exists(f"/proc/{program.pid}"))

    def test_a_laboratory_is_used_by_one_at_a_time(self) -> None:
        with Lab(self.folder / "lab", NOTHING), self.assertRaisesRegex(LabError, "in use by another run"):
            Lab(self.folder / "lab", NOTHING)

    def test_a_crowd_has_a_descriptor_for_each_connection(self) -> None:
        with Lab(self.folder / "lab", NOTHING) as lab:
            lab.descriptors = 10_000
            self.assertEqual(lab.crowd(5000, "websocket"), 5000)
            self.assertEqual(lab.crowd(20_000, "websocket"), 9500)
            self.assertEqual(lab.crowd(20_000, "bosh"), 4700)


if __name__ == "__main__":
    unittest.main()
