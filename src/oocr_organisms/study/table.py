"""What a table is."""

from __future__ import annotations

from dataclasses import dataclass

from oocr import stats

Cell = stats.Interval | float | str


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        title: what it is about.
        note: how it is to be read.
        columns: their heads.
        rows: cells.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def shown(cell: Cell) -> str:
    """A cell as text: ".83 [.70, .91]"."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, stats.Interval):
        return f"{cell.value:.2f} [{cell.low:.2f}, {cell.high:.2f}]"
    return f"{cell:.2f}"


def value_of(cell: Cell) -> float | str:
    """A cell without its interval."""
    return cell.value if isinstance(cell, stats.Interval) else cell
