"""HTTP requests per second."""

import re

from lab.context import Context, cpu_seconds
from lab.ejabberd import Ejabberd
from lab.lab import run as command
from lab.names import HAPROXY, MEGAPHONE, NGINX, PLAIN
from lab.program import LabError
from lab.report import Row
from lab.rounds import Better, Comparison, alternating
from lab.server import Server

_CONNECTIONS = 64
_PATHS = {"/files/kilobyte": "a file of 1 KiB", "/api/status": "mod_http_api's status"}
_VARIANTS = (PLAIN, NGINX, HAPROXY, MEGAPHONE)


def run(context: Context) -> Row:
    """wrk asks for the same thing on connections that stay open."""
    plan = context.plan
    rates = {path: Comparison(f"requests per second, {name}", "", PLAIN, Better.HIGHER) for path, name in _PATHS.items()}
    costs = {
        path: Comparison(f"CPU per request, {name}", "us", PLAIN, is_headline=False) for path, name in _PATHS.items()
    }
    cases = [(path, variant) for path in _PATHS for variant in _VARIANTS]
    ejabberd = Ejabberd(context.lab, 0).ready()
    fronts = {variant: context.front(variant, ejabberd) for variant in _VARIANTS}
    for path, variant in cases:
        _load(_url(fronts[variant], path), 1)
    for number, (path, variant) in enumerate(alternating(cases, plan.rounds), start=1):
        context.say(f"requests {number} of {len(cases) * plan.rounds}: {path}, {variant}")
        front = fronts[variant]
        before = cpu_seconds(ejabberd, front)
        count, rate = _load(_url(front, path), plan.requests_seconds)
        rates[path].add(variant, rate)
        costs[path].add(variant, (cpu_seconds(ejabberd, front) - before) / count * 1e6)
    context.lab.end(*fronts.values())
    return Row(
        "requests",
        "HTTP requests per second",
        [*rates.values(), *costs.values()],
        notes=["wrk runs on the same CPUs"],
        settings={"connections": _CONNECTIONS, "seconds": plan.requests_seconds, "rounds": plan.rounds},
    )


def _url(front: Server, path: str) -> str:
    return f"http://127.0.0.1:{front.entrances.http}{path}"


def _load(url: str, seconds: float) -> tuple[int, float]:
    """How many answers came, and how many per second. One that isn't a success is a LabError."""
    said = command(
        *("wrk", "--threads", "1", "--connections", str(_CONNECTIONS), "--duration", f"{seconds:.0f}s"),
        *("--header", "Host: localhost", url),
    )
    count = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if not count or not rate or not int(count[1]) or "Non-2xx" in said or "Socket errors" in said:
        raise LabError(f"wrk could not load {url}:\n{said}")
    return int(count[1]), float(rate[1])
