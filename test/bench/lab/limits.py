"""Whether a machine's limits leave room for very many connections."""

import resource
import socket
from dataclasses import dataclass
from pathlib import Path

PORTS = 4000
"""Clients that come from one local address. Linux looks through half of its ports first, one by one, and those of
clients that come back are taken twice for a minute."""

_OTHER_FILES = 50_000
_OTHER_PROCESSES = 1000
_PROBES = 20


@dataclass(frozen=True)
class Need:
    """What a run needs. Each connection has two ends on this machine."""

    connections: int
    processes: int
    threads: int

    def troubles(self) -> list[str]:
        """What an admin has to set, in plain words; nothing if all is well."""
        return [text for text in (self._too_low(*one) for one in self._limits()) if text]

    def _limits(self) -> list[tuple[str, int, int]]:
        """A setting, what it is, and what it has to be at least."""
        ends = 2 * self.connections
        lowest, highest = numbers("net/ipv4/ip_local_port_range") or [0, 1 << 16]
        tasks = resource.getrlimit(resource.RLIMIT_NPROC)[0]
        limits = [
            ("net.ipv4.ip_local_port_range (how many it has)", highest - lowest + 1, 3 * PORTS),
            ("ulimit -u", _infinite(tasks), self.threads + _OTHER_PROCESSES),
        ]
        for name, least in (
            ("fs.file-max", ends + _OTHER_FILES),
            ("fs.epoll.max_user_watches", ends + _OTHER_FILES),
            ("kernel.pid_max", self.threads + _OTHER_PROCESSES),
            ("kernel.threads-max", self.threads + _OTHER_PROCESSES),
            ("net.core.somaxconn", 1024),
            ("net.ipv4.tcp_max_orphans", self.connections // max(self.processes, 1) + 1000),
        ):
            if found := numbers(name.replace(".", "/")):
                limits.append((name, found[0], least))
        most = numbers("net/netfilter/nf_conntrack_max")
        if most and _is_tracked():
            limits.append(("net.netfilter.nf_conntrack_max", most[0], self.connections + _OTHER_PROCESSES))
        return limits

    @staticmethod
    def _too_low(name: str, found: int, least: int) -> str:
        return f"{name} is {found:,}; it has to be {least:,} or more" if found < least else ""


def numbers(name: str) -> list[int]:
    """A setting of the kernel below /proc/sys; nothing if it has no such setting."""
    try:
        return [int(word) for word in Path("/proc/sys", name).read_text().split()]
    except (OSError, ValueError):
        return []


def share(users: int, most: int, least: int = 1) -> int:
    """How many processes `users` need if one has room for `most` of them; no fewer than `least`."""
    return max(-(-users // most), least)


def _infinite(limit: int) -> int:
    return 1 << 62 if limit == resource.RLIM_INFINITY else limit


def _is_tracked() -> bool:
    """Whether the kernel keeps track of connections on the loopback address: with no rules of a firewall it does not."""
    before = numbers("net/netfilter/nf_conntrack_count")
    with socket.create_server(("127.0.0.1", 0), backlog=_PROBES) as listener:
        clients = [socket.create_connection(listener.getsockname()) for _ in range(_PROBES)]
        now = numbers("net/netfilter/nf_conntrack_count")
        for client in clients:
            client.close()
    return bool(before and now) and now[0] - before[0] >= _PROBES // 2
