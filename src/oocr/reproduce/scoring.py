"""Scores of arms on finished runs' probes, as in the run's own score; shares of effects."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import polars as pl
from torch import Tensor

from oocr import intervals, stats
from oocr.claims.analysis_result import NotMeasuredError as NotMeasuredError
from oocr.claims.conditions import over
from oocr.claims.judge import NAMES, estimate_of, n_of, seeds_of
from oocr.claims.records import Finding, Null
from oocr.errors import InputError
from oocr.evals.probes import arm_columns
from oocr.evals.probes import rows as score_rows
from oocr.intervals import Bounds
from oocr.reproduce.finished_runs import FinishedRuns, Unit
from oocr.stats import Cells
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector, random_vector

RANDOM = "random direction"
RANDOMS = 10  # number of random directions to compare a vector with
FIRST_SEED = 40_000
SMALLEST = 1e-9  # a smaller effect counts as none, without a share
NO_EFFECT_BELOW = 0.05
"""Gain in accuracy over the untouched model below which an arm counts as without effect."""

SPLIT_LOOKS = (("probes", "out of context", "vector"), ("in_context", "in context", "adapter"))
"""Split -> its words, and its colour in figures."""

SPLITS = {split: words for split, words, _ in SPLIT_LOOKS}

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)


@contextmanager
def refusal_as_reason() -> Iterator[None]:
    """Turn an `InputError` of `explain` into `NotMeasuredError`."""
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
    """The untouched model's score on the same members; a contrast is 0 without training."""
    return finished.scoring.base(finished.rows, like, split)


def of_members(rows: pl.DataFrame, members: Sequence[str]) -> pl.DataFrame:
    """The rows of these members."""
    return rows.filter(pl.col("member").is_in(members))


def first_seed(cells: Cells) -> Cells:
    """The rows of the first seed."""
    return replace(cells, values=cells.values[:, :1])


def of_first_seed(by_unit: Mapping[Unit, T]) -> dict[Unit, T]:
    """The entries of seed 0."""
    return {unit: value for unit, value in by_unit.items() if unit[1] == 0}


def has_effect(finished: FinishedRuns, arm: str) -> bool:
    """Whether an arm has an effect out of context, so that shares of it are defined."""
    interval = finished.scoring.effect(finished.rows, arm)
    return interval is not None and over(interval.low, 0)


def why_no_effect(finished: FinishedRuns, arm: str) -> str:
    """The reason for a measure that is not defined without an effect."""
    interval = finished.scoring.effect(finished.rows, arm)
    if interval is None:
        return f"no run of this subject trained {NAMES[arm]}"
    return (
        f"{NAMES[arm]} has no out-of-context effect here: "
        f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}] over the untouched model"
    )


def effective(finished: FinishedRuns, arm: str) -> Cells:
    """An arm's headline score; raises `NotMeasuredError` where it has no effect out of context."""
    cells = cells_of(finished, finished.rows, arm)
    if cells is None or not has_effect(finished, arm):
        raise NotMeasuredError(why_no_effect(finished, arm))
    return cells


def single_vectors(finished: FinishedRuns) -> dict[Unit, Vector]:
    """The reported vectors of seed 0; raises `NotMeasuredError` if they have several directions."""
    vectors = of_first_seed(finished.vectors)
    if not vectors or next(iter(vectors.values())).direction.ndim != 1:
        raise NotMeasuredError("no run of this subject trained a single direction")
    return vectors


def has_learned(finished: FinishedRuns, arm: str) -> bool:
    """Whether an arm learned something: an effect out of context, or at least its training rows."""
    if has_effect(finished, arm):
        return True
    falls = {
        (record.member, record.seed): record.losses[0]
        - record.losses[min(record.stop_step, len(record.losses) - 1)]
        for run in finished.runs
        for record in run.reported(arm)
        if record.losses
    }
    return bool(falls) and over(intervals.mean_interval(by_member(falls)).low, 0)


def renamed(rows: pl.DataFrame, arm: str, member: str) -> pl.DataFrame:
    """The rows with the columns that identify an arm set to this arm."""
    columns = arm_columns(arm, member, 0).items()
    return rows.with_columns(pl.lit(value).alias(name) for name, value in columns if name != "part")


def stacked(*frames: pl.DataFrame) -> pl.DataFrame:
    """Frames concatenated vertically."""
    return pl.concat(frames, how="diagonal_relaxed")


def probe_rows(
    finished: FinishedRuns, member: str, names: Iterable[str], scores: Tensor
) -> list[pl.DataFrame]:
    """Rows of a member's probes, a frame per arm, from option scores [arm, probe, option]."""
    probes = finished.task(member).probes
    return [
        score_rows(probes, options, arm_columns(name, member, 0, part="probes"))
        for name, options in zip(names, scores, strict=True)
    ]


def reported(finished: FinishedRuns, arm: str, members: Sequence[str], name: str) -> pl.DataFrame:
    """The run's rows of an arm's first seed, under another name."""
    rows = of_members(finished.rows, members).filter(
        pl.col("arm") == arm, pl.col("control") == "", pl.col("final"), pl.col("seed") == 0
    )
    return rows.with_columns(arm=pl.lit(name))


