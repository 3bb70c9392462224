"""What the programs of the bench have in common as commands."""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .lab import Built, Lab
from .program import LabError


def add_programs(parser: argparse.ArgumentParser) -> None:
    """Options that say where what is measured was built."""
    parser.add_argument("--programs", type=Path, metavar="DIR", help="where megaphone-ecm and megaphone-swarm are")
    parser.add_argument("--application", type=Path, metavar="DIR", help="the OTP application megaphone")


def run(name: str, arguments: argparse.Namespace, output: Path, work: Callable[[Lab], int]) -> int:
    """Works in a laboratory below `output`, and ends all that was started. Answers the exit status.

    That is 2 after a LabError, which is told, and 130 after Ctrl-C.
    """
    # Who starts this in the background may have SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        built = Built.find(arguments.programs, arguments.application)
        with Lab(output / "lab", built) as lab:
            return work(lab)
    except LabError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted; all that it started has ended", file=sys.stderr)
        return 130


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
