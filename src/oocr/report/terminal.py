"""The verdict table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from oocr.charts.figure import number
from oocr.claims.records import Claim
from oocr.report.verdicts import ICONS

STYLES = {
    "holds": "bold green",
    "holds in part": "bold yellow",
    "does not hold": "bold red",
    "cannot be tested": "bold",
}


def _short(name: str) -> str:
    """A null's name without its statistic, which the report gives."""
    return name.split(", ")[0].replace("random directions", "random")


def verdict_table(claims: Sequence[Claim]) -> Table:
    """Verdict, claim, found, base, nulls, ceiling: readable at 80 columns."""
    table = Table(
        box=box.HORIZONTALS, show_lines=True, pad_edge=False, padding=(0, 1), collapse_padding=True
    )
    table.add_column("verdict", max_width=9)
    table.add_column("claim", min_width=18)
    table.add_column("found", justify="right", no_wrap=True, min_width=12)
    table.add_column("base", justify="right", no_wrap=True)
    table.add_column("null", min_width=9, max_width=18)
    table.add_column("ceiling", justify="right", no_wrap=True, min_width=7)
    for claim in claims:
        found = claim.found
        nulls = "\n".join(f"{number(null.value)} {_short(null.name)}" for null in claim.nulls)
        table.add_row(
            Text(f"{ICONS[claim.verdict]} {claim.verdict}", style=STYLES[claim.verdict]),
            Text.assemble(claim.claim, "\n", (found.n, "dim")),
            Text(f"{number(found.value)}\n[{number(found.low)}, {number(found.high)}]"),
            number(claim.base),
            Text(nulls or "–"),
            number(claim.ceiling),
        )
    return table
