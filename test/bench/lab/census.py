"""What servers hold: counted before clients come and after they have left, so that whatever is left is found."""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from .ejabberd import Ejabberd
from .fleet import FleetEcm

Census = dict[str, float]
"""How many there are, by what it is."""

REMEMBERED = {
    "rows of access_permissions_cache": "a cache of ejabberd",
    "rows of code": "modules are loaded when they are needed",
    "rows of mnesia_transient_decision": "Mnesia forgets its transactions after minutes",
    "rows of stream_mgmt_cache": "mod_stream_mgmt knows for two days what ended sessions had, up to its cache_size",
}
"""What ejabberd keeps of clients that are gone, without Megaphone too, and why."""

_OWN = re.compile(
    # Counters of all there ever was, and what is not of clients.
    r".*_total(\{.*\})?|.*_(bucket|sum|count)(\{.*\})?|build_info.*|node_(login_limit|share|state|usable).*"
)
_KINDS = re.compile(r"(socket|pipe|anon_inode):.*")


def of_ejabberd(ejabberd: Ejabberd) -> Census:
    """Its processes, table rows, ports, timers and files, and what its NIF holds."""
    return {**ejabberd.census(), **of_files(ejabberd.pid)}


def of_ecm(ecm: FleetEcm) -> Census:
    """Its gauges and files."""
    gauges = {name: value for name, value in ecm.metrics().items() if not _OWN.fullmatch(name)}
    return {**gauges, **of_files(ecm.pid)}


def of_files(pid: int) -> Census:
    """The file descriptors of a process, by kind."""
    kinds: Counter[str] = Counter()
    folder = Path(f"/proc/{pid}/fd")
    for name in os.listdir(folder):
        try:
            target = os.readlink(folder / name)
        except OSError:
            # It was closed meanwhile, as that of the listing itself.
            continue
        kind = _KINDS.fullmatch(target)
        kinds[f"fd of {kind[1] if kind else target}"] += 1
    return dict(kinds)


def growth(before: Census, after: Census) -> Census:
    """What there is more of, and by how much."""
    return {name: after[name] - before.get(name, 0) for name in after if after[name] > before.get(name, 0)}


def steady(looks: Mapping[str, Callable[[], Census]], within: float) -> dict[str, Census]:
    """Counts of several servers that the next ones confirm; the last ones if they go on to differ."""
    deadline = time.monotonic() + within
    before = {name: look() for name, look in looks.items()}
    while time.monotonic() < deadline:
        time.sleep(2)
        if (after := {name: look() for name, look in looks.items()}) == before:
            break
        before = after
    return before


def left(before: Census, look: Callable[[], Census], within: float) -> Census:
    """What there is still more of, once that is only what is remembered, or after so many seconds."""
    deadline = time.monotonic() + within
    while unexplained(more := growth(before, look())) and time.monotonic() < deadline:
        time.sleep(1)
    return more


def unexplained(more: Census) -> Census:
    """What should not be left."""
    return {name: count for name, count in more.items() if name not in REMEMBERED}
