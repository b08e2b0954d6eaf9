"""Scores of any arms on finished runs' probes, as the headline counts them; shares of effects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from oocr import stats
from oocr.claims.judge import NAMES, estimate_of, n_of
from oocr.claims.records import Finding, Null
from oocr.claims.rules import over
from oocr.errors import InputError
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.stats import Bounds, Cells, Interval
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector, random_vector

RANDOMS = 10
"""Random directions that a vector of an analysis is held against."""

FIRST_SEED = 40_000

SMALLEST = 1e-9
"""An effect below this is none, and there is no share of it."""

NO_EFFECT_BELOW = 0.05
"""Accuracy over the untouched model's below which arms of an analysis have no effect to share."""

SPLITS: Mapping[str, str] = {"probes": "out of context", "in_context": "in context"}

Columns = dict[str, str | int | float | None]


class NotMeasuredError(Exception):
    """Why an analysis has no findings on these runs, as a sentence for the page."""


@contextmanager
def refused_is_not_measured() -> Iterator[None]:
    """What `explain` refuses on these runs is a reason why nothing was measured, not an error."""
    try:
        yield
    except InputError as error:
        raise NotMeasuredError(str(error)) from error


def cells_of(
    finished: FinishedRuns, rows: pl.DataFrame, arm: str, split: str = "probes"
) -> Cells | None:
    """An arm's score by member or probe group, seed and facet."""
    return finished.scoring.cells(rows, arm, part=split)


def base_of(finished: FinishedRuns, like: Cells, split: str = "probes") -> Cells | None:
    """The untouched model's, of the same members; a contrast is 0 without training."""
    return finished.scoring.base(finished.rows, like, split)


def of_members(rows: pl.DataFrame, members: Sequence[str]) -> pl.DataFrame:
    """The rows of some members."""
    return rows.filter(pl.col("member").is_in(members))


def first_seed(cells: Cells) -> Cells:
    """The first seed alone."""
    return replace(cells, values=cells.values[:, :1])


def effect(finished: FinishedRuns, arm: str) -> Interval | None:
    """An arm's score over the untouched model's."""
    return finished.scoring.effect(finished.rows, arm)


def has_effect(finished: FinishedRuns, arm: str) -> bool:
    """Whether an arm does anything out of context that shares can be told of."""
    interval = effect(finished, arm)
    return interval is not None and over(interval.low, 0)


def why_no_effect(finished: FinishedRuns, arm: str) -> str:
    """A sentence for what cannot be told without an effect."""
    interval = effect(finished, arm)
    if interval is None:
        return f"no run of this subject trained {NAMES[arm]}"
    return (
        f"{NAMES[arm]} has no out-of-context effect here: "
        f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}] over the untouched model"
    )


def effective(finished: FinishedRuns, arm: str) -> Cells:
    """An arm's headline score, where it has an effect out of context.

    Raises:
        NotMeasuredError: no such arm, or no effect.
    """
    cells = cells_of(finished, finished.rows, arm)
    if cells is None or not has_effect(finished, arm):
        raise NotMeasuredError(why_no_effect(finished, arm))
    return cells


def single_vectors(finished: FinishedRuns) -> dict[Who, Vector]:
    """The reported vectors of seed 0, which are one direction each.

    Raises:
        NotMeasuredError: there are none, or they are joined directions.
    """
    vectors = {who: vector for who, vector in finished.vectors.items() if who[1] == 0}
    if not vectors or next(iter(vectors.values())).direction.ndim != 1:
        raise NotMeasuredError("no run of this subject trained a single direction")
    return vectors


def has_learned(finished: FinishedRuns, arm: str) -> bool:
    """Whether an arm learned anything: an effect out of context, or at least its own rows."""
    if has_effect(finished, arm):
        return True
    falls = {
        (record.member, record.seed): record.losses[0]
        - record.losses[min(record.stop_step, len(record.losses) - 1)]
        for run in finished.runs
        for record in run.arms
        if record.method == arm and record.role == "test" and record.losses
    }
    return bool(falls) and over(stats.mean_interval(by_member(falls)).low, 0)


def arm_columns(arm: str, member: str, seed: int = 0, split: str | None = None) -> Columns:
    """What rows say besides what examples say; `split` None: the scorer fills it in."""
    return {
        **{"arm": arm, "control": "", "member": member, "seed": seed, "part": split},
        **{"step": None, "final": True},
    }


def renamed(rows: pl.DataFrame, arm: str, member: str) -> pl.DataFrame:
    """Rows of one arm, with the columns that say which arm it is."""
    columns = arm_columns(arm, member)
    return rows.with_columns(pl.lit(v).alias(name) for name, v in columns.items() if name != "part")


def stacked(*frames: pl.DataFrame) -> pl.DataFrame:
    """Rows under each other."""
    return pl.concat(frames, how="diagonal_relaxed")


