"""Latency and CPU of a message against messages per second."""

import statistics

from lab.context import Context, settle
from lab.names import MEGAPHONE, PLAIN, PLAIN_TABLE, TRANSPORTS
from lab.plot import Chart, Colour, Line
from lab.report import Row
from lab.rounds import Comparison, alternating
from lab.swarm import Swarm

_LOGINS_A_SECOND = 400
_VARIANTS = (PLAIN, PLAIN_TABLE, MEGAPHONE)
_COLOURS = {PLAIN: Colour.RED, MEGAPHONE: Colour.BLUE}
_QUANTILES = ("p50", "p99")
_CPU = "CPU"
_KEEPS_UP = 0.95
"""The part of the messages asked for that have to get through, or the line ends."""


def run(context: Context) -> Row:
    """The rate rises as far as messages get through at the rate that was asked for."""
    plan = context.plan
    stage = context.stage(_VARIANTS, plan.traffic_users)
    cases = [(transport, variant) for transport in plan.load_transports for variant in _VARIANTS]
    for transport, variant in cases:
        context.warm_up(stage.ejabberds[variant], stage.fronts[variant], transport)
    comparisons = {
        transport: Comparison(
            f"CPU per message at {plan.busy_rate:,.0f} per second, {TRANSPORTS[transport]}", "us", PLAIN, is_prominent=True
        )
        for transport in plan.load_transports
    }
    measured: dict[tuple[str, str, str], dict[float, list[float]]] = {}
    for number, (transport, variant) in enumerate(alternating(cases, plan.rounds), start=1):
        context.say(f"load {number} of {len(cases) * plan.rounds}: {transport}, {variant}")
        swarm = Swarm(context.lab, transport, stage.fronts[variant], plan.traffic_users, rate=_LOGINS_A_SECOND)
        context.all_online(swarm)
        for rate in plan.load_rates:
            settle()
            before = stage.cpu_seconds(variant)
            traffic = swarm.traffic(rate, plan.load_seconds)
            used = stage.cpu_seconds(variant) - before
            if traffic["received"] < _KEEPS_UP * rate * plan.load_seconds:
                break
            cost = used / traffic["received"] * 1e6
            if rate == plan.busy_rate:
                comparisons[transport].add(variant, cost)
            latencies = {quantile: traffic["latency"][quantile] / 1e3 for quantile in _QUANTILES}
            for quantity, value in {**latencies, _CPU: cost}.items():
                of_rate = measured.setdefault((transport, variant, quantity), {})
                of_rate.setdefault(rate, []).append(value)
        context.dismiss(swarm, stage.ejabberds[variant])
    context.end(stage)

    def line(transport: str, variant: str, quantity: str, name: str, is_dashed: bool) -> Line:
        of_rate = measured.get((transport, variant, quantity), {})
        # A rate that only some rounds reached is none that it keeps up.
        points = [(rate, statistics.median(values)) for rate, values in of_rate.items() if len(values) == plan.rounds]
        return Line(name, _COLOURS[variant], points, is_dashed=is_dashed)

    charts = {}
    for transport in plan.load_transports:
        name, against = TRANSPORTS[transport], "messages per second"
        latency = Chart(f"Latency of a message against load, {name}", against, "ms", is_logarithmic=True)
        latency.lines = [
            line(transport, variant, quantile, f"{variant}, {quantile}", quantile == "p50")
            for variant in _COLOURS
            for quantile in _QUANTILES
        ]
        charts[f"latency-{transport}"] = latency
        cpu = Chart(f"CPU of a message against load, {name}", against, "us", is_logarithmic=True)
        cpu.lines = [line(transport, variant, _CPU, variant, False) for variant in _COLOURS]
        charts[f"cpu-{transport}"] = cpu
    return Row(
        "load",
        "Latency and CPU of a message against messages per second",
        [comparison for comparison in comparisons.values() if comparison.samples],
        charts=charts,
        settings={"users": plan.traffic_users, "seconds per point": plan.load_seconds, "rounds": plan.rounds},
    )
