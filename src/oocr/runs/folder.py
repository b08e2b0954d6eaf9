"""A run's folder: name, locks, number of threads, kept tables, and a reader of all files."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import polars as pl
from filelock import FileLock
from pydantic import ValidationError

from oocr.claims.records import Claim, PaperScore
from oocr.errors import InputError, RunError
from oocr.evals.scores import Scoring
from oocr.families.registry import family_of
from oocr.io import (
    Record,
    command_line,
    disk_errors,
    keep,
    locked,
    write_atomic,
    write_json,
)
from oocr.leases import live_claims
from oocr.runs.config import RunConfig
from oocr.runs.progress import ProgressReport
from oocr.runs.read_config import load_configs
from oocr.runs.records import (
    ArmRecord,
    Continuation,
    GridPoint,
    MadeWith,
    RunInfo,
    Sample,
    Selection,
)
from oocr.stores import Store
from oocr.words import first_line

RecordT = TypeVar("RecordT", bound=Record)

WORK = "work"
"""Folder of a run that holds the claims of the processes that share it."""

_ROW_COLUMNS = ("arm", "control", "part", "member", "seed", "step", "final", "facet", "group")


def run_folder(config: RunConfig, out: Path) -> Path:
    """The folder of a run: its name and a hash of its configuration (without machine settings)."""
    settings = config.anywhere.settings
    if config.day is None:  # no chat template writes one
        del settings["day"]
    text = json.dumps(settings, sort_keys=True)
    return out / f"{config.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Lock a run's folder for this process only; `RunError`: another process uses it."""

    def busy() -> None:
        raise RunError(f"another process is at work on {folder}")

    with ExitStack() as stack:
        with disk_errors(folder / ".lock"):
            stack.enter_context(locked(FileLock(folder / ".lock"), when_busy=busy))
        if others := live_claims(folder / WORK):
            raise RunError(
                f"processes are at work on {folder} (one on {others[0].host}, number "
                f"{others[0].pid}): `{command_line(['oocr', 'work', folder])}` works beside them"
            )
        yield


@contextmanager
def shared_lock(folder: Path) -> Iterator[None]:
    """Lock a run's folder together with other processes; `RunError`: one has an exclusive lock.

    Locks of other machines are seen only if the file system shares them.
    """
    path = folder / ".lock"
    with disk_errors(path), path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"another process is at work on {folder}, by itself") from error
        except OSError:  # a file system without locks
            pass
        yield


def run_threads(store: Store, threads: int) -> int:
    """The stored number of threads, on which results depend; if there is none, store `threads`."""
    for _ in range(3):  # another process may write it at this moment
        with suppress(OSError, ValueError):
            return max(1, int(store.read(THREADS)))
        if store.create(THREADS, f"{threads}\n".encode()):
            return threads
        time.sleep(0.1)
    store.write(THREADS, f"{threads}\n".encode())
    return threads


THREADS, MADE_WITH, SECONDS = "threads", "made_with.json", "seconds.json"


def read_made_with(store: Store) -> MadeWith | None:
    """How a run's results were made (versions, threads, device); None: not recorded."""
    with suppress(OSError, ValidationError):
        return MadeWith.model_validate_json(store.read(MADE_WITH))
    return None


def record_made_with(store: Store, here: MadeWith, progress: ProgressReport) -> None:
    """Store how a run's results are made; report a difference from the stored record."""
    content = _made_with(here)
    if store.create(MADE_WITH, content):
        return
    before = read_made_with(store)
    if before != here:
        progress.note(
            f"results in {store} were made with {before or 'something unknown'}; here is {here}: "
            "what this changes is computed again"
        )
        store.write(MADE_WITH, content)


def check_made_with(store: Store, here: MadeWith) -> None:
    """`InputError` if this machine would round results in another way than the stored ones."""
    before = read_made_with(store)
    if before == here or store.create(MADE_WITH, _made_with(here)):
        return
    time.sleep(0.0 if before else 0.5)  # another process is writing it
    before = before or read_made_with(store)
    differing = [
        f"{name} {getattr(before, name, 'unknown')} there, {getattr(here, name)} here"
        for name in MadeWith.model_fields
        if getattr(before, name, None) != getattr(here, name)
    ]
    if differing:
        raise InputError(
            f"{store}: found results that are rounded otherwise than this machine's would be "
            f"({'; '.join(differing)}); allowed: the same, so that a run's results are not mixed "
            "(for results of this machine name another folder with --out)"
        )


