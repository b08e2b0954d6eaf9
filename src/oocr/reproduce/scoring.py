"""Scores of any vectors on a subject's probes, as the headline counts them; shares of effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from oocr import stats
from oocr.claims.records import Estimate, Finding, Null
from oocr.claims.results import NAMES, estimate_of, n_of
from oocr.claims.rules import over
from oocr.evals.scores import Scoring
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.stats import Cells, Interval
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector, random_vector

RANDOMS = 10
"""Random directions that a vector of an analysis is held against."""

FIRST_SEED = 40_000

SMALLEST = 1e-9
"""An effect below this is none, and there is no share of it."""

NO_EFFECT_BELOW = 0.05
"""Accuracy over the untouched model's below which arms of an analysis have no effect to share."""


def cells_of(
    subject: FinishedRuns, rows: pl.DataFrame, arm: str, control: str = "", part: str = "probes"
) -> Cells | None:
    """An arm's headline score by member or probe group, seed and facet."""
    return Scoring.of(subject.tasks).cells(rows, arm, control, part)


def base_of(subject: FinishedRuns, like: Cells, part: str = "probes") -> Cells | None:
    """The untouched model's, of the same members; a contrast is 0 without training."""
    return Scoring.of(subject.tasks).base(subject.rows, like, part)


def zero_of(like: Cells) -> Cells:
    """Nothing, in the same cells."""
    return Cells(np.zeros_like(like.values), like.weights, like.clusters, like.facets)


def of_members(rows: pl.DataFrame, members: Sequence[str]) -> pl.DataFrame:
    """The rows of some members."""
    return rows.filter(pl.col("member").is_in(members))


def seed0(cells: Cells) -> Cells:
    """The first seed alone."""
    return Cells(cells.values[:, :1], cells.weights, cells.clusters, cells.facets)


def clusters(subject: FinishedRuns) -> str:
    """What an interval of the headline score draws."""
    contrast = subject.tasks.score == "log_odds"
    return "probes" if contrast else "members" if len(subject.members) > 1 else "probe groups"


def effect(subject: FinishedRuns, arm: str) -> Interval | None:
    """An arm's headline score over the untouched model's."""
    cells = cells_of(subject, subject.rows, arm)
    base = None if cells is None else base_of(subject, cells)
    return None if cells is None or base is None else stats.estimate(cells - base)


def has_effect(subject: FinishedRuns, arm: str) -> bool:
    """Whether an arm does anything out of context that shares can be told of."""
    found = effect(subject, arm)
    return found is not None and over(found.low, 0)


def why_no_effect(subject: FinishedRuns, arm: str) -> str:
    """A sentence for what cannot be told without an effect."""
    found = effect(subject, arm)
    if found is None:
        return f"no run of this subject trained {NAMES[arm]}"
    return (
        f"{NAMES[arm]} has no out-of-context effect here: "
        f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}] over the untouched model"
    )


def has_learned(subject: FinishedRuns, arm: str) -> bool:
    """Whether an arm learned anything: an effect out of context, or at least its own rows."""
    if has_effect(subject, arm):
        return True
    falls = {
        (one.member, one.seed): one.losses[0] - one.losses[min(one.stop_step, len(one.losses) - 1)]
        for run in subject.runs
        for one in run.arms
        if one.method == arm and one.role == "test" and one.losses
    }
    return bool(falls) and over(stats.mean_interval(by_member(falls)).low, 0)


def reported(subject: FinishedRuns, arm: str, members: Sequence[str], name: str) -> pl.DataFrame:
    """The run's own rows of an arm's first seed, under another name."""
    rows = of_members(subject.rows, members).filter(
        pl.col("arm") == arm, pl.col("control") == "", pl.col("final"), pl.col("seed") == 0
    )
    return rows.with_columns(arm=pl.lit(name))


def scored(
    subject: FinishedRuns,
    arms: Mapping[Who, Vector | Adapter],
    name: str,
    wanted: Sequence[str] = ("probes",),
) -> pl.DataFrame:
    """Rows of interventions, one for each member and seed, on parts of that member's task."""
    frames = []
    for (member, seed), one in arms.items():
        columns: dict[str, str | int | float | None] = {
            **{"arm": name, "control": "", "member": member, "seed": seed},
            **{"part": None, "step": None, "final": True},
        }
        every = subject.task(member).scored
        parts = {part: every[part] for part in wanted if part in every}
        some = one if isinstance(one, Adapter) else [one]
        frames.append(subject.lab.rows(parts, some, [columns]))
    return _with_base(subject, pl.concat(frames, how="diagonal_relaxed"))


