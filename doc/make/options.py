#!/usr/bin/env python3
"""Writes the tables of options into doc/operating.md, of what the programs themselves say.

The listener's come from its validators and defaults, the ECM's from native/ecm/ecm.toml, whose defaults a test of
the ECM compares with the program's.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "doc/operating.md"
LISTENER = ROOT / "doc/make/listener.toml"
ECM = ROOT / "native/ecm/ecm.toml"


class DocumentError(Exception):
    """What a document lacks, or has too much."""


def main() -> int:
    """The exit status: 0 if the document is, or now is, as it has to be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if there is something to write")
    arguments = parser.parse_args()
    try:
        old = DOCUMENT.read_text()
        new = written(old, {**listener_tables(), "ecm": ecm_tables(ECM.read_text())})
    except DocumentError as error:
        print(f"doc/operating.md: {error}", file=sys.stderr)
        return 1
    if new == old:
        return 0
    if arguments.check:
        print("doc/operating.md differs from what the options are; `make docs` writes it", file=sys.stderr)
        return 1
    DOCUMENT.write_text(new)
    return 0


def written(document: str, parts: dict[str, str]) -> str:
    """The document with each part between its markers."""
    for name, part in parts.items():
        start, end = f"<!-- options: {name} -->", f"<!-- /options: {name} -->"
        before, found, rest = document.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise DocumentError(f"it has no {start} ... {end}")
        document = f"{before}{start}\n\n{part}\n\n{end}{after}"
    return document


def table(*rows: tuple[str, ...]) -> str:
    """A table of Markdown; the first row is its head."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    return "\n".join(line.replace("|  |", "| |") for line in lines)


# The listener.


def listener_tables() -> dict[str, str]:
    """The listener's options, and the limits among those of its c2s."""
    texts = tomllib.loads(LISTENER.read_text())
    options = {name: (kind, default) for name, kind, default in listener_options()}
    if missing := options.keys() - texts.keys():
        raise DocumentError(f"{LISTENER.relative_to(ROOT)} has no text for {', '.join(sorted(missing))}")
    if unknown := texts.keys() - options.keys():
        raise DocumentError(f"{LISTENER.relative_to(ROOT)} has options that there are not: {', '.join(sorted(unknown))}")
    own, limits = [], []
    for name, text in texts.items():
        kind, default = options[name]
        if isinstance(text, dict):
            limits.append((f"`{name.removeprefix('c2s.')}`", kind, text["default"], text["text"]))
        else:
            own.append((f"`{name}`", kind, default, text))
    return {
        "listener": table(("option", "value", "default", ""), *own),
        "limits": table(("option", "value", "default in sessions", ""), *limits),
    }


def listener_options() -> list[list[str]]:
    """What the validators say: of each option its name, what it may be and its default."""
    with tempfile.TemporaryDirectory() as ebin:
        sources = [*sorted((ROOT / "erlang/src").glob("*.erl")), ROOT / "doc/make/megaphone_doc_options.erl"]
        ejabberd = sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin"))
        paths = [argument for path in ejabberd for argument in ("-pa", path)]
        run("erlc", *paths, "-o", ebin, *sources)
        printed = run("erl", "-noinput", "-pa", ebin, "-eval", "megaphone_doc_options:print(), halt().")
    return [line.split("\t") for line in printed.splitlines()]


def run(*command: str | Path) -> str:
    """What a command prints."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DocumentError(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


# The ECM.


@dataclass
class Section:
    """A table of ecm.toml."""

    head: str
    text: str
    rows: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Of each key its default and its text."""


def ecm_tables(text: str) -> str:
    """Each table of ecm.toml as one of Markdown."""
    sections = ecm_sections(text)
    check_keys(sections, tomllib.loads(text))
    parts = []
    for section in sections.values():
        rows = [(f"`{key}`", default, meaning) for key, (default, meaning) in section.rows.items()]
        heading = f"#### `{section.head}`" if section.head else "#### Before the first table"
        parts += [heading, *([section.text] if section.text else []), table(("key", "default", ""), *rows)]
    return "\n\n".join(parts)


def ecm_sections(text: str) -> dict[str, Section]:
    """The tables by their heads. What is commented out is a key without a default."""
    sections = {"": Section("", "")}
    current = sections[""]
    comment: list[str] = []
    for line in text.splitlines():
        content = line.removeprefix("# ")
        head = re.fullmatch(r"\[\[?[a-z_.]+\]\]?", content)
        key = re.fullmatch(r"([a-z_]+) = (.+)", content)
        if head:
            current = sections.setdefault(content, Section(content, sentences(comment)))
            comment = []
        elif key:
            is_set = not line.startswith("#")
            default = code(key[2]) if is_set else f"none; such as {code(key[2])}"
            current.rows.setdefault(key[1], (default, sentences(comment)))
            comment = []
        elif line.startswith("# "):
            comment.append(content)
        else:
            # An introduction that stands for itself.
            comment = []
    return sections


def code(value: str) -> str:
    """A value as Markdown shows it."""
    return f"`{value}`"


def sentences(comment: list[str]) -> str:
    """A comment as one line of Markdown."""
    text = " ".join(comment)
    return re.sub(r"(</?[a-z-]+/?>|X-[A-Z][A-Za-z-]+)", r"`\1`", text)


def check_keys(sections: dict[str, Section], parsed: dict[str, object]) -> None:
    """Nothing that the file says may be left out."""
    for name, value in parsed.items():
        match value:
            case dict():
                keys, section = set(value), sections.get(f"[{name}]")
            case [dict() as first, *_]:
                keys, section = set(first), sections.get(f"[[{name}]]")
            case _:
                keys, section = {name}, sections[""]
        if section is None or keys - section.rows.keys():
            raise DocumentError(f"native/ecm/ecm.toml has keys that were not understood: {name} {sorted(keys)}")
    for section in sections.values():
        if bare := [key for key, (_, text) in section.rows.items() if not text]:
            raise DocumentError(f"native/ecm/ecm.toml has no comment above {section.head} {', '.join(bare)}")


if __name__ == "__main__":
    sys.exit(main())