def _made_with(here: MadeWith) -> bytes:
    return (here.model_dump_json(indent=1) + "\n").encode()


def changed_files(folder: Path, config: RunConfig) -> list[str]:
    """Names of the user's files that have changed since the last call, by stored hashes."""
    files = [path for path in family_of(config.task).files(config.task) if path.is_file()]
    hashes = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    path, before = folder / "files.json", dict[str, str]()
    with suppress(OSError, ValueError):
        before = json.loads(path.read_text(encoding="utf-8"))
    if hashes != before:
        write_json(path, hashes)
    return [Path(name).name for name in hashes if before.get(name, hashes[name]) != hashes[name]]


@contextmanager
def kept_seconds(folder: Path, seconds: dict[str, float]) -> Iterator[None]:
    """Add the times of a run's earlier parts to `seconds`, by stage; keep the sums, also on errors.

    So an interrupted run knows how long all of it took.
    """
    path = folder / SECONDS
    with suppress(OSError, ValueError, AttributeError):
        before = json.loads(path.read_text(encoding="utf-8"))
        seconds |= {str(stage): float(time) for stage, time in before.items()}
    try:
        yield
    finally:
        with suppress(OSError, RunError):  # the error that ended the run is the one to show
            write_json(path, {stage: round(time, 2) for stage, time in seconds.items()})


def kept_rows(target: Path, key: str, make: Callable[[Path], pl.DataFrame]) -> pl.DataFrame:
    """The rows of a part of a run, computed once and cached in a folder (see `oocr.io.keep`).

    `make` returns the rows, and may write other files into the folder that it gets. RunError: the
    cached rows cannot be read.
    """
    tables: list[pl.DataFrame] = []

    def fill(part: Path) -> None:
        tables.append(make(part))
        tables[0].write_parquet(part / "rows.parquet")

    keep(target, key, fill)
    return tables[0] if tables else read_table(target / "rows.parquet")


@contextmanager
def redo_if_broken(path: Path) -> Iterator[None]:
    """Turn any error in reading a kept file into a `RunError` that says what to delete."""
    try:
        yield
    except Exception as error:  # polars' errors are of many types
        message = f"{path} cannot be read ({first_line(error)}); delete {path.parent} and run again"
        raise RunError(message) from error


def read_table(path: Path) -> pl.DataFrame:
    """Read a Parquet file of a run folder; a `RunError` if it cannot be read."""
    with redo_if_broken(path):
        return pl.read_parquet(path)


def write_table(path: Path, table: pl.DataFrame) -> Path:
    """Write a Parquet file atomically."""
    return write_atomic(path, lambda part: table.write_parquet(part))


def _records_in(name: str, kind: type[RecordT]) -> cached_property[tuple[RecordT, ...]]:
    """A property of a run folder: the records of a JSON list; empty without the file."""

    def read(run: RunFolder) -> tuple[RecordT, ...]:
        path = run.folder / name
        if not path.is_file():
            return ()
        values = _json(path)
        if not isinstance(values, list):
            raise InputError(f"{path} should hold a list, found {type(values).__name__}")
        return tuple(_record(path, kind, value) for value in values)

    return cached_property(read)


def _table_in(name: str) -> cached_property[pl.DataFrame | None]:
    """A property of a run folder: one of its Parquet files."""

    def read(run: RunFolder) -> pl.DataFrame | None:
        return run.table(name)

    return cached_property(read)


