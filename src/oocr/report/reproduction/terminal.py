"""The paper's claims for a terminal: one line per claim and task."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from oocr.charts.figure import number
from oocr.report.terminal import STYLES
from oocr.report.verdicts import ICONS
from oocr.reproduce.records import PaperVerdict


def claims_table(judged: Sequence[PaperVerdict]) -> Table:
    """Verdict, claim, task, found, highest null; readable at 80 columns."""
    table = Table(box=box.HORIZONTALS, pad_edge=False, padding=(0, 1), collapse_padding=True)
    table.add_column("verdict", max_width=9)
    table.add_column("claim", min_width=18)
    table.add_column("task", min_width=9)
    table.add_column("found", justify="right", no_wrap=True)
    table.add_column("null", justify="right", no_wrap=True)
    before = ""
    for one in judged:
        if before and one.id != before:
            table.add_section()
        found = one.found
        told = "–"
        if found is not None:
            told = f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
        highest = max((null.value for null in one.nulls), default=None)
        table.add_row(
            Text(f"{ICONS[one.verdict]} {one.verdict}", style=STYLES[one.verdict]),
            one.says if one.id != before else "",
            one.subject,
            told,
            number(highest),
        )
        before = one.id
    return table
