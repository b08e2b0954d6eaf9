"""Reading a run folder; whatever it lacks is None or empty."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from pydantic import ValidationError

from oocr.claims.records import Claim, PaperScore
from oocr.errors import InputError
from oocr.evals.scores import Scoring
from oocr.io import Record
from oocr.runs.records import Continuation, RunInfo, Sample, Selection

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Everything of a run that the report shows."""

    folder: Path
    info: RunInfo
    date: str
    claims: tuple[Claim, ...]
    examples: tuple[Continuation, ...]
    selection: Selection | None
    rows: pl.DataFrame | None
    history: pl.DataFrame | None
    constancy: pl.DataFrame | None
    tokens: pl.DataFrame | None
    side_effects: pl.DataFrame | None
    config: str
    paper: tuple[PaperScore, ...] = ()
    samples: tuple[Sample, ...] = ()

    @property
    def scoring(self) -> Scoring | None:
        """How its rows are scored; None where they lack what that needs."""
        needed = ("right", "answer") if self.info.score == "accuracy" else ("log_odds",)
        return self.info.scoring if has(self.rows, *needed) else None


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        InputError: no run.json, or a file that is not what it should be.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise InputError(f"{folder} is not a run folder: it holds no run.json")
    date = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC).strftime("%-d %B %Y")
    selection = folder / "selection.json"
    config = folder / "config.yaml"
    return Run(
        folder=folder,
        info=_record(path, RunInfo, _json(path)),
        date=date,
        claims=_records(folder / "claims.json", Claim),
        examples=_records(folder / "examples.json", Continuation),
        selection=(
            _record(selection, Selection, _json(selection)) if selection.is_file() else None
        ),
        rows=_rows(_frame(folder / "rows.parquet")),
        history=_frame(folder / "history.parquet"),
        constancy=_frame(folder / "constancy.parquet"),
        tokens=_frame(folder / "tokens.parquet"),
        side_effects=_frame(folder / "side_effects.parquet"),
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
        paper=_records(folder / "paper.json", PaperScore),
        samples=_records(folder / "samples.json", Sample),
    )


def has(frame: pl.DataFrame | None, *columns: str) -> bool:
    """Whether there are rows, and these columns."""
    return frame is not None and not frame.is_empty() and set(columns) <= set(frame.columns)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def _record(path: Path, kind: type[R], value: Any) -> R:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if kind is RunInfo and where == "scoring":
            raise InputError(
                f"{path} is of an earlier version: it does not say how rows are scored; "
                f"`oocr run {path.parent / 'config.yaml'}` writes it again without training"
            ) from error
        raise InputError(f"{path}, field {where or '(all)'}: {first['msg']}") from error


def _records(path: Path, kind: type[R]) -> tuple[R, ...]:
    if not path.is_file():
        return ()
    values = _json(path)
    if not isinstance(values, list):
        raise InputError(f"{path} should hold a list, found {type(values).__name__}")
    return tuple(_record(path, kind, value) for value in values)


def _frame(path: Path) -> pl.DataFrame | None:
    if not path.is_file():
        return None
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path} is not a Parquet file: {error}") from error
    return None if frame.is_empty() else frame


def as_float(value: object) -> float:
    """A column's mean, median or extreme as a number; NaN where it has none."""
    return float(value) if isinstance(value, (int, float)) else math.nan


_NEEDED = ("arm", "control", "part", "member", "seed", "step", "final", "facet", "group")


def _rows(frame: pl.DataFrame | None) -> pl.DataFrame | None:
    if frame is None or not has(frame, *_NEEDED):
        return None
    return frame.with_columns(
        pl.col("control", "member").cast(pl.String).fill_null(""),
        pl.col("seed", "step").cast(pl.Int64),
        pl.col("final").cast(pl.Boolean).fill_null(value=False),
    )