@dataclass(frozen=True, eq=False)
class RunFolder:
    """A run folder (its files and their columns: `oocr.runs.records`).

    A property is None or empty if its file is missing; `info`, `arms` and `config` raise
    `InputError`. Every property raises `InputError` for a file with unexpected content.
    """

    folder: Path

    claims = _records_in("claims.json", Claim)
    paper = _records_in("paper.json", PaperScore)
    examples = _records_in("examples.json", Continuation)
    samples = _records_in("samples.json", Sample)
    history = _table_in("history")
    constancy = _table_in("constancy")
    tokens = _table_in("tokens")
    side_effects = _table_in("side_effects")

    @cached_property
    def info(self) -> RunInfo:
        """run.json: settings and circumstances."""
        path = self.folder / "run.json"
        if not path.is_file():
            raise InputError(f"{self.folder} is not a run folder: it holds no run.json")
        value = _json(path)
        if isinstance(value, dict) and "scoring" not in value:
            raise InputError(
                f"{path} is of an earlier version: it does not say how rows are scored; "
                f"`{command_line(['oocr', 'run', self.folder / 'config.yaml'])}` writes it again "
                "without training"
            )
        return _record(path, RunInfo, value)

    @cached_property
    def date(self) -> str:
        """The day on which run.json was written (UTC), e.g. "3 May 2026"."""
        written = (self.folder / "run.json").stat().st_mtime
        return datetime.fromtimestamp(written, tz=UTC).strftime("%-d %B %Y")

    @cached_property
    def config_text(self) -> str:
        """The text of config.yaml."""
        path = self.folder / "config.yaml"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    @cached_property
    def config(self) -> RunConfig:
        """The resolved configuration."""
        return load_configs(self.folder / "config.yaml")[0]

    @cached_property
    def selection(self) -> Selection | None:
        """selection.json."""
        path = self.folder / "selection.json"
        return _record(path, Selection, _json(path)) if path.is_file() else None

    @cached_property
    def arms(self) -> tuple[ArmRecord, ...]:
        """The arms that the run reports: not arms of the selection, nor those of earlier settings.

        These are the arms at the chosen points, and of sweeps those at each layer's best point.
        """
        if self.selection is None:
            raise InputError(f"{self.folder / 'selection.json'} is missing; do the run again")
        points: set[tuple[str, str, int, float]] = set()
        for choice in self.selection.grid:
            if choice.chosen:
                points |= {(role, *_point(choice)) for role in ("test", "control")}
                others = self.selection.best_by_layer(choice.method)
                points |= {("sweep", *_point(other)) for other in others}
        paths = sorted((self.folder / "arms").glob("*/arm.json"))
        arms = [_record(path, ArmRecord, _json(path)) for path in paths]
        return tuple(arm for arm in arms if (arm.role, *_point(arm)) in points)

    @cached_property
    def rows(self) -> pl.DataFrame | None:
        """rows.parquet: one row per item scored; None if the file or a column is missing."""
        rows = self.table("rows")
        if not has(rows, *_ROW_COLUMNS):
            return None
        return rows.with_columns(
            pl.col("control", "member").cast(pl.String).fill_null(""),
            pl.col("seed", "step").cast(pl.Int64),
            pl.col("final").cast(pl.Boolean).fill_null(value=False),
        )

    @cached_property
    def rows_hash(self) -> str:
        """Hash of rows.parquet."""
        return hashlib.sha256((self.folder / "rows.parquet").read_bytes()).hexdigest()[:16]

    @cached_property
    def scoring(self) -> Scoring | None:
        """How the rows are scored; None: needed columns are missing."""
        needed = ("right", "answer") if self.info.score == "accuracy" else ("log_odds",)
        return self.info.scoring if has(self.rows, *needed) else None

    def table(self, name: str) -> pl.DataFrame | None:
        """A Parquet file of the folder; None if it is missing or has no rows."""
        path = self.folder / f"{name}.parquet"
        if not path.is_file():
            return None
        try:
            table = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            message = f"{path} is not a Parquet file: {error}; do the run again"
            raise InputError(message) from error
        return None if table.is_empty() else table


def has(table: pl.DataFrame | None, *columns: str) -> TypeGuard[pl.DataFrame]:
    """Whether there are rows, and these columns."""
    return table is not None and not table.is_empty() and set(columns) <= set(table.columns)


def as_float(value: object) -> float:
    """A statistic of a column as a number; NaN: null."""
    return float(value) if isinstance(value, (int, float)) else math.nan


def _point(arm: ArmRecord | GridPoint) -> tuple[str, int, float]:
    return arm.method, arm.layer, arm.learning_rate


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not JSON: {error}; do the run again") from error


def _record(path: Path, kind: type[RecordT], value: Any) -> RecordT:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{path}, field {where or '(all)'}: {first['msg']}; do the run again"
        raise InputError(message) from error
