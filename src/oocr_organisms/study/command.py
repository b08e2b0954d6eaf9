"""`oocr organism study`, in this process or in processes of an engine (Slurm, Ray)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oocr.cli.cluster.place import SharedPlace
from oocr.cli.cluster.shared_work import SharedWork
from oocr.cli.options import shared_words
from oocr.engine.memory import PROCESS
from oocr.leases import LEASE
from oocr.output_checks import check_output
from oocr_organisms.folder import required_world
from oocr_organisms.study.study import Study, installed_names, run_study
from oocr_organisms.study.tables import cell_text, tables, value_of

WIDE = 150
"""Width of a terminal, in columns, from which intervals are printed."""

STUDY_BYTES = 2**30
"""Assumed memory of a process in addition to Python and torch; organisms are small."""


def print_study(names: Sequence[str], *, out: Path, quick: bool, shared: bool) -> None:
    """Study organisms (default: all installed ones) and print the tables.

    `shared`: share the work with other processes that run the same study.
    """
    console = Console()
    with console.status("loading") as status:
        _, path = run_study(
            names or installed_names(),
            out,
            quick=quick,
            on_part=lambda part: status.update(escape(part)),
            on_finished=partial(_print_tables, console),
            lease=LEASE if shared else None,
        )
    _print_path(console, path)


def shared_study(
    names: Sequence[str], words: Sequence[str], *, out: Path, quick: bool
) -> SharedWork[tuple[Study, Path]]:
    """The study as work for processes of an engine; `words`: arguments after the verb."""
    check_output(out, folder=True)
    names, out = names or installed_names(), out.resolve()
    for name in names:
        required_world(name, "--model")
    return SharedWork(
        SharedPlace(out),
        shared_words(["organism", "study"], [*words, "--shared"], out),
        partial(run_study, names, out, quick=quick, on_part=print, lease=LEASE),
        _print_finished,
        lambda: PROCESS + STUDY_BYTES,
    )


def _print_finished(finished: tuple[Study, Path]) -> None:
    console, (study, path) = Console(), finished
    _print_tables(console, study)
    _print_path(console, path)


def _print_path(console: Console, path: Path) -> None:
    console.print(f"results: {path}", highlight=False, markup=False, soft_wrap=True)


def _print_tables(console: Console, study: Study) -> None:
    narrow = console.width < WIDE
    for table in tables(study):
        note = f"{table.note} A wider terminal shows the intervals." if narrow else table.note
        printed = Table(
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
            printed.add_row(*[cell_text(value_of(cell) if narrow else cell) for cell in row])
        console.print(printed, "")
