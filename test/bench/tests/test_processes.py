"""What /proc tells, of processes that do something."""

import os
import subprocess
import sys
import unittest

from lab import processes

# Each says when it is done, and waits.
USE_MEMORY = "taken = bytearray(b'x') * (32 << 20); print(flush=True); input()"
USE_CPU = """
import subprocess, sys, threading, time
def work():
    while time.process_time() < 0.2: pass
threading.Thread(target=work).start()
work()
work_too = 'import time\\nwhile time.process_time() < 0.2: pass\\nprint(); input()'
child = subprocess.Popen([sys.executable, '-c', work_too], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline(); print(flush=True); input()
"""


class Processes(unittest.TestCase):
    def running(self, program: str) -> int:
        """The process id of a program that has said that it is done."""
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdin and process.stdout
        # Its own child's input ends with it.
        for end in (process.wait, process.stdin.close, process.stdout.close, process.kill):
            self.addCleanup(end)
        process.stdout.readline()
        return process.pid

    def test_all_threads_and_children_count(self) -> None:
        pid = self.running(USE_CPU)
        self.assertEqual(len(processes.tree(pid)), 2)
        self.assertGreaterEqual(processes.cpu_seconds(pid), 0.35)

    def test_memory_that_was_written_to_is_resident(self) -> None:
        one, other = self.running(USE_MEMORY), self.running(USE_MEMORY)
        self.assertGreater(processes.resident(one), 32 << 20)
        self.assertGreater(processes.resident(one, other), 64 << 20)

    def test_the_program_itself_is_not_private(self) -> None:
        pid = self.running(USE_MEMORY)
        private = processes.private(pid)
        self.assertGreater(private, 32 << 20)
        self.assertLess(private, processes.resident(pid))

    def test_who_is_gone_has_nothing(self) -> None:
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        self.assertEqual(processes.cpu_seconds(process.pid), 0)
        self.assertEqual(processes.resident(process.pid), 0)
        self.assertEqual(processes.private(process.pid), 0)

    def test_the_name_of_a_process_may_hold_anything(self) -> None:
        pid = self.running("open('/proc/self/comm', 'w').write('a) b (c'); print(flush=True); input()")
        self.assertIn(pid, processes.tree(os.getpid()))


if __name__ == "__main__":
    unittest.main()
