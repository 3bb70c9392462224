"""What processes cost: CPU time and memory, as /proc tells."""

import os
import time
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
"""Bytes."""


def cpu_seconds(*pids: int) -> float:
    """User and system time of processes with all their threads, and of their children, grandchildren ...

    Children that have ended and were waited for count too. A process that is gone has used nothing.
    """
    return sum(_own_cpu_seconds(one) for one in tree(*pids))


def resident(*pids: int) -> int:
    """Bytes of memory that processes and their descendants hold in RAM (RSS).

    Pages that several of them share count for each, so it is the growth that says something.
    """
    return sum(_own_pages(one)[0] for one in tree(*pids)) * PAGE


def private(*pids: int) -> int:
    """The same without pages of files and of shared memory, such as the program itself."""
    return sum(resident - shared for resident, shared in map(_own_pages, tree(*pids))) * PAGE


def tree(*pids: int) -> list[int]:
    """Processes and their descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = list(pids)
    for one in found:
        found.extend(children.get(one, []))
    return found


def _own_cpu_seconds(pid: int) -> float:
    # cutime and cstime: fields 16 and 17 of proc(5), of which the first two are cut off. What the process itself has used
    # its CPU clock tells to the nanosecond, by the number that clock_getcpuclockid(3) gives it.
    fields = _stat(pid)
    try:
        own = time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0
    return own + sum(int(ticks) for ticks in fields[13:15]) / TICKS_A_SECOND


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; the name before it may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _own_pages(pid: int) -> tuple[int, int]:
    """How many are resident, and how many of these are shared: fields 2 and 3 of /proc/PID/statm."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0, 0
    return int(fields[1]), int(fields[2])
