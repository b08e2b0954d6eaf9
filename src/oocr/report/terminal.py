"""The verdict table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from oocr.experiments.records import Claim
from oocr.report.figure import number
from oocr.report.verdicts import ICONS

_STYLES = {
    "holds": "bold green",
    "holds in part": "bold yellow",
    "does not hold": "bold red",
    "cannot be tested": "bold",
}


def verdict_table(claims: Sequence[Claim]) -> Table:
    """Claim, found with its interval, base, nulls, ceiling, n, verdict; readable at 100 columns."""
    table = Table(
        box=box.HORIZONTALS, show_lines=True, pad_edge=False, padding=(0, 1), collapse_padding=True
    )
    table.add_column("claim", min_width=16)
    table.add_column("found", justify="right", no_wrap=True)
    table.add_column("base", justify="right", no_wrap=True)
    table.add_column("null", min_width=9, max_width=20)
    table.add_column("ceiling", justify="right", no_wrap=True)
    table.add_column("n", min_width=7, max_width=12)
    table.add_column("verdict", min_width=11, max_width=14)
    for claim in claims:
        found = claim.found
        nulls = "\n".join(f"{null.name} {number(null.value)}" for null in claim.nulls)
        table.add_row(
            Text(claim.claim),
            Text(f"{number(found.value)}\n[{number(found.low)}, {number(found.high)}]"),
            number(claim.base),
            Text(nulls or "–"),
            number(claim.ceiling),
            Text(found.n),
            Text(f"{ICONS[claim.verdict]} {claim.verdict}", style=_STYLES[claim.verdict]),
        )
    return table
