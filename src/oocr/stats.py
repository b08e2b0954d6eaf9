"""Means with their intervals, as wide as few clusters need and never beyond a score's bounds.

Scores come as cells [cluster, seed, facet]; cells of the same shape are paired, so differences
between arms are too. Bounded numbers get Wilson's interval (`_bounded`), shares of an effect
Fieller's (`ratio`), others the bootstrap's (`_interval`).
`python -m benchmarks.intervals` shows coverage and width of these and of other methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

DRAWS = 2000
LEVEL = 0.95

Bounds = tuple[float, float]
"""The least and the largest value that a score can have; the largest may be infinite."""

SHARE: Bounds = (0.0, 1.0)
"""Of shares, probabilities and energies."""

SIGNED: Bounds = (-1.0, 1.0)
"""Of cosines, and of differences of two shares."""

POSITIVE: Bounds = (0.0, math.inf)
"""Of divergences, losses and norms."""

ROUNDING = 1e-9
"""An effect below this counts as none: no share of it is given."""

CORRELATION = 0.15
"""Correlation between items of a cluster that is assumed near a bound, if the data show no more.

Up to twice that, coverage is still 92 % there (`python -m benchmarks.intervals`)."""

FEW = 6
"""Below so many clusters the bootstrap of a mean is hardly more than their range: too narrow."""

FEWEST = 3
"""Least number of members, probes or pairs for a verdict: of two, Student's interval reaches some
thirteen standard errors to each side."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def columns(self) -> dict[str, float]:
        """For a row of a table."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Scores by cluster, seed and facet.

    `values`: mean score of a cell, NaN where a cluster has no items of a facet; `weights`: how much
    each cluster weighs in each facet, 0 where it has none; `bounds`: of a score, None: it has none;
    `items`: how many items a cell is a mean of, if each is right or wrong, else None.
    """

    values: Float[np.ndarray, "cluster seed facet"]
    weights: Float[np.ndarray, "cluster facet"]
    clusters: tuple[str, ...]
    facets: tuple[str, ...]
    bounds: Bounds | None = None
    items: Float[np.ndarray, "cluster facet"] | None = None

    def __sub__(self, other: Cells) -> Cells:
        """Cell by cell; a single seed (the base) is paired with each, else seeds are averaged.

        Raises:
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

    Columns: `facet`; `cluster`, what the bootstrap draws; `seed`, the arm's (null counts as one);
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
    return Cells(values, weights, clusters, facets, bounds, items)


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

    Of one cluster there are only the draws of its seeds.

    Raises:
        ValueError: the mean is out of bounds.
    """
    value, votes = mean(scores), _votes(scores)
    clusters = votes.sum(axis=1)
    if scores.bounds is None or (clusters > 0).sum() < 2:
        return _interval(value, draws(scores, seed), len(scores.clusters))
    variance = float((_deviations(scores) ** 2).sum())
    per_item = None if scores.items is None else float(np.nansum(votes**2 / scores.items))
    return _bounded(value, variance, float((clusters**2).sum()), per_item, scores.bounds)


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
    square = _student(float((clusters**2).sum())) ** 2
    # The x between the roots of curve x² - 2 slope x + level.
    curve = effect**2 - square * float(b @ b)
    slope = kept * effect - square * float(a @ b)
    level = kept**2 - square * float(a @ a)
    if curve <= 0:
        return Interval(value, math.nan, math.nan)
    reach = math.sqrt(max(0.0, slope**2 - curve * level)) / curve
    return Interval(value, slope / curve - reach, slope / curve + reach)


def mean_interval(
    values: Sequence[float],
    seed: int = 0,
    *,
    bounds: Bounds | None = None,
    items: float | None = None,
) -> Interval:
    """Mean of independent values: within bounds, else below `FEW` with Student's t interval.

    Of more values without bounds it is the bootstrap's; of one value both ends are the value.
    `items`: how many items each value is a mean of, if each is right or wrong; else None.

    Raises:
        ValueError: the mean is out of bounds.
    """
    array = np.asarray(values, dtype=float)
    count = len(array)
    if count < 2 or (bounds is None and count >= FEW):
        return statistic_interval(array, lambda x: x.mean(axis=-1), seed)
    value, variance = float(array.mean()), float(array.var(ddof=1)) / count
    if bounds is not None:
        per_item = None if items is None else 1 / (count * items)
        return _bounded(value, variance, 1 / count, per_item, bounds)
    reach = _student(1 / count) * math.sqrt(variance)
    return Interval(value, value - reach, value + reach)


