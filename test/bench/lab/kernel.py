"""What the machine's memory holds besides programs: what the kernel keeps for sockets, and what is left."""

import contextlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from .processes import PAGE, TICKS_A_SECOND


_OF_FILES = re.compile(r"(?<!^sock)(?<!^lsm)_inode_cache$|^radix_tree_node$|^buffer_head$|^(btrfs|ext4|xfs)_")
"""Caches of what is on disks and in /proc."""


@dataclass
class Kernel:
    """Bytes, at one moment."""

    slabs: dict[str, int] = field(default_factory=dict)
    """The kernel's objects by their cache, as /proc/slabinfo tells; nothing for others than root."""
    buffers: int = 0
    """What is in TCP sockets, as /proc/net/sockstat tells."""
    sockets: int = 0
    """TCP sockets; a number."""
    tables: int = 0
    """Page tables and the stacks of threads."""
    available: int = 0
    """What programs can still get."""


def look() -> Kernel:
    """How it is now."""
    memory = sizes(Path("/proc/meminfo").read_text())
    inuse, pages = tcp(Path("/proc/net/sockstat").read_text())
    try:
        slabs = caches(Path("/proc/slabinfo").read_text())
    except OSError:
        slabs = {}
    return Kernel(
        slabs=slabs,
        buffers=pages * PAGE,
        sockets=inuse,
        tables=memory["PageTables"] + memory["KernelStack"],
        available=memory["MemAvailable"],
    )


def available() -> int:
    """Bytes that programs can still get without swapping."""
    return sizes(Path("/proc/meminfo").read_text())["MemAvailable"]


def cpu_seconds() -> float:
    """What all cores have worked so far, on whatever it was."""
    # user, nice, system, (idle, iowait,) irq, softirq: the first line of /proc/stat.
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:7])) / TICKS_A_SECOND


def forget_files() -> None:
    """Has the kernel give back what it remembers of files, so that what grows from here on is of sockets."""
    with contextlib.suppress(OSError):
        Path("/proc/sys/vm/drop_caches").write_text("2")


def growth(now: Kernel, start: Kernel) -> dict[str, int]:
    """By how many bytes each cache of objects has grown, the most first; without those that have not, or are of files."""
    mine = {name: size for name, size in now.slabs.items() if not _OF_FILES.search(name)}
    grown = {name: size - start.slabs.get(name, 0) for name, size in mine.items()}
    return {name: size for name, size in sorted(grown.items(), key=lambda one: -one[1]) if size > 0}


def sizes(meminfo: str) -> dict[str, int]:
    """Bytes by their names in /proc/meminfo."""
    return {name: int(size) * 1024 for name, size in re.findall(r"^(\S+):\s+(\d+) kB$", meminfo, re.MULTILINE)}


def caches(slabinfo: str) -> dict[str, int]:
    """Bytes of each cache in /proc/slabinfo: its slabs, each of so many pages."""
    found = {}
    for line in slabinfo.splitlines():
        if " : slabdata" in line and not line.startswith("#"):
            fields = line.split()
            found[fields[0]] = int(fields[-2]) * int(fields[5]) * PAGE
    return found


def tcp(sockstat: str) -> tuple[int, int]:
    """TCP sockets in use and pages of their buffers, of /proc/net/sockstat; a socket that was not accepted has none."""
    fields = re.search(r"^TCP: inuse (\d+) .* mem (\d+)$", sockstat, re.MULTILINE)
    return (int(fields[1]), int(fields[2])) if fields else (0, 0)
