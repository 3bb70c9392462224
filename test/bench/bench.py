#!/usr/bin/env python3
"""Measures Megaphone beside what its user would pick instead, in the same run on the same machine."""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

from lab import command, documents, ecm, ejabberd, fronts, machine, report
from lab.context import Context
from lab.lab import ROOT, Lab
from lab.names import COLUMNS
from lab.plan import FULL, QUICK, TINY, Plan
from lab.program import LabError
from rows import MEASUREMENTS, Measurement

PLANS = {"quick": QUICK, "full": FULL, "tiny": TINY}


def main() -> int:
    """The exit status: 0 if all was measured, 1 if a row failed, 2 if nothing could be, 130 after Ctrl-C."""
    arguments = _arguments()
    output = (arguments.output or ROOT / "_build/bench" / arguments.plan).resolve()
    return command.run("bench", arguments, output, lambda lab: _bench(arguments, output, lab))


def _arguments() -> argparse.Namespace:
    rows = "\n".join(f"  {one.name:<14}{one.summary}" for one in MEASUREMENTS)
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"rows:\n{rows}\n\nPrints tables, and writes results.json, a picture of each chart and the logs of\n"
        "what it started into the output folder. Progress goes to the standard error.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = parser.add_mutually_exclusive_group()
    for name, text in (
        ("quick", "some minutes (the default)"),
        ("full", "two hours, and the native row too"),
        ("tiny", "only shows that it works: its numbers mean nothing"),
    ):
        size.add_argument(f"--{name}", dest="plan", action="store_const", const=name, help=text)
    parser.set_defaults(plan="quick")
    names = [one.name for one in MEASUREMENTS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="ROW", help="measure only these rows")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="rounds of each measurement")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go [_build/bench/quick or full]")
    parser.add_argument("--publish", action="store_true", help="put the results into doc/ and README.md")
    command.add_programs(parser)
    arguments = parser.parse_args()
    if arguments.publish and (arguments.only or arguments.plan == "tiny"):
        parser.error("--publish takes all rows, of --quick or --full")
    return arguments


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _bench(arguments: argparse.Namespace, output: Path, lab: Lab) -> int:
    plan = PLANS[arguments.plan]
    if arguments.rounds:
        plan = dataclasses.replace(plan, rounds=arguments.rounds)
    context = Context(lab, plan)
    results = _Results(output, machine.describe() | _versions(lab), _settings(plan))
    print(_heading(results.machine))
    print(f"all settings: {output / 'settings.json'}\n", flush=True)
    _write_json(output / "settings.json", results.settings)
    for measurement in _chosen(arguments):
        try:
            row = measurement.run(context)
        except LabError as error:
            # What else can be measured is worth having.
            results.fail(measurement.name, str(error))
            lab.end_all()
        else:
            row.notes += context.troubles
            results.add(row)
        context.troubles.clear()
    if results.rows:
        print(f"== Summary\n\n{report.summary(results.rows, COLUMNS)}\n")
        print("   × is the ratio to the first number of the line; ≈: it differs by no more than the rounds spread")
    if arguments.publish and results.failed:
        context.say(f"doc/measured.md stays as it is, as these could not be measured: {', '.join(results.failed)}")
    elif arguments.publish:
        documents.publish(ROOT, results.rows, results.machine)
    context.say(f"done after {results.seconds() / 60:.1f} minutes; {output} has all of it")
    return 1 if results.failed else 0


@dataclasses.dataclass
class _Results:
    """What a run has come to so far. Each row is shown and kept as soon as it is there."""

    output: Path
    machine: dict[str, str]
    settings: dict[str, object]
    rows: list[report.Row] = dataclasses.field(default_factory=list)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    started: float = dataclasses.field(default_factory=time.monotonic)

    def add(self, row: report.Row) -> None:
        self.rows.append(row)
        print(report.terminal(row), flush=True)
        for name, svg in row.pictures().items():
            (self.output / f"{name}.svg").write_text(svg)
        self._save()

    def fail(self, name: str, why: str) -> None:
        self.failed[name] = why
        print(f"== {name} could not be measured: {why}\n", flush=True)
        self._save()

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def _save(self) -> None:
        results = {
            "machine": self.machine,
            "settings": self.settings,
            "seconds": self.seconds(),
            "rows": [row.to_json() for row in self.rows],
            "failed": self.failed,
        }
        _write_json(self.output / "results.json", results)


def _chosen(arguments: argparse.Namespace) -> list[Measurement]:
    if arguments.only:
        return [one for one in MEASUREMENTS if one.name in arguments.only]
    return [one for one in MEASUREMENTS if one.is_quick or arguments.plan == "full"]


def _versions(lab: Lab) -> dict[str, str]:
    one = ejabberd.Ejabberd(lab, users=0).ready()
    versions = one.versions()
    lab.end(one)
    return versions


def _heading(about: dict[str, str]) -> str:
    """The machine, the versions, and the settings that matter most."""
    versions = ", ".join(f"{name} {about[name]}" for name in ("otp", "ejabberd", "nginx", "haproxy", "rustc"))
    machine = f"{about['cpu']}, {about['cores']} cores, {about['memory']}, Linux {about['kernel']}"
    return f"""\
Megaphone {about["commit"]} on {machine}; {versions}
ejabberd on all sides: {" ".join(ejabberd.EMULATOR)}; backlog {ejabberd.BACKLOG}; SASL PLAIN; tables in memory;
  {" ".join(ejabberd.MODULES)}
nginx and HAProxy: no log, backlog {ejabberd.BACKLOG}, connections to ejabberd kept open, as many threads as cores"""


def _settings(plan: Plan) -> dict[str, object]:
    """With what the rows are measured, all sides alike."""
    configurations = {**ejabberd.settings(), **fronts.settings(), "ecm.toml": ecm.settings()}
    return {"plan": dataclasses.asdict(plan), **configurations}


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