def _bounded(
    value: float, variance: float, per_cluster: float, per_item: float | None, bounds: Bounds
) -> Interval:
    """Wilson's score interval of a mean whose squared standard error is `variance`.

    All means m with (value - m)² <= t² variance v(m) / v(value), where v(m) = (m - low) (high - m)
    is how the variance depends on the mean: it is 0 at a bound, so that no end is beyond (an
    infinite upper bound leaves v(m) = m - low). Student's t has Kish's effective number of
    clusters, 1 / per_cluster, less 1 degrees of freedom; `per_cluster` is the sum of the clusters'
    squared shares in the mean, `per_item` the same of items that are right or wrong, else None.
    Wilson with an effective sample size: Franco et al. 2019, "Comparative study of confidence
    intervals for proportions in complex sample surveys", J. Survey Statistics and Methodology 7.
    """
    least, largest = bounds
    if math.isnan(value):
        return Interval(value, value, value)
    if not least - 1e-6 <= value <= largest + 1e-6:  # cosines are rounded
        raise ValueError(f"a mean of {value} is beyond its bounds, {least} to {largest}")
    value = min(max(value, least), largest)
    at_value = _variance(value, bounds)
    scale = _student(per_cluster) ** 2 * variance / at_value if at_value > 0 else 0.0
    low, high = _score_ends(value, scale, bounds)
    if per_item is not None:
        floor = _floor(value, per_cluster, per_item, bounds)
        low, high = min(low, floor[0]), max(high, floor[1])
    return Interval(value, max(least, min(low, value)), min(largest, max(high, value)))


def _variance(value: float, bounds: Bounds) -> float:
    """How a score's variance depends on its mean, over the bounds' range where that is finite."""
    low, high = bounds
    return (value - low) * (1.0 if math.isinf(high) else (high - value) / (high - low))


def _score_ends(value: float, scale: float, bounds: Bounds) -> tuple[float, float]:
    """The ends of all means m with (value - m)² <= scale · _variance(m)."""
    low, high = bounds
    shrink = 1 + scale / (high - low)
    middle = (value - low + scale / 2) / shrink
    reach = math.sqrt(scale * _variance(value, bounds) + scale**2 / 4) / shrink
    return low + middle - reach, low + middle + reach


def _floor(
    value: float, per_cluster: float, per_item: float, bounds: Bounds
) -> tuple[float, float]:
    """The narrowest interval that a share of items, or a difference of two such shares, can have.

    Clusters may agree by chance, and near the bounds they mostly do. So no interval is narrower
    than Wilson's of as many independent items, nor, near the bounds, than that of items correlated
    within clusters by `CORRELATION`, weighed by the squared distance to the middle. Items of a
    difference are -1, 0 or 1: with a mean of size m their variance is at least m (1 - m) as well.
    """
    low, high = bounds
    weight = ((2 * value - low - high) / (high - low)) ** 2
    extra = CORRELATION * weight * max(0.0, per_cluster - per_item)
    low, high = _score_ends(abs(value), _student(None) ** 2 * (per_item + extra), SHARE)
    if value == 0:
        return -high, high
    return (low, high) if value > 0 else (-high, -low)


def _student(per_cluster: float | None) -> float:
    """Student's t at `LEVEL`, of 1 / per_cluster clusters; None: of endlessly many."""
    from scipy.special import ndtri, stdtrit  # a fifth of a second

    upper = (1 + LEVEL) / 2
    return float(ndtri(upper) if per_cluster is None else stdtrit(1 / per_cluster - 1, upper))


def statistic_interval(
    values: Sequence[float] | np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
    bounds: Bounds | None = None,
) -> Interval:
    """Any statistic over the first axis of the values, with its bootstrap interval.

    The statistic is also given [draw, value, …]. Ends beyond the bounds are moved to them.
    """
    array = np.asarray(values, dtype=float)
    picks = np.random.default_rng(seed).integers(len(array), size=(DRAWS, len(array)))
    whole = _interval(float(statistic(array)), statistic(array[picks]), len(array))
    low, high = bounds or (-math.inf, math.inf)
    return Interval(*(min(max(end, low), high) for end in (whole.value, whole.low, whole.high)))


def _interval(value: float, distribution: np.ndarray, clusters: int) -> Interval:
    """From bootstrap draws of so many clusters; of one cluster, the centiles of its own draws.

    Plain centiles are too narrow where clusters are few (three hold the truth 73 % of the time), so
    they are moved out to those of a normal distribution at t sqrt(n / (n - 1)) standard errors
    (expanded percentiles: Hesterberg 2015, "What teachers should know about the bootstrap"). No
    draw lies beyond the clusters' range: below `FEW` the plain ends are moved by the same factor.
    """
    from scipy.special import ndtr

    if np.isnan(distribution).all():
        return Interval(float(value), math.nan, math.nan)
    tail, stretch = (1 - LEVEL) / 2, 1.0
    if clusters >= FEW:
        tail = float(ndtr(-_reach(clusters)))
    elif clusters > 1:
        stretch = _reach(clusters) / _reach(None)
    low, high = np.nanquantile(distribution, [tail, 1 - tail])
    ends = value - stretch * (value - low), value + stretch * (high - value)
    return Interval(float(value), *map(float, ends))


def _reach(clusters: int | None) -> float:
    """Half an interval's width in bootstrap standard errors; None: of endlessly many clusters.

    The bootstrap's standard error of a mean is sqrt((n - 1) / n) times the usual one.
    """
    if clusters is None:
        return _student(None)
    return _student(1 / clusters) * math.sqrt(clusters / (clusters - 1))
