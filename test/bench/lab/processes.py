"""What processes cost: CPU time and memory, as /proc tells."""

import os
import time
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads, and of its children, grandchildren ...

    Children that have ended and were waited for count too. A process that is gone has used nothing.
    """
    return sum(_own_cpu_seconds(one) for one in tree(pid))


def resident(pid: int) -> int:
    """Bytes of memory that a process and its descendants hold in RAM (RSS).

    Pages that several of them share count for each, so it is the growth that says something.
    """
    return sum(_own_resident(one) for one in tree(pid))


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
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
    return own + sum(int(ticks) for ticks in fields[13:15]) / _TICKS_A_SECOND


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; the name before it may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _own_resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
