#!/usr/bin/env python3
"""Writes doc/differences.md of test/sessions/megaphone_same_differences.erl, to which megaphone_same_SUITE holds the ECM."""

import argparse
import re
import sys
import tempfile
from itertools import groupby

from options import ROOT, DocumentError, run, table

DOCUMENT = ROOT / "doc/differences.md"
TRANSPORTS = {"tcp": "TCP", "tls": "STARTTLS", "websocket": "WebSocket", "bosh": "BOSH"}
HEAD = """\
# Differences that clients see

A test, `megaphone_same_SUITE`, plays the same scenarios through ejabberd's own listeners and through the ECM, with the
same ejabberd, and compares everything that the clients receive. It is the same, except for what is listed here. The
list is the test's own: `make docs` writes it to this page, and `make lint` fails if the page is out of date.

A line is in the column of the side that sends it, if the other side does not send it as often. `closed` is a
connection that ends without a word, `timeout` one on which nothing more is sent, and `closes` means that the client
could end its stream in the normal way.
"""


def main() -> int:
    """The exit status: 0 if the document is, or now is, as it has to be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if there is something to write")
    arguments = parser.parse_args()
    try:
        new = written(differences())
    except DocumentError as error:
        print(f"doc/differences.md: {error}", file=sys.stderr)
        return 1
    if DOCUMENT.exists() and new == DOCUMENT.read_text():
        return 0
    if arguments.check:
        print("doc/differences.md differs from what the test expects; `make docs` writes it", file=sys.stderr)
        return 1
    DOCUMENT.write_text(new)
    return 0


def differences() -> list[list[str]]:
    """Of each difference what the client does, how it comes, with which ejabberd, what it hears, and why."""
    with tempfile.TemporaryDirectory() as ebin:
        sources = [ROOT / "test/sessions/megaphone_same_differences.erl", ROOT / "doc/make/megaphone_doc_differences.erl"]
        run("erlc", "-o", ebin, *sources)
        printed = run("erl", "-noinput", "-pa", ebin, "-eval", "megaphone_doc_differences:print(), halt().")
    # splitlines would also end a line at the character that stands between what is heard.
    return [line.split("\t") for line in printed.strip("\n").split("\n")]


def written(found: list[list[str]]) -> str:
    """The document."""
    parts = [HEAD]
    for about, rows in groupby(found, key=lambda row: row[0]):
        lines = [
            (f"{TRANSPORTS[transport]}, {version(versions)}", heard(ejabberd), heard(ecm), quoted(why))
            for _, transport, versions, ejabberd, ecm, why in rows
        ]
        parts.append(f"## {about}\n\n{table(('transport', 'ejabberd', 'Megaphone', 'reason'), *lines)}\n")
    return "\n".join(parts)


def version(versions: str) -> str:
    """With which ejabberd."""
    return "every ejabberd" if versions == "all" else f"ejabberd {versions}"


def quoted(text: str) -> str:
    """A text of Erlang's as Markdown has it."""
    return re.sub(r"`([^`']+)'", r"`\1`", text)


def heard(lines: str) -> str:
    """Lines as a cell of a table has them; those that follow on themselves stand once, with how often."""
    cells = []
    for line, same in groupby(lines.split("\x1e")):
        times = len(list(same))
        cells.append((f"`{line}`" if line else "nothing") + (f" ({times} times)" if times > 1 else ""))
    return "<br>".join(cells)


if __name__ == "__main__":
    sys.exit(main())
