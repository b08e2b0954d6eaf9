"""A finished run as tracked runs: one for each arm, and one with the verdicts.

Only values in the run's folder; nothing is computed again except scores at an arm's steps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from oocr import stats
from oocr.claims.records import Claim
from oocr.evals.scores import Scoring
from oocr.runs.config import RunConfig
from oocr.runs.folder import RunFolder
from oocr.runs.records import ArmRecord, RunInfo

Setting = bool | int | float | str
Points = dict[int, dict[str, float]]
"""Training step -> name -> number."""

SUMMARY = "summary"
"""The run with the verdicts."""

PARTS = ("in_context", "probes")
"""Parts scored by step: the trained skill, and out of context."""

_KEY = ("control", "member", "seed", "layer")
_OF_GRID = ("layers", "learning_rates", "steps", "sweep", "positions")  # an arm has one of each
_OF_RECORD = ("id", "losses", "stop_losses", "key")


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run of a tracker: its settings, and its numbers by training step (0: not along steps)."""

    name: str
    settings: Mapping[str, Setting]
    points: Mapping[int, Mapping[str, float]]


def tracked_runs(run: RunFolder) -> Iterator[TrackedRun]:
    """The arms that a run reports, in the order of their folders, then its verdicts."""
    rows, scoring = run.rows, run.scoring
    about, config = about_run(run), run.config
    for arm in run.arms:
        points: Points = {}
        for step, loss in enumerate(arm.losses, start=1):
            _add(points, step, "loss/training", loss)
        for step, loss in arm.stop_losses.items():
            _add(points, step, "loss/held_out", loss)
        if rows is not None and scoring is not None:
            for part in PARTS:
                for step, score in scores_by_step(rows, scoring, arm, part):
                    _add(points, step, f"score/{part}", score)
        settings = {**about, **arm_settings(arm, config)}
        yield TrackedRun(arm.id, settings, dict(sorted(points.items())))
    yield summary(run.claims, {**about, **_circumstances(run.info)})


def about_run(run: RunFolder) -> dict[str, Setting]:
    """What all arms of a run share; a model's folder only by its name."""
    info = run.info
    local = info.model_source.get("kind") != "hub" and Path(info.model).is_absolute()
    return {
        "run": run.folder.resolve().name,
        "family": info.family,
        "model": Path(info.model).name if local else info.model,
        "model_fingerprint": info.model_fingerprint,
        "dtype": info.dtype,
        "measure": info.score if run.scoring is None else run.scoring.axis,
    }


def arm_settings(arm: ArmRecord, config: RunConfig) -> dict[str, Setting]:
    """An arm's record without its curves, with the run's settings of its method."""
    grid = config.grids[arm.method]
    values = {
        **grid.model_dump(exclude=set(_OF_GRID)),
        **{name: getattr(config, name) for name in ("batch_lines", "accumulate", "stop_on")},
        **arm.model_dump(exclude=set(_OF_RECORD)),
        **({"layer": "all"} if grid.layers == "all" else {}),
    }
    return {name: _setting(value) for name, value in values.items() if value is not None}


def scores_by_step(
    rows: pl.DataFrame, scoring: Scoring, arm: ArmRecord, part: str
) -> Iterator[tuple[int, float]]:
    """An arm's score after each of the steps at which it was scored.

    None of a single twin: the score of such tasks is a difference of two arms.
    """
    name = f"{arm.method} sweep" if arm.role == "sweep" else arm.method
    same_arm = [pl.col(key) == getattr(arm, key) for key in _KEY if key in rows.columns]
    of_arm = rows.filter(pl.col("arm") == name, pl.col("part") == part, *same_arm)
    base = rows.filter(pl.col("arm") == "base", pl.col("part") == part)
    for (step,), at_step in of_arm.group_by("step", maintain_order=True):
        cells = scoring.score(at_step, base)
        if cells is not None:
            yield int(str(step)), stats.mean(cells)


def summary(claims: tuple[Claim, ...], about: Mapping[str, Setting]) -> TrackedRun:
    """The verdicts as settings, and their numbers."""
    settings, points = dict(about), Points()
    for claim in claims:
        named = f"claims/{claim.id}"
        words = {name: getattr(claim, name) for name in ("verdict", "claim", "measure", "rule")}
        settings |= {
            f"{named}/{name}": text for name, text in {**words, "n": claim.found.n}.items()
        }
        numbers = {
            **{name: getattr(claim.found, name) for name in ("value", "low", "high")},
            "base": claim.base,
            "ceiling": claim.ceiling,
            **{f"null/{_word(null.name)}": null.value for null in claim.nulls},
        }
        for name, number in numbers.items():
            _add(points, 0, f"{named}/{name}", number)
    return TrackedRun(SUMMARY, settings, points)


def _circumstances(info: RunInfo) -> dict[str, Setting]:
    return {
        "seeds": len(info.seeds),
        "threads": info.threads,
        "device": info.device,
        "parameters": info.parameters,
        **{f"versions/{name}": version for name, version in info.versions.items()},
    }


def _add(points: Points, step: int, name: str, number: float | None) -> None:
    """Trackers take no number that is none: it is left out, as a gap of the curve."""
    if number is not None and math.isfinite(number):
        points.setdefault(step, {})[name] = float(number)


def _setting(value: object) -> Setting:
    """A value as every tracker takes it; lists as words with commas."""
    if isinstance(value, (bool, int, float, str)):
        return value
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _word(name: str) -> str:
    """A name of letters, digits and dashes, which every tracker takes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-") or "control"