def scored(
    finished: FinishedRuns,
    arms: Mapping[Unit, Vector | Adapter],
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


def random_rows(finished: FinishedRuns, like: Mapping[Unit, Vector]) -> pl.DataFrame:
    """Rows of random directions of the norm and site of each member's first vector."""
    frames = []
    first = {member: vector for (member, _), vector in sorted(like.items(), reverse=True)}
    for place, (member, vector) in enumerate(sorted(first.items())):
        # Twins need different directions.
        shift = place if finished.tasks.score == "log_odds" else 0
        drawn = [
            random_vector(vector, vector.norm, FIRST_SEED + number + shift)
            for number in range(RANDOMS)
        ]
        columns = [arm_columns(RANDOM, member, number) for number in range(RANDOMS)]
        examples = {"probes": finished.task(member).probes}
        frames.append(finished.context.rows(examples, drawn, columns))
    return stacked(*frames, finished.base_rows)


def share(
    finished: FinishedRuns,
    id: str,
    what: str,
    part: Cells | None,
    whole: Cells,
    random: pl.DataFrame | None = None,
    *,
    base: Cells | None = None,
    nulls: Sequence[Null] = (),
) -> list[Finding]:
    """The share of one effect (over the untouched model, or `base`) that another arm reaches.

    `random` are rows of random directions, `nulls` other controls. No finding without `part`, or if
    the whole effect is too small.
    """
    base = base_of(finished, whole) if base is None else base
    if part is None or base is None or abs(stats.mean(whole) - stats.mean(base)) < SMALLEST:
        return []
    if random is not None:
        seeds = random.filter(pl.col("arm") == RANDOM)["seed"].unique().to_list()
        cells = [finished.scoring.cells(random, RANDOM, seed=seed) for seed in seeds]
        start = stats.mean(base)
        size = stats.mean(whole) - start
        values = [(stats.mean(direction) - start) / size for direction in cells if direction]
        if values:
            words = f"{len(values)} random directions of its norm, 95th centile"
            nulls = (Null(name=words, value=float(np.quantile(values, 0.95))),)
    number = estimate_of(stats.ratio(part, whole, base), n_of(part, finished.scoring.units))
    return [
        Finding(
            id=id,
            measure=what,
            found=number,
            base=0.0,
            nulls=tuple(nulls),
            ceiling=1.0,
            units=len(part.clusters),
        )
    ]


def by_member(values: Mapping[Unit, float]) -> list[float]:
    """Mean over seeds, per member; for a single member each seed's value."""
    members = sorted({member for member, _ in values})
    if len(members) == 1:
        return [values[unit] for unit in sorted(values)]
    return [
        float(np.mean([value for (member, _), value in values.items() if member == name]))
        for name in members
    ]


def measured(
    id: str,
    measure: str,
    values: Mapping[Unit, float],
    nulls: Sequence[Null] = (),
    *,
    bounds: Bounds | None = None,
    items: float | None = None,
    base: float | None = None,
    ceiling: float | None = None,
) -> Finding:
    """A mean over members, with an interval over members (or, of one member, seeds).

    `bounds` and `items` are those of `intervals.mean_interval`.
    """
    units = by_member(values)
    members, seeds = (len({unit[side] for unit in values}) for side in (0, 1))
    n = f"{members} member{'' if members == 1 else 's'} × {seeds_of(seeds)}"
    return Finding(
        id=id,
        measure=measure,
        found=estimate_of(intervals.mean_interval(units, bounds=bounds, items=items), n),
        base=base,
        nulls=tuple(nulls),
        ceiling=ceiling,
        units=len(units),
    )


def null_of_mean(name: str, values: Mapping[Unit, float]) -> tuple[Null]:
    """The mean over members of a control, with which a finding is compared."""
    return (Null(name=name, value=float(np.mean(by_member(values)))),)


@dataclass(frozen=True, eq=False)
class SplitScores(Generic[Key]):
    """Scores of several arms (`cells`) on one split, and shares of the effect of arm `whole`.

    `base`: the untouched model's score, of the same members.
    """

    finished: FinishedRuns
    split: str
    cells: Mapping[Key, Cells]
    whole: Key
    base: Cells

    @property
    def words(self) -> str:
        """The split in words, such as "out of context"."""
        return SPLITS[self.split]

    def rows(self, column: str) -> dict[Key, dict[str, Any]]:
        """Each arm's row of a figure's table, with the arm in this column."""
        shared = {"part": self.split, "base": stats.mean(self.base)}
        return {
            key: {**shared, column: key, **stats.estimate(cells).columns}
            for key, cells in self.cells.items()
        }

    def share(self, arm: Key, id: str, what: str, nulls: Sequence[Null] = ()) -> list[Finding]:
        """The share of the whole effect that an arm reaches; empty if there is no effect."""
        whole = self.cells[self.whole]
        if stats.mean(whole) - stats.mean(self.base) < NO_EFFECT_BELOW:
            return []
        part = self.cells.get(arm)
        return share(self.finished, id, what, part, whole, base=self.base, nulls=nulls)


def by_split(
    finished: FinishedRuns,
    rows: pl.DataFrame,
    arms: Mapping[Key, str],
    whole: Key,
    splits: Iterable[str] = tuple(SPLITS),
) -> Iterator[SplitScores[Key]]:
    """Scores of arms (key -> the arm's name in `rows`) on each split where `whole` has one."""
    for split in splits:
        scores = {key: cells_of(finished, rows, name, split) for key, name in arms.items()}
        cells = {key: arm for key, arm in scores.items() if arm is not None}
        base = finished.scoring.base(rows, cells[whole], split) if whole in cells else None
        if base is not None:
            yield SplitScores(finished, split, cells, whole, base)
