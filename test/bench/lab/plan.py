"""How much is measured."""

from dataclasses import dataclass

from .names import HAPROXY, MEGAPHONE, MEGAPHONE_HTTP, NGINX, PLAIN, TRANSPORTS


@dataclass(frozen=True)
class Plan:
    """The size of each measurement. Times are in seconds."""

    rounds: int = 3
    memory_users: int = 2000
    """Users who are idle at one ejabberd."""
    memory_at_once: int = 20
    """Such ejabberds at a time, if there is memory for so many."""
    memory_warm_up: float = 15
    """Until a new ejabberd has given back what its start took."""
    chart_transports: tuple[str, ...] = ("websocket",)
    quiet: float = 60
    traffic_users: int = 400
    traffic_rate: float = 500
    """Messages per second."""
    traffic_seconds: float = 4
    traffic_variants: tuple[str, ...] = (PLAIN, NGINX, MEGAPHONE_HTTP, MEGAPHONE)
    idle_seconds: float = 1
    logins: int = 2000
    storm_users: int = 10_000
    storm_seconds: float = 30
    storm_transports: tuple[str, ...] = ("websocket",)
    requests_seconds: float = 2
    load_rates: tuple[float, ...] = (100, 300, 1000, 3000)
    busy_rate: float = 1000
    """One of them at which the CPU of a message is compared as well."""
    load_seconds: float = 3
    load_transports: tuple[str, ...] = ("websocket",)
    activity_users: int = 1200
    """Of each of the three kinds that they are of."""
    activity_transports: tuple[str, ...] = ("tcp",)
    capacity_start: float = 2000
    """Messages per second that the search begins with."""
    capacity_seconds: float = 5
    """Of each rate that is tried."""
    capacity_transports: tuple[str, ...] = ("websocket",)


QUICK = Plan()
"""Some minutes."""

FULL = Plan(
    memory_users=5000,
    chart_transports=tuple(TRANSPORTS),
    traffic_users=1000,
    traffic_seconds=6,
    traffic_variants=(PLAIN, NGINX, HAPROXY, MEGAPHONE_HTTP, MEGAPHONE),
    idle_seconds=3,
    logins=5000,
    storm_transports=tuple(TRANSPORTS),
    requests_seconds=8,
    load_rates=(100, 300, 1000, 2000, 4000, 8000),
    busy_rate=2000,
    load_seconds=4,
    load_transports=tuple(TRANSPORTS),
    activity_users=3000,
    activity_transports=tuple(TRANSPORTS),
    capacity_seconds=20,
    capacity_transports=tuple(TRANSPORTS),
)
"""Two hours."""

TINY = Plan(
    rounds=2,
    memory_users=200,
    memory_at_once=4,
    memory_warm_up=1,
    quiet=3,
    traffic_users=100,
    traffic_rate=200,
    traffic_seconds=1,
    idle_seconds=1,
    logins=200,
    storm_users=300,
    storm_seconds=4,
    requests_seconds=1,
    load_rates=(50, 100, 200),
    busy_rate=200,
    load_seconds=1,
    activity_users=110,
    capacity_start=200,
    capacity_seconds=1,
)
"""A look at whether all of it works; its numbers mean nothing."""
