"""An index of a run's finished arms: a large store is read from few files, not from thousands.

Beside the folder of the arms lies `arm_index/`: `arms.parquet` says of each arm its record and
where its rows are, in a `rows-N.parquet` for all tables with the same columns. An entry counts
while the arm's folder is the one that was read, by its time of change. All of it may be deleted:
folders are read one by one then, and those of a small run always are.
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
"""Arms from which on a run has an index: so many folders are read in 0.2 s."""


class ArmIndex:
    """What the index of a folder of arms says now."""

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
        """Whether it has any arm."""
        return bool(self._entries)

    def find(self, names: Sequence[str], keys: Sequence[str]) -> list[ScoredArm] | None:
        """Arms by their folders' names and their keys; None: not all of them are here."""
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
        """Write an index of these arms, if they are many and not all were found in this one."""
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

        with suppress(RunError, OSError):  # a copy: what it is of lies in the arms' folders
            keep(self.path, key_of([[e["id"], e["key"], e["changed"]] for e in entries]), write)


def _changes(folder: Path) -> dict[str, int]:
    """When each arm's folder last changed, in nanoseconds of the file system's clock."""
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_mtime_ns for entry in entries}
