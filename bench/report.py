"""Rows as Markdown: a section's table, what holds, and both inside the papers.

A paper has a place for each: what stands between ``<!-- versus: NAME -->`` and
``<!-- /versus -->`` is written here, from a saved run, and nowhere else.
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

from contest import Row, Target
from sections import SECTIONS


ROOT = Path(__file__).parents[1]
PAPERS = (ROOT / "README.md", ROOT / "docs" / "performance.md")
PLACE = re.compile(r"(<!-- versus: (\w+) -->\n).*?(<!-- /versus -->)", re.DOTALL)


def table(rows: list[Row]) -> str:
    return "\n".join([*head(rows[0]), *map(line, rows)])


def head(row: Row) -> list[str]:
    """The head of a section's table; its first row knows the columns."""
    cells = ["layer", "threads", *(f"{name} ms" for name in row["seconds"])]
    cells += ["GFLOP/s", "of peak"] if "gflops" in row else []
    cells.append("times as fast")
    return [_cells(cells), "|---|" + "---:|" * (len(cells) - 1)]


def line(row: Row) -> str:
    cells = [row["layer"], str(row["threads"])]
    cells += [f"{seconds * 1e3:.3f}" for seconds in row["seconds"].values()]
    if "gflops" in row:
        cells += [f"{row['gflops']:.1f}", f"{row['share']:.0%}" if row["share"] else ""]
    return _cells([*cells, f"{row['ratio']:.2f}"])


def _cells(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def verdicts(found: dict[str, list[Row]]) -> str:
    """A line per target: what it asks, and per number of threads what the rows gave.

    Geometric mean (slowest), the one that is less than asked for in bold.
    """
    counts = sorted({row["threads"] for rows in found.values() for row in rows})
    heads = ["", "at least", *(f"{n} thread{'s' if n > 1 else ''}" for n in counts)]
    lines = [_cells(heads), "|---|---|" + "---:|" * len(counts)]
    for name, rows in found.items():
        for target in SECTIONS[name].targets:
            of = [row for row in rows if target.of(row)]
            if of:
                cells = (_verdict(target, [r for r in of if r["threads"] == n]) for n in counts)
                lines.append(_cells([target.what, _asked(target), *cells]))
    return "\n".join(lines)


def held(found: dict[str, list[Row]]) -> str:
    lines = verdicts(found).splitlines()[2:]
    return f"{sum('**' not in line for line in lines)} of {len(lines)} targets hold"


def _verdict(target: Target, rows: list[Row]) -> str:
    if not rows:
        return ""
    ratios = [row["ratio"] for row in rows]
    mean, slowest = statistics.geometric_mean(ratios), min(ratios)
    if len(ratios) == 1 and not target.each:
        return _bold_below(mean, target.mean)
    return f"{_bold_below(mean, target.mean)} ({_bold_below(slowest, target.each)})"


def _bold_below(figure: float, least: float | None) -> str:
    return f"**{figure:.2f}**" if least and figure < least else f"{figure:.2f}"


def _asked(target: Target) -> str:
    """As the figures: of the mean (of the slowest)."""
    asked = [f"{target.mean:g}"] if target.mean else []
    asked += [f"({target.each:g})"] if target.each else []
    return " ".join(asked)


def filled(text: str, saved: dict[str, Any]) -> str:
    """A paper with its places filled; a section that was not run is left as it was."""

    def fill(place: re.Match[str]) -> str:
        opening, name, closing = place.groups()
        if name == "summary":
            return f"{opening}\n{verdicts(saved['sections'])}\n\n{closing}"
        rows = saved["sections"].get(name)
        if not rows:
            return place.group()
        return f"{opening}\n### {SECTIONS[name].title}\n\n{table(rows)}\n\n{closing}"

    return PLACE.sub(fill, text)


def fill_papers(saved: dict[str, Any]) -> None:
    for paper in PAPERS:
        paper.write_text(filled(paper.read_text(), saved))
