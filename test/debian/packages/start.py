#!/usr/bin/env python3
"""Starts a service as its systemd unit says, where there is no systemd: start.py UNIT...

Of the units that are named the first that exists counts. The program has its command line, user, umask, limit of files
and capabilities, and goes on after this ends, which is when the program says by sd_notify that it is ready.
"""

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE = 30
LOG = Path("/var/log/megaphone-ecm.log")


def main() -> int:
    """The exit status: 0 once the program is ready."""
    unit = service(next(path for path in map(Path, sys.argv[1:]) if path.exists()))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = f"{folder}/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            os.chmod(path, 0o666)
            notify.settimeout(1)
            program = start(unit, path)
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until and program.poll() is None:
                try:
                    message = notify.recv(4096).decode()
                except TimeoutError:
                    continue
                if "READY=1" in message.splitlines():
                    return 0
            print(f"no READY=1; exit status: {program.poll()}\n{LOG.read_text()}", file=sys.stderr)
            return 1


def service(path: Path) -> dict[str, str]:
    """The last value of each setting of a unit."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def start(unit: dict[str, str], notify: str) -> subprocess.Popen[bytes]:
    """The program, as its unit wants it."""
    user = unit["User"]
    capabilities = unit["AmbientCapabilities"].removeprefix("CAP_").lower()
    # No more than this machine gives to root.
    files = min(int(unit["LimitNOFILE"]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    command = ["prlimit", f"--nofile={files}", "setpriv", f"--reuid={user}", f"--regid={unit['Group']}", "--init-groups", "--no-new-privs"]
    command += [f"--inh-caps=-all,+{capabilities}", f"--ambient-caps=-all,+{capabilities}"]
    command += [f"--bounding-set=-all,+{capabilities}"]
    with LOG.open("ab") as log:
        return subprocess.Popen(
            [*command, "--", *unit["ExecStart"].split()],
            env={"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": notify},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            umask=int(unit["UMask"], 8),
            start_new_session=True,
        )


if __name__ == "__main__":
    sys.exit(main())