def reported(finished: FinishedRuns, arm: str, members: Sequence[str], name: str) -> pl.DataFrame:
    """The run's own rows of an arm's first seed, under another name."""
    rows = of_members(finished.rows, members).filter(
        pl.col("arm") == arm, pl.col("control") == "", pl.col("final"), pl.col("seed") == 0
    )
    return rows.with_columns(arm=pl.lit(name))


def scored(
    finished: FinishedRuns,
    arms: Mapping[Who, Vector | Adapter],
    name: str,
    splits: Iterable[str] = ("probes",),
) -> pl.DataFrame:
    """Rows of arms, one for each member and seed, on splits of that member's task."""
    frames = []
    for (member, seed), arm in arms.items():
        available = finished.task(member).scored
        examples = {split: available[split] for split in splits if split in available}
        stack = arm if isinstance(arm, Adapter) else [arm]
        frames.append(finished.context.rows(examples, stack, [arm_columns(name, member, seed)]))
    # A contrast without an opposite twin needs the untouched model's rows.
    return stacked(*frames, finished.base_rows)


def random_rows(finished: FinishedRuns, like: Mapping[Who, Vector], name: str) -> pl.DataFrame:
    """Rows of random directions of the norm and site of each member's first vector."""
    frames = []
    first = {member: vector for (member, _), vector in sorted(like.items(), reverse=True)}
    for place, (member, vector) in enumerate(sorted(first.items())):
        shift = place if finished.tasks.score == "log_odds" else 0  # twins need different ones
        drawn = [
            random_vector(vector, vector.norm, FIRST_SEED + number + shift)
            for number in range(RANDOMS)
        ]
        columns = [arm_columns(name, member, number) for number in range(RANDOMS)]
        examples = {"probes": finished.task(member).probes}
        frames.append(finished.context.rows(examples, drawn, columns))
    return stacked(*frames, finished.base_rows)


def share(
    finished: FinishedRuns,
    id: str,
    what: str,
    part: Cells | None,
    whole: Cells,
    null: pl.DataFrame | None = None,
    null_name: str = "",
    *,
    base: Cells | None = None,
    nulls: Sequence[Null] = (),
) -> list[Finding]:
    """The share of one effect (over the untouched model, or `base`) that another arm reaches.

    No finding without `part`, or where there is no effect to take a share of.
    """
    base = base_of(finished, whole) if base is None else base
    if part is None or base is None or abs(stats.mean(whole) - stats.mean(base)) < SMALLEST:
        return []
    if null is not None:
        size = stats.mean(whole) - stats.mean(base)
        values = [
            (stats.mean(cells) - stats.mean(base)) / size
            for cells in _random_cells(finished, null, null_name)
        ]
        if values:
            words = f"{len(values)} random directions of its norm, 95th centile"
            nulls = (Null(name=words, value=float(np.quantile(values, 0.95))),)
    return [
        Finding(
            id=id,
            measure=what,
            found=estimate_of(stats.ratio(part, whole, base), n_of(part, finished.scoring.units)),
            base=0.0,
            nulls=tuple(nulls),
            ceiling=1.0,
            units=len(part.clusters),
        )
    ]


def _random_cells(finished: FinishedRuns, rows: pl.DataFrame, name: str) -> list[Cells]:
    """The cells of each random direction."""
    base = rows.filter(pl.col("arm") == "base")
    by_seed = rows.filter(pl.col("arm") == name).group_by("seed", maintain_order=True)
    cells = [cells_of(finished, stacked(seed_rows, base), name) for _, seed_rows in by_seed]
    return [direction for direction in cells if direction is not None]


def by_member(values: Mapping[Who, float]) -> list[float]:
    """Mean over seeds, per member; of a single member each seed's own value."""
    members = sorted({member for member, _ in values})
    if len(members) == 1:
        return [values[who] for who in sorted(values)]
    return [
        float(np.mean([value for (member, _), value in values.items() if member == name]))
        for name in members
    ]


def mean_of(values: Mapping[Who, float]) -> float:
    """The value of a finding: the mean over members."""
    means = by_member(values)
    return sum(means) / len(means)


def measured(
    id: str,
    measure: str,
    values: Mapping[Who, float],
    nulls: Sequence[Null] = (),
    *,
    bounds: Bounds | None = None,
    items: float | None = None,
    base: float | None = None,
    ceiling: float | None = None,
) -> Finding:
    """A mean over members, with an interval over members (or, of one member, seeds).

    `bounds` and `items` are those of `stats.mean_interval`.
    """
    units = by_member(values)
    members, seeds = (len({who[side] for who in values}) for side in (0, 1))
    n = f"{members} member{'' if members == 1 else 's'} × {seeds} seed{'' if seeds == 1 else 's'}"
    return Finding(
        id=id,
        measure=measure,
        found=estimate_of(stats.mean_interval(units, bounds=bounds, items=items), n),
        base=base,
        nulls=tuple(nulls),
        ceiling=ceiling,
        units=len(units),
    )


def interval_columns(cells: Cells) -> dict[str, Any]:
    """Value, low and high of cells, for a row of a figure's table."""
    return stats.estimate(cells).columns
