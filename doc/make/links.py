#!/usr/bin/env python3
"""Checks that what the documents link to is there: files, and headings by their anchors. Addresses are not asked."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """The exit status: 1 if a link leads nowhere."""
    broken = [
        f"{document.relative_to(ROOT)}: {link}"
        for document in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "doc").glob("*.md")))
        for link in links(document.read_text())
        if not leads_somewhere(document, link)
    ]
    for line in broken:
        print(f"a link leads nowhere: {line}", file=sys.stderr)
    return 1 if broken else 0


def links(text: str) -> list[str]:
    """Where a document's links lead, in the project."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", prose)
    return [link for link in found if "://" not in link]


def leads_somewhere(document: Path, link: str) -> bool:
    """Whether the file, and the heading in it, are there."""
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    if not target.exists():
        return False
    return not anchor or anchor in anchors(target.read_text())


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub and GitLab make them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


if __name__ == "__main__":
    sys.exit(main())
