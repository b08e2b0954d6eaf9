"""A run's folder: its name, its lock, its number of threads, tables in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import polars as pl
from filelock import FileLock

from oocr.errors import RunError
from oocr.io import disk_errors, keep, locked, write_atomic, write_text
from oocr.runs.config import RunConfig


def run_folder(config: RunConfig, out: Path) -> Path:
    """The folder of a run: its name and a hash of its configuration without `workers`."""
    text = json.dumps({**config.model_dump(mode="json"), "workers": None}, sort_keys=True)
    return out / f"{config.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a run's folder while one process works on it.

    Raises:
        RunError: another process is at work on it.
    """

    def busy() -> None:
        raise RunError(f"another process is at work on {folder}")

    with ExitStack() as stack:
        with disk_errors(folder / ".lock"):
            stack.enter_context(locked(FileLock(folder / ".lock"), when_busy=busy))
        yield


def same_threads(folder: Path, threads: int) -> int:
    """The number of threads that the run began with (its numbers depend on it), else `threads`."""
    path = folder / "threads"
    try:
        return max(1, int(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        write_text(path, f"{threads}\n")
        return threads


def kept_rows(target: Path, key: str, make: Callable[[Path], pl.DataFrame]) -> pl.DataFrame:
    """The rows of a part of a run, made and written once (see `oocr.io.keep`).

    Args:
        target: the part's folder; the rows are its `rows.parquet`.
        key: what they depend on.
        make: gives the rows, and may write other files into the folder that it gets.

    Raises:
        RunError: what was kept cannot be read.
    """
    tables: list[pl.DataFrame] = []

    def fill(part: Path) -> None:
        tables.append(make(part))
        tables[0].write_parquet(part / "rows.parquet")

    keep(target, key, fill)
    return tables[0] if tables else read_table(target / "rows.parquet")


def read_table(path: Path) -> pl.DataFrame:
    """Read a Parquet file of a run folder.

    Raises:
        RunError: the file cannot be read.
    """
    try:
        return pl.read_parquet(path)
    except Exception as error:  # polars' errors are of many types
        raise RunError(
            f"{path} cannot be read ({error}); delete {path.parent} and run again"
        ) from error


def write_table(path: Path, table: pl.DataFrame) -> Path:
    """Write a Parquet file atomically."""
    return write_atomic(path, lambda part: table.write_parquet(part))
