"""Intervals of means, as wide as few values need and never beyond what the number can be.

Bounded numbers get Wilson's interval (`bounded`), few others Student's, many the bootstrap's
(`percentiles`). `python -m benchmarks.intervals` shows coverage and width of these and of others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

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


def mean_interval(
    values: Sequence[float], *, bounds: Bounds | None = None, items: float | None = None
) -> Interval:
    """Mean of independent values: within bounds, else below `FEW` with Student's t interval.

    Of more values without bounds it is the bootstrap's; of one value both ends are the value.
    `items`: how many items each value is a mean of, if each is right or wrong; else None.

    ValueError: the mean is out of bounds.
    """
    array = np.asarray(values, dtype=float)
    count = len(array)
    if count < 2 or (bounds is None and count >= FEW):
        return statistic_interval(array, lambda x: x.mean(axis=-1))
    value, variance = float(array.mean()), float(array.var(ddof=1)) / count
    if bounds is not None:
        per_item = None if items is None else 1 / (count * items)
        return bounded(value, variance, 1 / count, per_item, bounds)
    reach = student(1 / count) * math.sqrt(variance)
    return Interval(value, value - reach, value + reach)


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
    whole = percentiles(float(statistic(array)), statistic(array[picks]), len(array))
    low, high = bounds or (-math.inf, math.inf)
    return Interval(*(min(max(end, low), high) for end in (whole.value, whole.low, whole.high)))


def bounded(
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
    scale = student(per_cluster) ** 2 * variance / at_value if at_value > 0 else 0.0
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
    low, high = _score_ends(abs(value), student(None) ** 2 * (per_item + extra), SHARE)
    if value == 0:
        return -high, high
    return (low, high) if value > 0 else (-high, -low)


def student(per_cluster: float | None) -> float:
    """Student's t at `LEVEL`, of 1 / per_cluster clusters; None: of endlessly many."""
    from scipy.special import ndtri, stdtrit  # a fifth of a second

    upper = (1 + LEVEL) / 2
    return float(ndtri(upper) if per_cluster is None else stdtrit(1 / per_cluster - 1, upper))


def percentiles(value: float, distribution: np.ndarray, clusters: int) -> Interval:
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


def widened(interval: Interval, square: float) -> Interval:
    """An interval whose squared reach on both sides is this much more, for a second variance."""
    low, high = (
        math.sqrt(max(0.0, (end - interval.value) ** 2 + square))
        for end in (interval.low, interval.high)
    )
    return Interval(interval.value, interval.value - low, interval.value + high)


def _reach(clusters: int | None) -> float:
    """Half an interval's width in bootstrap standard errors; None: of endlessly many clusters.

    The bootstrap's standard error of a mean is sqrt((n - 1) / n) times the usual one.
    """
    if clusters is None:
        return student(None)
    return student(1 / clusters) * math.sqrt(clusters / (clusters - 1))
