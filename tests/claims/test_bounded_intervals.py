"""Intervals of scores that have bounds: they cover the truth, and never leave them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import t as student

from oocr.intervals import (
    POSITIVE,
    SHARE,
    SIGNED,
    Bounds,
    Interval,
    mean_interval,
)
from oocr.stats import Cells, estimate
from tests.claims.test_stats import grid


def coverage(mean: float, count: int) -> list[float]:
    """How often the interval holds the mean, per design: correlation within members, items."""
    rng = np.random.default_rng(round(100 * mean) + count)
    shares_held = []
    for correlation in (0.05, 0.15, 0.3):
        size = (1 - correlation) / correlation
        for items in (6, 30):
            truth = rng.beta(size * mean, size * (1 - mean), (1000, count))
            shares = rng.binomial(items, truth) / items
            intervals = [mean_interval(row, bounds=SHARE, items=items) for row in shares.tolist()]
            shares_held.append(float(np.mean([i.low <= mean <= i.high for i in intervals])))
    return shares_held


@pytest.mark.parametrize("count", [3, 4, 6, 10, 20])
def test_intervals_of_middling_shares_cover_the_truth_as_often_as_they_say(count: int) -> None:
    shares = coverage(0.5, count)
    assert 0.93 <= np.mean(shares) <= 0.98
    assert min(shares) > 0.92


@pytest.mark.parametrize("count", [10, 20])
@pytest.mark.parametrize("mean", [0.05, 0.95])
def test_intervals_of_shares_near_an_end_cover_the_truth(mean: float, count: int) -> None:
    shares = coverage(mean, count)
    assert 0.93 <= round(float(np.mean(shares)), 2) <= 0.98
    assert min(shares) > 0.92


@pytest.mark.parametrize(("count", "share"), [(3, 0.995), (4, 0.992), (6, 0.985)])
@pytest.mark.parametrize("mean", [0.05, 0.95])
def test_near_an_end_few_members_cover_more_often_since_all_alike_must_be_covered(
    mean: float, count: int, share: float
) -> None:
    """All right is so common there that an interval without the truth would cover 70 % at most.

    With it no interval misses towards the near end, and 97.5 % is the least that two equal tails
    leave. The intervals used before covered .64, .65 and .76.
    """
    shares = coverage(mean, count)
    assert np.mean(shares) == pytest.approx(share, abs=0.007)
    assert min(shares) > 0.96


@pytest.mark.parametrize("count", [3, 4, 6, 10, 20])
@pytest.mark.parametrize("shape", [2, 6])
def test_intervals_of_skewed_cosines_cover_the_truth(count: int, shape: float) -> None:
    rng = np.random.default_rng(count)
    cosines = 1 - rng.gamma(shape, 0.05 / shape, (2000, count))
    intervals = [mean_interval(row, bounds=SIGNED) for row in cosines.tolist()]
    assert 0.93 <= np.mean([i.low <= 0.95 <= i.high for i in intervals]) <= 0.98
    assert all(-1 <= i.low <= i.value <= i.high <= 1 for i in intervals)


def test_answers_that_many_members_share_leave_fewer_members_to_tell_from() -> None:
    rng = np.random.default_rng(12)
    weights = np.array([[0.25]] * 4 + [[1.0]] * 2)
    shares = rng.binomial(20, rng.beta(3, 3, (1500, 6))) / 20
    hits = 0
    for row in shares:
        even = grid(row[:, None, None], SHARE, 20)
        interval = estimate(
            Cells(even.values, weights, even.clusters, even.facets, SHARE, even.items)
        )
        hits += int(interval.low <= 0.5 <= interval.high)
    assert 0.93 <= hits / 1500 <= 0.98


@pytest.mark.parametrize("bounds", [SHARE, SIGNED, POSITIVE])
def test_no_interval_leaves_its_bounds(bounds: Bounds) -> None:
    rng = np.random.default_rng(13)
    low, high = bounds
    for count in (2, 3, 5, 8, 30):
        for row in rng.beta(0.3, 0.3, (200, count)):
            values = low + row * (min(high, 1e3) - low)
            for items in (None, 4) if bounds != POSITIVE else (None,):
                interval = mean_interval(values.tolist(), bounds=bounds, items=items)
                assert low <= interval.low <= interval.value <= interval.high <= high
                assert interval.value == pytest.approx(values.mean())


def test_members_that_are_all_alike_still_leave_doubt() -> None:
    right, wrong, half = (
        mean_interval([value] * 3, bounds=SHARE, items=12) for value in (1.0, 0.0, 0.5)
    )
    assert right.high == 1
    assert 0.7 < right.low < 0.8
    assert (wrong.low, wrong.high) == pytest.approx((0, 1 - right.low))
    assert half.high - half.low > 0.3
    more = mean_interval([1.0] * 12, bounds=SHARE, items=12)
    assert right.low < more.low < 1
    many = mean_interval([1.0] * 3, bounds=SHARE, items=100_000)
    assert many.low < 0.85, "items of one member are not independent"
    exact = mean_interval([0.98] * 3, bounds=SIGNED)
    assert exact == Interval(0.98, 0.98, 0.98), "cosines are measured, not counted"


def test_differences_that_are_all_alike_still_leave_doubt() -> None:
    ones, zeros = (grid(np.full((5, 1, 1), value), SHARE, 8) for value in (1.0, 0.0))
    best, none = estimate(ones - zeros), estimate(ones - ones)
    assert best.high == 1
    assert 0.7 < best.low < 1
    assert -none.low == none.high > 0.05
    worst = estimate(zeros - ones)
    assert (worst.low, worst.high) == (-best.high, -best.low)


def test_items_that_are_the_clusters_get_wilsons_interval() -> None:
    interval = estimate(grid(np.ones((30, 1, 1)), SHARE, 1))
    wilson = binomtest(30, 30).proportion_ci(method="wilson")
    assert (interval.low, interval.high) == pytest.approx((wilson.low, wilson.high))


def test_far_from_its_bounds_an_interval_is_students() -> None:
    values = [0.3, 0.5, 0.4, 0.8, 0.1, 0.7, 0.7]
    error = np.std(values, ddof=1) / math.sqrt(7)
    interval = mean_interval(values, bounds=(-1e4, 1e4))
    assert (interval.low, interval.high) == pytest.approx(
        student.interval(0.95, 6, 0.5, error), abs=1e-5
    )
    open_ended, far = (mean_interval(values, bounds=(0, high)) for high in (math.inf, 1e9))
    assert (open_ended.low, open_ended.high) == pytest.approx((far.low, far.high), rel=1e-6)


def test_cells_of_one_facet_have_the_interval_of_their_means() -> None:
    values = np.array([0.2, 0.9, 0.6, 0.7])
    interval = estimate(grid(values[:, None, None], SHARE, 10))
    plain = mean_interval(values.tolist(), bounds=SHARE, items=10)
    assert (interval.value, interval.low, interval.high) == pytest.approx(
        (plain.value, plain.low, plain.high)
    )


def test_facets_with_clusters_of_their_own_add_up_their_variances() -> None:
    first, second = np.array([0.1, 0.5, 0.4]), np.array([0.9, 0.2, 0.6])
    values = np.full((6, 1, 2), np.nan)
    values[:3, 0, 0], values[3:, 0, 1] = first, second
    error = math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 3) / 2
    interval = estimate(grid(values, (-1e4, 1e4)))
    wanted = student.interval(0.95, 5, loc=0.45, scale=error)
    assert (interval.low, interval.high) == pytest.approx(wanted, abs=1e-5)


def test_a_mean_beyond_its_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond its bounds"):
        mean_interval([0.5, 2.0, 3.0], bounds=SHARE)
    assert mean_interval([1.0, 1.0000001], bounds=SIGNED).high == 1, "but for rounding"
    missing = mean_interval([math.nan, 1.0], bounds=SHARE)
    assert all(math.isnan(value) for value in (missing.value, missing.low, missing.high))
