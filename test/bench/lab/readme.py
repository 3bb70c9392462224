"""Puts results where people read them: a table into the README, charts into doc/bench."""

from pathlib import Path

from .names import COLUMNS
from .program import LabError
from .report import Row, markdown, number

START, END = "<!-- bench -->", "<!-- /bench -->"


def section(rows: list[Row], machine: dict[str, str], charts: list[str]) -> str:
    """What stands between the markers; `charts` are paths of pictures."""
    versions = ", ".join(f"{name} {machine[name]}" for name in ("ejabberd", "otp", "nginx", "haproxy", "rustc"))
    place = f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}"
    figures = [figure for row in rows for figure in row.figures if figure.is_headline]
    lines = [
        markdown(rows, COLUMNS),
        "",
        f"The medians of alternating rounds, with the ratio to the first number of the line; ≈ where that differs by "
        f"no more than the rounds spread. {place}; {versions}.",
        "",
        *[_picture(path) for path in charts],
        "",
        *[f"- {figure.name}: {number(figure.value)} {figure.unit} {figure.remark}".rstrip() for figure in figures],
    ]
    return "\n".join(lines).rstrip()


def _picture(path: str) -> str:
    return f"![{Path(path).stem.replace('-', ' ')}]({path})"


def replaced(text: str, new: str) -> str:
    """A text with what is between the markers replaced."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise LabError(f"the README has no {START} ... {END} to put the results between")
    return f"{before}{START}\n\n{new}\n\n{END}{after}"


def publish(root: Path, rows: list[Row], machine: dict[str, str]) -> None:
    """Writes README.md and doc/bench/*.svg below `root`."""
    folder = root / "doc/bench"
    folder.mkdir(parents=True, exist_ok=True)
    charts = []
    for row in rows:
        for name, svg in row.pictures().items():
            (folder / f"{name}.svg").write_text(svg)
            charts.append(f"doc/bench/{name}.svg")
    readme = root / "README.md"
    readme.write_text(replaced(readme.read_text(), section(rows, machine, charts)))
