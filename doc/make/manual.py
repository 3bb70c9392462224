#!/usr/bin/env python3
"""Writes the manual page ecm.toml(5) of native/ecm/ecm.toml, as options.py writes the tables of doc/operating.md.

With --check nothing is written: it fails if there is something to write, or if groff warns of one of the manual pages.
"""

import argparse
import re
import subprocess
import sys

import options

PAGES = options.ROOT / "doc/man"
PAGE = PAGES / "ecm.toml.5"

NAME = "ecm.toml \\- the configuration of megaphone\\-ecm"

DESCRIPTION = """
.BR megaphone\\-ecm (8)
reads this file when it starts, and again on SIGHUP. It is TOML (https://toml.io); what is not in it has the default
that is named here.
.B megaphone\\-ecm check
says what is wrong with it, and
.B megaphone\\-ecm \\-\\-print\\-defaults
prints one with every key.
"""


def main() -> int:
    """The exit status: 0 if the pages are, or now are, as they have to be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not as it has to be")
    arguments = parser.parse_args()
    page = written(options.ECM.read_text())
    if not arguments.check:
        PAGE.write_text(page)
    elif PAGE.read_text() != page:
        print("doc/man/ecm.toml.5 differs from native/ecm/ecm.toml; `make docs` writes it", file=sys.stderr)
        return 1
    warnings = [warning for path in sorted(PAGES.iterdir()) for warning in groff_warnings(path)]
    print(*warnings, sep="\n", end="\n" if warnings else "", file=sys.stderr)
    return 1 if warnings else 0


def written(sample: str) -> str:
    """The page of a configuration."""
    lines = [f'.TH ECM.TOML 5 "" "{version()}" "Megaphone"', ".SH NAME", NAME, ".SH DESCRIPTION"]
    lines += [*DESCRIPTION.strip().splitlines(), *paragraph(introduction(sample))]
    for section in options.ecm_sections(sample).values():
        lines.append(f'.SH "{roff(section.head or "TOP LEVEL")}"')
        lines += paragraph(section.text)
        for key, (default, text) in section.rows.items():
            lines += [".TP", f"\\fB{roff(key)}\\fR = {inline(default)}", *paragraph(text)]
    lines += [".SH FILES", ".I /etc/megaphone/ecm.toml", ".SH SEE ALSO", ".BR megaphone\\-ecm (8)"]
    return "\n".join(lines) + "\n"


def version() -> str:
    """Megaphone and its version."""
    found = re.search(r'^version = "(.*)"', (options.ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    return f"Megaphone {found[1]}" if found else "Megaphone"


def introduction(sample: str) -> str:
    """What the file says of itself, before its first key."""
    lines = [line.removeprefix("# ") for line in sample.partition("\n\n")[0].splitlines()]
    return options.sentences(lines[1:])


def paragraph(text: str) -> list[str]:
    """A text whose lines are none of groff's commands, a sentence per line as groff wants it."""
    sentences = re.split(r"(?<=[.:;]) (?=[A-Z<`\"])", text)
    return [re.sub(r"^([.'])", r"\\&\1", inline(sentence)) for sentence in sentences if sentence]


def inline(text: str) -> str:
    """Markdown's code in bold."""
    parts = text.split("`")
    return "".join(roff(part) if place % 2 == 0 else f"\\fB{roff(part)}\\fR" for place, part in enumerate(parts))


def roff(text: str) -> str:
    """Text that groff prints as it is."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")


def groff_warnings(path) -> list[str]:
    """What groff finds wrong with a page; nothing where there is no groff."""
    try:
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-z", path], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return []
    return done.stderr.splitlines()


if __name__ == "__main__":
    sys.exit(main())
