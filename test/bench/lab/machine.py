"""The machine and the versions that a measurement is true for."""

import os
import platform
import re
from pathlib import Path

from .lab import ROOT, run
from .program import LabError


def describe() -> dict[str, str]:
    """CPU, cores, memory, kernel, and the versions of what is measured, but for what only ejabberd knows."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "kernel": platform.release(),
        "nginx": _version("/usr/sbin/nginx", "-v"),
        "haproxy": _version("/usr/sbin/haproxy", "-v"),
        "rustc": _version("rustc", "--version"),
        "commit": _said("git", "-C", ROOT, "describe", "--always", "--dirty"),
    }


def _cpu() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.machine()


def _version(*command: str) -> str:
    found = re.search(r"\d+\.\d+(\.\d+)?", _said(*command))
    return found[0] if found else "unknown"


def _said(*command: str | Path) -> str:
    try:
        return run(*command).strip()
    except LabError:
        return "unknown"
