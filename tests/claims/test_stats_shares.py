"""The share of an effect that is kept, with its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oocr.intervals import (
    SHARE,
    Interval,
)
from oocr.stats import ratio
from tests.claims.test_stats import grid


def test_the_share_that_is_kept() -> None:
    rng = np.random.default_rng(7)
    base = rng.normal(0.1, 0.05, (25, 1, 1))
    whole = base + rng.uniform(0.4, 0.8, (25, 3, 1))
    exact = ratio(grid(base + 0.25 * (whole - base)), grid(whole), grid(base))
    for value in (exact.value, exact.low, exact.high):
        assert value == pytest.approx(0.25), "paired draws: an exact share has no width"
    noisy = ratio(grid(whole * 0.9 + rng.normal(0, 0.1, whole.shape)), grid(whole), grid(base))
    assert noisy.low < noisy.value < noisy.high


@pytest.mark.filterwarnings("error")
def test_without_an_effect_there_is_no_share() -> None:
    base = np.full((5, 1, 1), 0.2)
    interval = ratio(grid(base + 0.1), grid(base), grid(base))
    assert all(math.isnan(value) for value in (interval.value, interval.low, interval.high))


def kept(
    rng: np.random.Generator, count: int, low: float, high: float
) -> tuple[float, list[Interval]]:
    """The true share kept, of an arm that keeps about .8 of an effect, and its intervals."""
    base, whole = (rng.beta(9 * mean, 9 * (1 - mean), (500, count)) for mean in (low, high))
    part = (base + 0.8 * (whole - base) + rng.normal(0, 0.05, base.shape)).clip(0, 1)
    truth = (part - base).mean() / (whole - base).mean()
    scores = [rng.binomial(30, rates) / 30 for rates in (part, whole, base)]
    rows = zip(*(values[:, :, None, None] for values in scores), strict=True)
    return truth, [ratio(*(grid(values, SHARE, 30) for values in three)) for three in rows]


@pytest.mark.parametrize("count", [3, 4, 6, 10, 20])
def test_shares_of_a_strong_effect_cover_the_truth_or_have_no_ends(count: int) -> None:
    truth, intervals = kept(np.random.default_rng(count), count, 0.2, 0.8)
    assert 0.93 <= np.mean([not (i.low > truth or i.high < truth) for i in intervals]) <= 0.98
    endless = np.mean([math.isnan(i.low) for i in intervals])
    assert endless < 0.4 if count == 3 else endless < 0.1


@pytest.mark.parametrize(
    ("count", "least"), [(3, 0.85), (4, 0.88), (6, 0.93), (10, 0.93), (20, 0.93)]
)
def test_shares_of_a_weak_effect_cover_the_truth_or_have_no_ends(count: int, least: float) -> None:
    """Of all intervals 93 % or more, those without ends among them.

    Of those with ends it is less with three or four members: a weak effect is clear of 0 there
    where it happens to be overestimated, so that the share is underestimated.
    """
    truth, intervals = kept(np.random.default_rng(40 + count), count, 0.3, 0.5)
    assert np.mean([not (i.low > truth or i.high < truth) for i in intervals]) >= 0.93
    ended = [i for i in intervals if not math.isnan(i.low)]
    assert least <= np.mean([i.low <= truth <= i.high for i in ended]) <= 0.98


def test_a_share_of_an_effect_that_may_be_none_has_no_ends() -> None:
    base = np.zeros((4, 1, 1))
    whole = np.array([0.5, -0.3, 0.4, 0.1])[:, None, None]
    interval = ratio(grid(whole / 2), grid(whole), grid(base))
    assert interval.value == pytest.approx(0.5)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    single = ratio(grid(whole[:1] / 2), grid(whole[:1]), grid(base[:1]))
    assert (single.low, single.high) == (single.value, single.value)
