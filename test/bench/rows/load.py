"""Latency against messages a second."""

import statistics

from lab.context import Context, settle
from lab.ejabberd import Ejabberd
from lab.names import MEGAPHONE, PLAIN, TRANSPORTS
from lab.plot import Chart, Colour, Line
from lab.report import Row
from lab.rounds import alternating
from lab.swarm import Swarm

_LOGINS_A_SECOND = 400
_COLOURS = {PLAIN: Colour.RED, MEGAPHONE: Colour.BLUE}
_QUANTILES = ("p50", "p99")
_KEEPS_UP = 0.95
"""The part of the messages asked for that have to get through, or the line ends."""


def run(context: Context) -> Row:
    """The rate rises as far as messages get through at the rate that was asked for."""
    plan = context.plan
    ejabberd = Ejabberd(context.lab, plan.traffic_users).ready()
    fronts = {variant: context.front(variant, ejabberd) for variant in _COLOURS}
    cases = [(transport, variant) for transport in plan.load_transports for variant in _COLOURS]
    for transport, variant in cases:
        context.warm_up(ejabberd, fronts[variant], transport)
    latencies: dict[tuple[str, str, str], dict[float, list[float]]] = {}
    for number, (transport, variant) in enumerate(alternating(cases, plan.rounds), start=1):
        context.say(f"load {number} of {len(cases) * plan.rounds}: {transport}, {variant}")
        swarm = Swarm(context.lab, transport, fronts[variant], plan.traffic_users, rate=_LOGINS_A_SECOND)
        context.all_online(swarm)
        for rate in plan.load_rates:
            settle()
            traffic = swarm.traffic(rate, plan.load_seconds)
            if traffic["received"] < _KEEPS_UP * rate * plan.load_seconds:
                break
            for quantile in _QUANTILES:
                of_rate = latencies.setdefault((transport, variant, quantile), {})
                of_rate.setdefault(rate, []).append(traffic["latency"][quantile] / 1e3)
        context.dismiss(swarm, ejabberd)
    context.lab.end(*fronts.values())
    charts = {}
    for transport in plan.load_transports:
        chart = Chart(
            f"Latency of a message against load, {TRANSPORTS[transport]}",
            "messages a second",
            "ms",
            is_logarithmic=True,
        )
        for variant, colour in _COLOURS.items():
            for quantile in _QUANTILES:
                of_rate = latencies.get((transport, variant, quantile), {})
                # A rate that only some rounds reached is none that it keeps up.
                reached = {rate: values for rate, values in of_rate.items() if len(values) == plan.rounds}
                points = [(rate, statistics.median(values)) for rate, values in reached.items()]
                chart.lines.append(Line(f"{variant}, {quantile}", colour, points, is_dashed=quantile == "p50"))
        charts[f"latency-{transport}"] = chart
    return Row(
        "load",
        "Latency against messages a second",
        charts=charts,
        settings={"users": plan.traffic_users, "seconds a point": plan.load_seconds, "rounds": plan.rounds},
    )
