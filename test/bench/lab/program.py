"""A program of the laboratory: a child process with a folder and a log of its own."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import processes


class LabError(Exception):
    """What went wrong, where, and what to do."""


class Program:
    """A child process. It gets no signal of the terminal, and is ended if the laboratory dies."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        directory: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts it in `directory`, where its log is `output.log`; `environment` is added to ours."""
        self.name = name
        self.log = directory / "output.log"
        self._command, self.folder, self._environment = command, directory, environment or {}
        directory.mkdir(parents=True, exist_ok=True)
        self.start_again()

    def start_again(self) -> None:
        """Starts it as before, once it has ended."""
        with self.log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "TERM", *self._command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=self.folder,
                    env={**os.environ, **self._environment},
                    start_new_session=True,
                )
            except OSError as error:
                raise LabError(f"{self.name} can't be started: {error}") from error
        self._unread = b""

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal, and nobody that it started."""
        self._process.send_signal(number)

    def wait_for_end(self, within: float) -> None:
        """Waits until it has ended by itself."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise self._failed(f"has not ended after {within:.0f} s") from None
        self.kill()

    @property
    def pid(self) -> int:
        """Its process id, the one of the command itself."""
        return self._process.pid

    def tell(self, line: str) -> None:
        """Writes a line to its standard input."""
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except OSError as error:
            raise self._failed(f"does not take {line!r}: {error}") from error

    def line(self, within: float) -> str | None:
        """The next line of its standard output, or None if there is none for so many seconds."""
        assert self._process.stdout
        deadline = time.monotonic() + within
        while b"\n" not in self._unread:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                return None
            if not (read := os.read(self._process.stdout.fileno(), 1 << 16)):
                self._process.wait()
                raise self._failed("has ended")
            self._unread += read
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()

    def wait_until(self, what: str, holds: Callable[[], bool], within: float = 30) -> None:
        """Waits until something holds of it, as long as it lives."""
        deadline = time.monotonic() + within
        while not holds():
            if self._process.poll() is not None:
                raise self._failed(f"has ended before {what}")
            if time.monotonic() > deadline:
                raise self._failed(f"is not where {what} after {within:.0f} s")
            time.sleep(0.05)

    def cpu_seconds(self) -> float:
        """User and system time of it and its children so far."""
        return processes.cpu_seconds(self.pid)

    def resident(self) -> int:
        """Bytes of memory that it and its children hold."""
        return processes.resident(self.pid)

    def stop(self, within: float = 5) -> None:
        """Ends it in order, or, if that takes too long, at once."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        self.kill()

    def kill(self) -> None:
        """Ends it, and what it started, at once."""
        if self._process.poll() is None:
            for pid in processes.tree(self.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _failed(self, what: str) -> LabError:
        status = self._process.poll()
        said = self.log.read_text(errors="replace").splitlines()[-15:] or ["nothing"]
        ended = "" if status is None else f" (its status: {status})"
        return LabError("\n    ".join([f"{self.name} {what}{ended}; its log, {self.log}, ends with", *said]))


def wait(what: str, holds: Callable[[], bool], within: float, pause: float = 0.1) -> None:
    """Waits until something holds; a LabError if that takes more than so many seconds."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            raise LabError(f"it took more than {within:.0f} s until {what}")
        time.sleep(pause)


def takes_connections(port: int) -> bool:
    """Whether somebody listens on a port of the loopback address."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
