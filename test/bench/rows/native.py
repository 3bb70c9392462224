"""The benchmarks that the Rust crates and the NIF have of their own, folded into the report."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from lab.context import Context
from lab.lab import ROOT
from lab.program import LabError
from lab.report import Figure, Row

_CRATES = ("megaphone-trunk", "megaphone-http", "megaphone-xmpp", "megaphone-socket")
_CRITERION = ("--noplot", "--warm-up-time", "1", "--measurement-time", "3")


def run(context: Context) -> Row:
    """`cargo bench` of the crates, and `make bench-nif`."""
    context.say("native: cargo bench")
    started = time.time()
    packages = [argument for crate in _CRATES for argument in ("-p", crate)]
    _output("cargo", "bench", "--quiet", "--locked", *packages, "--", *_CRITERION)
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    figures = criterion(target / "criterion", started)
    context.say("native: bench-nif")
    results = context.lab.folder("nif") / "nif.json"
    text = _output("sh", "test/bench/nif.sh", results)
    return Row(
        "native",
        "The crates' and the NIF's own benchmarks",
        figures=figures + scale(json.loads(results.read_text())["scale"]),
        text=text,
    )


def criterion(folder: Path, since: float) -> list[Figure]:
    """What criterion measured since a moment (seconds of the epoch): the median of each benchmark."""
    figures = []
    for path in sorted(folder.glob("**/new/estimates.json")):
        if path.stat().st_mtime < since:
            continue
        about = json.loads((path.parent / "benchmark.json").read_text())
        nanoseconds = json.loads(path.read_text())["median"]["point_estimate"]
        figures.append(Figure(about["full_id"], nanoseconds, "ns", _throughput(about["throughput"], nanoseconds)))
    return figures


def _throughput(throughput: dict[str, int] | None, nanoseconds: float) -> str:
    match throughput:
        case {"Bytes": count}:
            return f"{count / nanoseconds * 1e9 / 2**20:,.0f} MiB/s"
        case {"Elements": count}:
            return f"{nanoseconds / count:,.1f} ns each"
    return ""


def _output(*command: str | Path) -> str:
    """What a long command prints; what it tells of its progress is hidden unless it fails."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LabError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise LabError(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def scale(results: dict[str, Any]) -> list[Figure]:
    """What bench-nif found out about few and many connections."""
    figures = []
    for cost in results["costs"]:
        few, many = cost["few"]["median"], cost["many"]["median"]
        figures.append(Figure(f"NIF, {cost['what']}, 1,000 connections", few, "ns", is_headline=True))
        count = f"{results['connections']:,} connections"
        times = f"×{cost['ratio']:.2f}"
        figures.append(Figure(f"NIF, {cost['what']}, {count}", many, "ns", times, is_headline=True))
    return figures
