"""The rows of the bench, in the order in which they are measured."""

from collections.abc import Callable
from dataclasses import dataclass

from lab.context import Context
from lab.report import Row

from . import activities, capacity, front_memory, load, logins, memory, messages, native, requests, storm


@dataclass(frozen=True)
class Measurement:
    """A row before it is measured."""

    name: str
    summary: str
    run: Callable[[Context], Row]
    is_quick: bool = True
    """Whether it is a part of `make bench`."""


MEASUREMENTS = (
    Measurement("memory", "ejabberd's memory per idle user", memory.run),
    Measurement("front-memory", "memory per idle client of the ECM, nginx and HAProxy", front_memory.run),
    Measurement("messages", "CPU and latency of a message", messages.run),
    Measurement("logins", "logins per second", logins.run),
    Measurement("storm", "a crowd that logs in at once", storm.run),
    Measurement("requests", "HTTP requests per second", requests.run),
    Measurement("load", "latency against messages per second", load.run),
    Measurement("activities", "CPU of pings, acknowledgements, presence and the like", activities.run),
    Measurement("capacity", "the most messages per second that arrive in time", capacity.run),
    Measurement("native", "the benchmarks of the Rust crates and of the NIF", native.run, is_quick=False),
)