def random_rows(subject: FinishedRuns, like: Mapping[Who, Vector], name: str) -> pl.DataFrame:
    """Rows of random directions of the norm and site of each member's first vector."""
    frames = []
    first = {member: one for (member, seed), one in sorted(like.items(), reverse=True)}
    for place, (member, vector) in enumerate(sorted(first.items())):
        shift = place if subject.tasks.score == "log_odds" else 0  # twins need different ones
        drawn = [
            random_vector(vector, vector.norm, FIRST_SEED + number + shift)
            for number in range(RANDOMS)
        ]
        columns: list[dict[str, str | int | float | None]] = [
            {
                **{"arm": name, "control": "", "member": member, "seed": number},
                **{"part": None, "step": None, "final": True},
            }
            for number in range(RANDOMS)
        ]
        parts = {"probes": subject.task(member).probes}
        frames.append(subject.lab.rows(parts, drawn, columns))
    return _with_base(subject, pl.concat(frames, how="diagonal_relaxed"))


def _with_base(subject: FinishedRuns, rows: pl.DataFrame) -> pl.DataFrame:
    """A contrast without an opposite twin needs the untouched model's rows."""
    base = subject.rows.filter(pl.col("arm") == "base")
    return pl.concat([rows, base], how="diagonal_relaxed")


def share(
    subject: FinishedRuns,
    id: str,
    what: str,
    part: Cells,
    whole: Cells,
    null: pl.DataFrame | None = None,
    null_name: str = "",
    *,
    base: Cells | None = None,
) -> Finding | None:
    """The share of one effect (over the untouched model, or `base`) that another arm reaches."""
    base = base_of(subject, whole) if base is None else base
    if base is None or abs(stats.mean(whole) - stats.mean(base)) < SMALLEST:
        return None
    interval = stats.ratio(part, whole, base)
    nulls: tuple[Null, ...] = ()
    if null is not None:
        size = stats.mean(whole) - stats.mean(base)
        values = [
            (stats.mean(cells) - stats.mean(base)) / size
            for cells in _each(subject, null, null_name)
        ]
        if values:
            nulls = (
                Null(
                    name=f"{len(values)} random directions of its norm, 95th centile",
                    value=float(np.quantile(values, 0.95)),
                ),
            )
    return Finding(
        id=id,
        measure=what,
        found=estimate_of(interval, n_of(part, clusters(subject))),
        base=0.0,
        nulls=nulls,
        ceiling=1.0,
        units=len(part.clusters),
    )


def _each(subject: FinishedRuns, rows: pl.DataFrame, name: str) -> list[Cells]:
    """The cells of each random direction."""
    base = rows.filter(pl.col("arm") == "base")
    own = rows.filter(pl.col("arm") == name)
    found = [
        cells_of(subject, pl.concat([some, base], how="diagonal_relaxed"), name)
        for _, some in own.group_by("seed", maintain_order=True)
    ]
    return [one for one in found if one is not None]


def by_member(values: Mapping[Who, float]) -> list[float]:
    """Mean over seeds, per member; of a single member each seed's own value."""
    members = sorted({member for member, _ in values})
    if len(members) == 1:
        return [values[who] for who in sorted(values)]
    grouped = {m: [value for (one, _), value in values.items() if one == m] for m in members}
    return [float(np.mean(some)) for some in grouped.values()]


def measured(
    id: str,
    measure: str,
    values: Mapping[Who, float],
    nulls: Sequence[Null] = (),
    *,
    base: float | None = None,
    ceiling: float | None = None,
) -> Finding:
    """A mean over members, with an interval that draws members (or, of one member, seeds)."""
    some = by_member(values)
    interval = stats.mean_interval(some)
    members, count = ({who[0] for who in values}, len({who[1] for who in values}))
    n = f"{len(members)} member" + ("" if len(members) == 1 else "s")
    return Finding(
        id=id,
        measure=measure,
        found=estimate_of(interval, f"{n} × {count} seed" + ("" if count == 1 else "s")),
        base=base,
        nulls=tuple(nulls),
        ceiling=ceiling,
        units=len(some),
    )


def estimated(cells: Cells, subject: FinishedRuns) -> Estimate:
    """Cells as a finding's number."""
    return estimate_of(stats.estimate(cells), n_of(cells, clusters(subject)))
