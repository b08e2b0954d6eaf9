"""What `oocr organism study` does and prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from oocr_organisms.study.study import all_here, study
from oocr_organisms.study.summary import tables
from oocr_organisms.study.table import shown, value_of

WIDE = 150
"""Columns of a terminal that have room for intervals."""


def run_study(names: Sequence[str] | None, out: Path, *, quick: bool) -> None:
    """Ask everything of organisms, print the tables, and say where the results are.

    Args:
        names: organisms; None: all that come with the package.
        out: folder of the results.
        quick: fewer of everything.

    Raises:
        InputError: a model that is no organism, or one that is named twice.
        RunError: the folder cannot be written.
    """
    console = Console()
    with console.status("loading") as status:
        found, path = study(names or all_here(), out, quick=quick, on_part=status.update)
    narrow = console.width < WIDE
    for table in tables(found):
        note = f"{table.note} A wider terminal shows the intervals." if narrow else table.note
        printed = RichTable(
            title=table.title,
            caption=note,
            title_justify="left",
            box=None,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for column in table.columns:
            printed.add_column(column, overflow="fold", header_style="bold", vertical="bottom")
        for row in table.rows:
            printed.add_row(*[shown(value_of(cell) if narrow else cell) for cell in row])
        console.print(printed, "")
    console.print(f"results: {path}")
