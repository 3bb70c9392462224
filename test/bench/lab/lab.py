"""The laboratory itself: what was built, a folder for all that is written, and the end of it all."""

import fcntl
import os
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from .program import LabError, Program

ROOT = Path(__file__).resolve().parents[3]

_OTHER_DESCRIPTORS = 500
"""What a server has open besides its clients, at most."""

_Started = TypeVar("_Started", bound=Program)


@dataclass(frozen=True)
class Built:
    """Where the programs under test are."""

    ecm: Path
    swarm: Path
    application: Path
    """The ebin folder of the Erlang application megaphone."""

    @classmethod
    def find(cls, programs: Path | None, application: Path | None) -> Self:
        """Looks where `make` puts them, unless told otherwise."""
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        programs = (programs or ROOT / target / "release").resolve()
        application = (application or ROOT / "_build/default/lib/megaphone").resolve()
        built = cls(programs / "megaphone-ecm", programs / "megaphone-swarm", application / "ebin")
        for path in (built.ecm, built.swarm, built.application / "megaphone.app"):
            if not path.exists():
                raise LabError(f"there is no {path}; run `make bench`, which builds all, or name where it is")
        return built


class Lab:
    """Programs, each in a folder of its own below one. Leaving it ends all of them."""

    def __init__(self, directory: Path, built: Built) -> None:
        """Empties the folder, as what it had is of an earlier run."""
        self.built = built
        self.directory = directory.resolve()
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self.directory.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise LabError(f"{self.directory} is in use by another run; name another folder by --output") from None
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self._count = 0
        self._running: list[Program] = []
        # Each client is a descriptor, so all that may be had are.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.descriptors = min(hard, 1 << 20) if hard != resource.RLIM_INFINITY else 1 << 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, hard))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_all()
        self._lock.close()

    def folder(self, name: str) -> Path:
        """A new folder."""
        self._count += 1
        path = self.directory / f"{self._count:03}-{name}"
        path.mkdir()
        return path

    def keep(self, program: _Started) -> _Started:
        """Notes that a program runs."""
        self._running.append(program)
        return program

    def end_all(self) -> None:
        """Ends what runs, the latest first, at once: nothing it would write is needed."""
        while self._running:
            self._running.pop().kill()

    def end(self, *programs: Program) -> None:
        """Ends some."""
        for program in programs:
            program.kill()
            self._running.remove(program)

    def crowd(self, users: int, transport: str) -> int:
        """So many users, or as many as one process has descriptors for: a BOSH client has two connections."""
        each = 2 if transport == "bosh" else 1
        return min(users, (self.descriptors - _OTHER_DESCRIPTORS) // each // 100 * 100)

    def certificate(self) -> tuple[Path, Path]:
        """A certificate for localhost and its key, as PEM."""
        cert, key = self.directory / "cert.pem", self.directory / "key.pem"
        if not cert.exists():
            self.renew_certificate()
        return cert, key

    def renew_certificate(self) -> None:
        """Puts a new certificate with a new key into the same files."""
        cert, key = self.directory / "cert.pem", self.directory / "key.pem"
        run(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", key, "-out", cert),
        )
        # HAProxy takes both from one file.
        (self.directory / "both.pem").write_text(cert.read_text() + key.read_text())


def run(*command: str | Path, folder: Path | None = None) -> str:
    """What a short command says, in that folder; one that fails is a LabError."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    except OSError as error:
        raise LabError(f"{command[0]}: {error.strerror}. Try: make deps") from error
    if done.returncode:
        raise LabError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr
