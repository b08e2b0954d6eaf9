"""Scores as cells [cluster, seed, facet]: their mean, and the share of one effect in another.

Cells of the same shape are paired, so differences between arms are too. Shares of an effect get
Fieller's interval (`ratio`), means one of `oocr.intervals`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from oocr.intervals import DRAWS, SHARE, Bounds, Interval, bounded, percentiles, student, widened

ROUNDING = 1e-9
"""An effect below this counts as none: no share of it is given."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Scores by cluster, seed and facet.

    `values`: mean score of a cell, NaN where a cluster has no items of a facet; `weights`: how much
    each cluster weighs in each facet, 0 where it has none; `bounds`: of a score, None: it has none;
    `items`: how many items a cell is a mean of, if each is right or wrong, else None; `crossed`:
    all clusters are asked of the same arms (probes of one member), so that a seed moves them
    together; else each cluster has arms of its own.
    """

    values: Float[np.ndarray, "cluster seed facet"]
    weights: Float[np.ndarray, "cluster facet"]
    clusters: tuple[str, ...]
    facets: tuple[str, ...]
    bounds: Bounds | None = None
    items: Float[np.ndarray, "cluster facet"] | None = None
    crossed: bool = False

    def __sub__(self, other: Cells) -> Cells:
        """Cell by cell; a single seed (the base) is paired with each, else seeds are averaged.

        ValueError: the clusters or facets differ.
        """
        if self.clusters != other.clusters or self.facets != other.facets:
            raise ValueError("cells of different clusters or facets cannot be compared")
        a, b = self.values, other.values
        if a.shape != b.shape and 1 not in (a.shape[1], b.shape[1]):
            a, b = _mean_along(a)[:, None], _mean_along(b)[:, None]
        items = None
        if self.bounds == other.bounds == SHARE and self.items is not None is not other.items:
            items = np.minimum(self.items, other.items)
        bounds = _difference(self.bounds, other.bounds)
        return replace(self, values=a - b, bounds=bounds, items=items)

    def only(self, facet: str) -> Cells:
        """One facet, with the clusters that have it."""
        column = self.facets.index(facet)
        keep = self.weights[:, column] > 0
        return replace(
            self,
            values=self.values[keep][:, :, [column]],
            weights=self.weights[keep][:, [column]],
            clusters=tuple(name for name, kept in zip(self.clusters, keep, strict=True) if kept),
            facets=(facet,),
            items=None if self.items is None else self.items[keep][:, [column]],
        )


def _difference(a: Bounds | None, b: Bounds | None) -> Bounds | None:
    """The bounds of a difference."""
    if a is None or b is None or not np.isfinite([a, b]).all():
        return None
    return a[0] - b[1], a[1] - b[0]


def cells(
    frame: pl.DataFrame,
    value: str,
    *,
    cluster: str = "member",
    seed: str = "seed",
    balance: str | None = "answer",
    bounds: Bounds | None = None,
) -> Cells:
    """Average rows, one per item scored, into cells of the score in the column `value`.

    Columns: `facet`; `cluster`, what the bootstrap draws (all but members share their arms, see
    `Cells.crossed`); `seed`, the arm's (null counts as one);
    `balance`: within a facet, clusters weigh 1 / (number of clusters with the same value here), so
    that saying "euro" everywhere cannot win; None: all the same. `bounds` of the score: None: none.
    """
    frame = frame.with_columns(pl.col(value).cast(pl.Float64), pl.col(seed).fill_null(0))
    clusters = tuple(sorted(frame[cluster].unique().to_list()))
    facets = tuple(frame["facet"].unique(maintain_order=True).to_list())
    seeds = sorted(frame[seed].unique().to_list())
    values = np.full((len(clusters), len(seeds), len(facets)), np.nan)
    counts = np.full(values.shape, np.nan)
    means = frame.group_by(cluster, seed, "facet").agg(pl.col(value).mean(), pl.len().alias("_len"))
    for name, number, facet, mean, count in means.iter_rows():
        cell = clusters.index(name), seeds.index(number), facets.index(facet)
        values[cell], counts[cell] = mean, count
    weights = (~np.isnan(values)).any(axis=1).astype(float)
    if balance is not None:
        kinds = frame.group_by(cluster, "facet").agg(pl.col(balance).first())
        answers = {(name, facet): answer for name, facet, answer in kinds.iter_rows()}
        for column, facet in enumerate(facets):
            labels = [answers.get((name, facet)) for name in clusters]
            for row, label in enumerate(labels):
                weights[row, column] /= max(1, labels.count(label))
    right_or_wrong = bounds == SHARE and bool(frame[value].is_in([0.0, 1.0]).all())
    items = _mean_along(counts) if right_or_wrong else None  # seeds are asked the same items
    return Cells(values, weights, clusters, facets, bounds, items, cluster != "member")


def mean(scores: Cells) -> float:
    """Mean over facets of the weighted mean over clusters of the mean over seeds."""
    picks = np.arange(scores.values.shape[0])[None]
    seeds = np.arange(scores.values.shape[1])[None, None].repeat(len(picks[0]), 1)
    return float(_means(scores, picks, seeds)[0])


def draws(scores: Cells, seed: int = 0, count: int = DRAWS) -> Float[np.ndarray, " draw"]:
    """The bootstrap distribution of `mean`."""
    size, seeds, _ = scores.values.shape
    picks = np.random.default_rng(seed).integers(size, size=(count, size))
    inner = np.random.default_rng(seed + 1).integers(seeds, size=(count, size, seeds))
    return _means(scores, picks, inner)


def _means(scores: Cells, picks: np.ndarray, seeds: np.ndarray) -> Float[np.ndarray, " draw"]:
    # [draw, cluster, seed, facet] -> [draw, cluster, facet]
    average = _mean_along(scores.values[picks[:, :, None], seeds], axis=2)
    present: Bool[np.ndarray, ...] = ~np.isnan(average)
    weights = scores.weights[picks] * present
    total = weights.sum(axis=1)
    facet = (weights * np.where(present, average, 0.0)).sum(axis=1)
    return _mean_along(facet / np.where(total > 0, total, np.nan), axis=1)


def _mean_along(values: np.ndarray, axis: int = 1) -> np.ndarray:
    """Mean along an axis of what is there; NaN where nothing is, without a warning."""
    present: Bool[np.ndarray, ...] = ~np.isnan(values)
    count = present.sum(axis=axis)
    total = np.where(present, values, 0.0).sum(axis=axis)
    result: np.ndarray = total / np.where(count > 0, count, np.nan)
    return result


def estimate(scores: Cells, seed: int = 0) -> Interval:
    """The mean with its interval: within the bounds if there are any, else the bootstrap's.

    Of one cluster there are only the draws of its seeds. Where all clusters share their arms the
    variance between seeds is added to that between clusters.

    ValueError: the mean is out of bounds.
    """
    value, votes = mean(scores), _votes(scores)
    clusters, variance = votes.sum(axis=1), float((_deviations(scores) ** 2).sum())
    of_seeds = float((_seed_deviations(scores) ** 2).sum())
    if (clusters > 0).sum() < 2:
        return percentiles(value, draws(scores, seed), len(scores.clusters))
    if scores.bounds is None:
        drawn = percentiles(value, draws(scores, seed), len(scores.clusters))
        reach = student(float((clusters**2).sum())) ** 2 * variance
        total = student(_per_cluster(scores)) ** 2 * (variance + of_seeds)
        return widened(drawn, total - reach) if of_seeds > 0 else drawn
    per_item = None if scores.items is None else float(np.nansum(votes**2 / scores.items))
    return bounded(value, variance + of_seeds, _per_cluster(scores), per_item, scores.bounds)


def _votes(scores: Cells) -> Float[np.ndarray, "cluster facet"]:
    """The share of the mean that is each cell's; they add up to 1."""
    weights = scores.weights * ~np.isnan(scores.values).all(axis=1)
    total = weights.sum(axis=0)
    votes = weights / np.where(total > 0, total, np.inf)
    result: np.ndarray = votes / max(1, (total > 0).sum())
    return result


def _deviations(scores: Cells) -> Float[np.ndarray, " cluster"]:
    """What each cluster adds to the mean's error; the sum of squares estimates its variance.

    Linearized, and scaled so that the estimate is unbiased where all clusters vary alike (CR2:
    Bell and McCaffrey 2002, "Bias reduction in standard errors for linear regression with
    multi-stage samples"). With equal weights the sum is the variance of values over their number.
    """
    votes = _votes(scores)
    facets = max(1, int((votes.sum(axis=0) > 0).sum()))
    weights = votes * facets  # of a facet they add up to 1
    values = np.nan_to_num(_mean_along(scores.values))
    residuals = values - (weights * values).sum(axis=0)
    kept = 1 - 2 * weights + (weights**2).sum(axis=0)  # what of a value's variance they hold
    result: np.ndarray = (votes * residuals / np.sqrt(kept.clip(ROUNDING))).sum(axis=1)
    return result


def _seed_deviations(scores: Cells) -> Float[np.ndarray, " seed"]:
    """What each seed adds to the mean's error, where all clusters share its arms; else nothing."""
    seeds = scores.values.shape[1]
    if not scores.crossed or seeds < 2:
        return np.zeros(0)
    alone = [mean(replace(scores, values=scores.values[:, [place]])) for place in range(seeds)]
    apart = np.nan_to_num(np.array(alone) - _mean_along(np.array([alone])))  # 0: not measured
    result: np.ndarray = apart / math.sqrt(seeds * (seeds - 1))
    return result


def _per_cluster(scores: Cells) -> float:
    """1 / (degrees of freedom + 1) of the mean's variance, as `student` takes it.

    Of clusters alone the sum of their squared shares (Kish); with seeds that they share, both
    variances' (Satterthwaite 1946, "An approximate distribution of estimates of variance
    components").
    """
    of_clusters = float((_votes(scores).sum(axis=1) ** 2).sum())
    seeds = _seed_deviations(scores)
    first, second = float((_deviations(scores) ** 2).sum()), float((seeds**2).sum())
    if not second > 0:
        return of_clusters
    spread = first**2 / (1 / of_clusters - 1) + second**2 / (len(seeds) - 1)
    return 1 / ((first + second) ** 2 / spread + 1)


def ratio(part: Cells, whole: Cells, base: Cells) -> Interval:
    """(part - base) / (whole - base) with Fieller's interval: the share of an effect that is kept.

    All values x with |P - x W| <= t SE(P - x W), of the means P = part - base and W = whole - base,
    paired by cluster (Fieller 1954, "Some problems in interval estimation"). Where W itself is
    not clear of 0 that has no ends: they are NaN, and of one cluster both are the value. All are
    NaN where there is no effect to keep.
    """
    over, under = part - base, whole - base
    kept, effect = mean(over), mean(under)
    if not abs(effect) >= ROUNDING:
        return Interval(math.nan, math.nan, math.nan)
    value, clusters = kept / effect, _votes(under).sum(axis=1)
    if (clusters > 0).sum() < 2:
        return Interval(value, value, value)
    a, b = _deviations(over), _deviations(under)
    of_seeds = [_seed_deviations(over), _seed_deviations(under)]
    count = max(map(len, of_seeds))
    a, b = (
        np.concatenate([of_arm, np.pad(seeds, (0, count - len(seeds)))])
        for of_arm, seeds in zip((a, b), of_seeds, strict=True)
    )
    square = student(max(_per_cluster(over), _per_cluster(under))) ** 2
    # The x between the roots of curve x² - 2 slope x + level.
    curve = effect**2 - square * float(b @ b)
    slope = kept * effect - square * float(a @ b)
    level = kept**2 - square * float(a @ a)
    if curve <= 0:
        return Interval(value, math.nan, math.nan)
    reach = math.sqrt(max(0.0, slope**2 - curve * level)) / curve
    return Interval(value, slope / curve - reach, slope / curve + reach)
