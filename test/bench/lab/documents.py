"""Puts results where people read them: tables into doc/measured.md and the README, charts into doc/bench."""

from dataclasses import replace
from pathlib import Path

from .names import COLUMNS
from .program import LabError
from .report import Row, markdown, number

START, END = "<!-- bench -->", "<!-- /bench -->"
_LEGEND = (
    "The medians of alternating rounds, with the ratio to the first number of the line; "
    "≈ where that differs by no more than the rounds spread."
)


def section(rows: list[Row], machine: dict[str, str], charts: list[str]) -> str:
    """What stands between the markers of doc/measured.md; `charts` are paths of pictures."""
    figures = [figure for row in rows for figure in row.figures if figure.is_headline]
    lines = [
        markdown(rows, COLUMNS),
        "",
        _LEGEND,
        _place(machine),
        "",
        *[_picture(path) for path in charts],
        "",
        *[f"- {figure.name}: {number(figure.value)} {figure.unit} {figure.remark}".rstrip() for figure in figures],
    ]
    return "\n".join(lines).rstrip()


def extract(rows: list[Row], machine: dict[str, str]) -> str:
    """What stands between the markers of the README: the comparisons that matter most."""
    prominent = [replace(row, comparisons=[one for one in row.comparisons if one.is_prominent]) for row in rows]
    return "\n".join([markdown(prominent, COLUMNS), "", _LEGEND, _place(machine)])


def _place(machine: dict[str, str]) -> str:
    versions = ", ".join(f"{name} {machine[name]}" for name in ("ejabberd", "otp", "nginx", "haproxy", "rustc"))
    return f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}; {versions}."


def _picture(path: str) -> str:
    return f"![{Path(path).stem.replace('-', ' ')}]({path})"


def replaced(text: str, new: str) -> str:
    """A text with what is between the markers replaced."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise LabError(f"the document has no {START} ... {END} to put the results between")
    return f"{before}{START}\n\n{new}\n\n{END}{after}"


def publish(root: Path, rows: list[Row], machine: dict[str, str]) -> None:
    """Writes doc/measured.md, doc/bench/*.svg and the README's table below `root`."""
    folder = root / "doc/bench"
    folder.mkdir(parents=True, exist_ok=True)
    charts = []
    for row in rows:
        for name, svg in row.pictures().items():
            (folder / f"{name}.svg").write_text(svg)
            charts.append(f"bench/{name}.svg")
    for path, new in (
        (root / "doc/measured.md", section(rows, machine, charts)),
        (root / "README.md", extract(rows, machine)),
    ):
        path.write_text(replaced(path.read_text(), new))
