"""What `oocr organism study` does and prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from oocr.experiments.nano.study import all_here, study
from oocr.experiments.nano.summary import tables
from oocr.experiments.nano.table import shown


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
    for table in tables(found):
        printed = RichTable(title=table.title, caption=table.note, title_justify="left")
        for column in table.columns:
            printed.add_column(column)
        for row in table.rows:
            printed.add_row(*[shown(cell) for cell in row])
        console.print(printed)
    console.print(f"results: {path}")
