"""Rows as Markdown: a section's table, what holds, and both inside the papers.

A paper has a place for each: what stands between ``<!-- versus: NAME -->`` and
``<!-- /versus -->`` is written here, from a saved run, and nowhere else.
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

from sections import SECTIONS, Row, Section, Target


ROOT = Path(__file__).parents[1]
PAPERS = (ROOT / "README.md", ROOT / "docs" / "performance.md")
PLACE = re.compile(r"(<!-- versus: (\w+) -->\n).*?(<!-- /versus -->)", re.DOTALL)


def table(rows: list[Row]) -> str:
    return "\n".join([*head(rows[0]), *map(line, rows)])


def head(row: Row) -> list[str]:
    """The columns of a section, which its first row knows."""
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


VERDICT_HEAD = [
    "| | threads | layers | geometric mean | slowest | at least | holds |",
    "|---|---:|---:|---:|---:|---|---|",
]


def verdicts(section: Section, rows: list[Row]) -> list[str]:
    """A line per target and number of threads."""
    lines = []
    for target in section.targets:
        for threads in sorted({row["threads"] for row in rows}):
            ratios = [r["ratio"] for r in rows if r["threads"] == threads and target.of(r)]
            if ratios:
                lines.append(_verdict(target, threads, ratios))
    return lines


def _verdict(target: Target, threads: int, ratios: list[float]) -> str:
    mean, slowest = statistics.geometric_mean(ratios), min(ratios)
    least = [f"mean {target.mean:g}"] if target.mean else []
    least += [f"each {target.each:g}"] if target.each else []
    holds = mean >= (target.mean or 0) and slowest >= (target.each or 0)
    figures = [f"{mean:.2f}", f"{slowest:.2f}", ", ".join(least), "yes" if holds else "**no**"]
    return _cells([target.what, str(threads), str(len(ratios)), *figures])


def summary(saved: dict[str, Any]) -> str:
    found = [(SECTIONS[name], rows) for name, rows in saved["sections"].items()]
    lines = [line for section, rows in found for line in verdicts(section, rows)]
    return "\n".join([*VERDICT_HEAD, *lines])


def filled(text: str, saved: dict[str, Any]) -> str:
    """A paper with its places filled; a section that was not run is left as it was."""

    def fill(place: re.Match[str]) -> str:
        opening, name, closing = place.groups()
        if name == "summary":
            return f"{opening}\n{summary(saved)}\n\n{closing}"
        rows = saved["sections"].get(name)
        return f"{opening}\n{table(rows)}\n\n{closing}" if rows else place.group()

    return PLACE.sub(fill, text)


def fill_papers(saved: dict[str, Any]) -> None:
    for paper in PAPERS:
        paper.write_text(filled(paper.read_text(), saved))
