"""An index of a run's finished arms, so that many arms are read from few files.

The folder `arm_index/` lies beside the folder of the arms. `arms.parquet` has a row for each arm:
its record, and where its rows are; `rows-N.parquet` holds the rows of all arms with the same
columns. An entry is valid while the arm's folder has the same modification time. The index may be
deleted: arms are then read from their folders, as in a small run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from oocr.errors import RunError
from oocr.io import keep, key_of
from oocr.runs.arms import ScoredArm
from oocr.runs.records import ArmRecord

INDEX, ENTRIES = "arm_index", "arms.parquet"

MANY = 256
"""The least number of arms for an index; reading so many folders takes 0.2 s."""


class ArmIndex:
    """The valid entries of the index of a folder of arms."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder.parent / INDEX
        self._entries: dict[str, dict[str, Any]] = {}
        self._tables: list[pl.DataFrame] = []
        self._found: set[str] = set()
        if not self.path.is_dir():
            return
        with suppress(OSError, pl.exceptions.PolarsError):
            changed, entries = _changes(folder), pl.read_parquet(self.path / ENTRIES)
            tables = len(list(self.path.glob("rows-*.parquet")))
            self._tables = [pl.read_parquet(self.path / f"rows-{n}.parquet") for n in range(tables)]
            self._entries = {
                entry["id"]: entry
                for entry in entries.iter_rows(named=True)
                if changed.get(entry["id"]) == entry["changed"]
            }

    @property
    def filled(self) -> bool:
        """Whether it has any valid entry."""
        return bool(self._entries)

    def find(self, names: Sequence[str], keys: Sequence[str]) -> list[ScoredArm] | None:
        """Arms by the names and keys of their folders; None: one of them is missing."""
        entries = [self._entries.get(name) for name in names]
        arms: list[ScoredArm] = []
        for entry, key in zip(entries, keys, strict=True):
            if entry is None or entry["key"] != key:
                return None
            rows = self._tables[entry["table"]].slice(entry["begin"], entry["count"])
            arms.append(ScoredArm(ArmRecord.model_validate_json(entry["record"]), rows))
        self._found.update(names)
        return arms

    def save(self, arms: Sequence[ScoredArm]) -> None:
        """Write an index of these arms, if they are many and one was not found in this index."""
        if len(arms) < MANY or self._found.issuperset(arm.record.id for arm in arms):
            return
        changed = _changes(self.folder)
        frames: dict[tuple[Any, ...], list[pl.DataFrame]] = {}
        lengths: dict[tuple[Any, ...], int] = {}
        entries: list[dict[str, Any]] = []
        for record, rows in arms:
            columns = tuple(rows.schema.items())
            same = frames.setdefault(columns, [])
            begin = lengths.get(columns, 0)
            lengths[columns] = begin + len(rows)
            same.append(rows)
            about = {"id": record.id, "key": record.key, "changed": changed.get(record.id, 0)}
            place = {"table": list(frames).index(columns), "begin": begin, "count": len(rows)}
            entries.append({**about, **place, "record": record.model_dump_json()})

        def write(part: Path) -> None:
            pl.DataFrame(entries, infer_schema_length=None).write_parquet(part / ENTRIES)
            for number, same in enumerate(frames.values()):
                pl.concat(same).write_parquet(part / f"rows-{number}.parquet")

        with suppress(RunError, OSError):  # only a copy: the arms' folders hold the originals
            keep(self.path, key_of([[e["id"], e["key"], e["changed"]] for e in entries]), write)


def _changes(folder: Path) -> dict[str, int]:
    """When each arm's folder last changed, in nanoseconds of the file system's clock."""
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_mtime_ns for entry in entries}
