"""A short soak of what was built."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SOAK = Path(__file__).resolve().parents[1] / "soak.py"


class AShortSoak(unittest.TestCase):
    def test_no_message_is_lost_and_nothing_is_left(self) -> None:
        """Each kind of trouble once, but for stops of a minute."""
        options = "--hours 0 --users 96 --messages 40 --round 1 --stopped 1 --long-stopped 0 --resume 5 --plain 0"
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-B", str(SOAK), *options.split(), "--output", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, f"{done.stdout}{done.stderr}")


if __name__ == "__main__":
    unittest.main()
