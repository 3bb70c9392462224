#!/usr/bin/env python3
"""Builds and runs the fuzz targets: see `make help` and CONTRIBUTING.md.

    run.py [--seconds 60] [TARGET ...]      all targets, or these, for so long each
    run.py --reproduce FILE TARGET          one input again, with everything that there is to say about it
    run.py --minimise [TARGET ...]          the least of what was found, into native/fuzz/corpus

What is found is in _build/fuzz: `corpus`, `crashes`, and how much was done in `counts.tsv`. The stable compiler does
it, with RUSTC_BOOTSTRAP=1 for its sanitizers.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
ROOT = FUZZ.parents[1]
OUT = ROOT / "_build/fuzz"
TARGETS = sorted(path.stem for path in (FUZZ / "fuzz_targets").glob("*.rs"))
# A run's input, in bytes: a few thousand choices.
MAX_LEN = 4096
# A corpus in the repository: inputs, and bytes, at the most.
MAX_INPUTS = 40
MAX_CORPUS = 24 << 10

FLAGS = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Zsanitizer=address",
    "-Ccodegen-units=4",
]


def host() -> str:
    text = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"^host: (.*)$", text, re.MULTILINE)
    assert found, text
    return found[1]


def build() -> Path:
    """Builds the targets, and what they ask of Erlang; the folder of the programs."""
    print("building the fuzz targets", flush=True)
    target_dir = ROOT / "target/fuzz"
    env = os.environ | {
        "RUSTC_BOOTSTRAP": "1",
        "RUSTFLAGS": " ".join(FLAGS),
        "CARGO_TARGET_DIR": str(target_dir),
    }
    triple = host()
    subprocess.run(
        ["cargo", "build", "--quiet", "--release", "--locked", "--target", triple],
        cwd=FUZZ, env=env, check=True,
    )  # fmt: skip
    beams = OUT / "beams"
    beams.mkdir(parents=True, exist_ok=True)
    sources = [
        ROOT / "test/support/prop_result.erl",
        ROOT / "test/socket/prop_document.erl",
        ROOT / "test/socket/prop_decode_packet.erl",
        FUZZ / "compare.erl",
    ]
    subprocess.run(["erlc", "-o", str(beams), *map(str, sources)], check=True)
    return target_dir / triple / "release"


def environment(count: Path | None = None) -> dict[str, str]:
    env = os.environ | {
        "FUZZ_BEAMS": str(OUT / "beams"),
        "FUZZ_DIFFERENCES": str(ROOT / "test/socket/megaphone_prop_SUITE_data"),
        "RUST_BACKTRACE": "1",
    }
    # Little of what was freed is kept: a run frees much, and what is used too late is used soon.
    env.setdefault("ASAN_OPTIONS", "quarantine_size_mb=8:malloc_context_size=2")
    if count:
        env["FUZZ_COUNT"] = str(count)
    return env


@dataclass
class Run:
    """A target that runs."""

    target: str
    process: subprocess.Popen[bytes]
    log: Path
    count: Path
    started: float

    @classmethod
    def start(cls, programs: Path, target: str, seconds: float) -> "Run":
        found = OUT / "corpus" / target
        found.mkdir(parents=True, exist_ok=True)
        (OUT / "crashes").mkdir(exist_ok=True)
        log, count = OUT / f"{target}.log", OUT / f"{target}.count"
        count.unlink(missing_ok=True)
        arguments = [
            f"-max_total_time={max(1, round(seconds))}",
            f"-max_len={MAX_LEN}",
            "-len_control=0",
            "-timeout=60",
            "-rss_limit_mb=4096",
            f"-artifact_prefix={OUT}/crashes/{target}-",
        ]
        folders = [str(found)]
        kept = FUZZ / "corpus" / target
        if kept.is_dir():
            folders.append(str(kept))
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [str(programs / target), *arguments, *folders],
                stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment(count),
                process_group=0,
            )  # fmt: skip
        return cls(target, process, log, count, time.monotonic())

    def counted(self) -> tuple[int, int]:
        """Frames, requests or documents; and inputs."""
        try:
            items, runs = self.count.read_text().split()
        except (OSError, ValueError):
            return 0, 0
        return int(items), int(runs)

    def line(self) -> str:
        items, runs = self.counted()
        took = time.monotonic() - self.started
        return f"{self.target:10} {took:7.0f} s {runs:12,} inputs {items:16,} {kind(self.target)}"

    def end(self) -> bool:
        """Waits for its end, and writes down what it did; whether all was right."""
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        items, runs = self.counted()
        with open(OUT / "counts.tsv", "a") as file:
            file.write(f"{self.target}\t{items}\t{runs}\t{usage.ru_utime + usage.ru_stime:.1f}\n")
        return self.process.returncode in (0, -signal.SIGINT, 72)

    def complain(self) -> None:
        text = self.log.read_text(errors="replace")
        said = re.search(r"^thread .* panicked at.*?(?=^stack backtrace|^note:|\Z)", text, re.DOTALL | re.MULTILINE)
        summary = re.findall(r"^SUMMARY: .*|^==\d+==ERROR.*", text, re.MULTILINE)
        print(f"\n{self.target} has failed:\n{said[0].strip() if said else ''}\n" + "\n".join(summary))
        artifact = re.search(r"Test unit written to (\S+)", text)
        if artifact:
            print(f"the input:  {artifact[1]}")
            print(f"once more:  native/fuzz/run.py --reproduce {artifact[1]} {self.target}")
        print(f"all of it:  {self.log}", flush=True)


def kind(target: str) -> str:
    if target.startswith("trunk") or target == "websocket":
        return "frames"
    return {"proxy": "headers", "config": "files", "bosh": "bodies", "packet": "lines"}.get(
        target, "documents" if target in ("xml", "document") else "heads"
    )


def run_all(programs: Path, targets: list[str], seconds: float) -> bool:
    """As many at a time as there are cores. One with an Erlang VM beside it counts as one: either waits for the other."""
    waiting, running, right = list(targets), [], True
    at_a_time = os.cpu_count() or 1
    told = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                running.append(Run.start(programs, waiting.pop(0), seconds))
            time.sleep(0.2)
            for run in list(running):
                # It stays to be waited for.
                if os.waitid(os.P_PID, run.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    running.remove(run)
                    well = run.end()
                    print(run.line(), flush=True)
                    if not well:
                        run.complain()
                        right = False
            if time.monotonic() - told > 60:
                told = time.monotonic()
                for run in running:
                    print(f"  {run.line()} so far", flush=True)
    except KeyboardInterrupt:
        print()
        for run in running:
            run.process.send_signal(signal.SIGINT)
        for run in running:
            run.end()
            print(run.line())
        raise
    print(sums(), flush=True)
    return right


def sums() -> str:
    """How much all runs in this folder have done."""
    items: dict[str, int] = {}
    seconds = 0.0
    for line in (OUT / "counts.tsv").read_text().splitlines():
        target, count, _, took = line.split("\t")
        items[kind(target)] = items.get(kind(target), 0) + int(count)
        seconds += float(took)
    done = ", ".join(f"{count:,} {what}" for what, count in sorted(items.items()))
    return f"all runs so far: {done}; {seconds / 3600:.2f} hours of CPU"


def minimise(programs: Path, targets: list[str]) -> None:
    for target in targets:
        kept = FUZZ / "corpus" / target
        least = OUT / "least" / target
        shutil.rmtree(least, ignore_errors=True)
        least.mkdir(parents=True)
        sources = [str(path) for path in (kept, OUT / "corpus" / target) if path.is_dir()]
        subprocess.run(
            [str(programs / target), "-merge=1", f"-max_len={MAX_LEN}", str(least), *sources],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(), check=True,
        )  # fmt: skip
        # Some of each length: the short ones reach most for their size, and the long ones what is left.
        files = sorted(least.iterdir(), key=lambda file: (file.stat().st_size, file.name))
        some = files[:: max(1, -(-len(files) // MAX_INPUTS))]
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        size = 0
        for file in some:
            size += file.stat().st_size
            if size > MAX_CORPUS:
                break
            shutil.copy(file, kept / file.name[:12])
        print(f"{target:10} {len(list(kept.iterdir())):5} of {len(files)} inputs", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--reproduce", metavar="FILE")
    parser.add_argument("--minimise", action="store_true")
    options = parser.parse_args()
    targets = options.targets or TARGETS
    unknown = set(targets) - set(TARGETS)
    if unknown:
        parser.error(f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    programs = build()
    if options.reproduce:
        env = environment() | {"ASAN_OPTIONS": "", "RUST_BACKTRACE": "full"}
        return subprocess.run([str(programs / targets[0]), options.reproduce], env=env, check=False).returncode
    if options.minimise:
        minimise(programs, targets)
        return 0
    return 0 if run_all(programs, targets, options.seconds) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} has failed")
