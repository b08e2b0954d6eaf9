"""A cell of an experiment whose rows are computed once and kept.

In the folder of all runs:
    papers/<experiment>/<key>/rows.parquet   the rows of the cell
    papers/<experiment>/<key>/cell.json      its settings, and the seconds that it took
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from oocr.claims.analysis_result import NotMeasuredError
from oocr.io import is_kept, key_of, lock_of, locked, write_json
from oocr.papers.paper import AnyExperiment, Cell, Rows
from oocr.runs.folder import kept_rows


@dataclass(frozen=True, slots=True)
class KeptCell:
    """A cell with the folder and the key under which its rows are kept."""

    cell: Cell
    folder: Path
    key: str

    @classmethod
    def of(
        cls, experiment: AnyExperiment, cell: Cell, out: Path, *dependencies: object
    ) -> KeptCell:
        """A cell in the folder `out`; `dependencies`: JSON values that its rows also depend on."""
        key = key_of(experiment.name, experiment.version, cell.model_dump(), *dependencies)
        return cls(cell, out / "papers" / experiment.name / key, key)

    @property
    def is_computed(self) -> bool:
        """Whether its rows are kept."""
        return is_kept(self.folder, self.key)

    def compute_once(self, compute: Callable[[], Rows]) -> str:
        """Compute and keep the rows, unless they are kept; "", or the reason if there are none.

        If another process computes them now, wait for it.
        """

        def make(part: Path) -> pl.DataFrame:
            began = time.perf_counter()
            rows = compute()
            seconds = round(time.perf_counter() - began, 2)
            write_json(part / "cell.json", {"cell": self.cell.model_dump(), "seconds": seconds})
            return pl.DataFrame(rows, infer_schema_length=None)

        try:
            with locked(lock_of(self.folder), when_busy=lambda: None):
                kept_rows(self.folder, self.key, make)
        except NotMeasuredError as reason:
            return str(reason)
        return ""

    def rows(self) -> pl.DataFrame:
        """The kept rows; settings of the cell are added as columns unless a row has that name."""
        table = kept_rows(self.folder, self.key, _not_kept)
        settings = self.cell.model_dump(exclude=set(table.columns))
        plain = {name: value for name, value in settings.items() if not isinstance(value, tuple)}
        return table.with_columns(pl.lit(value).alias(name) for name, value in plain.items())

    @property
    def seconds(self) -> float:
        """The time that its computation took, in seconds."""
        text = (self.folder / "cell.json").read_text(encoding="utf-8")
        return float(json.loads(text)["seconds"])


def _not_kept(folder: Path) -> pl.DataFrame:
    raise AssertionError(f"{folder} was kept and is gone")
