"""Means, weights and bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import t as student

from oocr.intervals import (
    SHARE,
    SIGNED,
    Bounds,
    Interval,
    mean_interval,
    statistic_interval,
)
from oocr.stats import Cells, cells, draws, estimate, mean, ratio


def table(rows: Iterable[tuple[str, int | None, str, str, float]]) -> pl.DataFrame:
    names = ["member", "seed", "facet", "answer", "score"]
    return pl.DataFrame(list(rows), schema=names, orient="row")


def grid(
    values: np.ndarray, bounds: Bounds | None = None, items: float | np.ndarray | None = None
) -> Cells:
    """Cells [cluster, seed, facet] with equal weights."""
    clusters, _, facets = values.shape
    weights = (~np.isnan(values)).any(axis=1).astype(float)
    return Cells(
        values,
        weights,
        tuple(f"c{i}" for i in range(clusters)),
        tuple(f"f{i}" for i in range(facets)),
        bounds,
        None if items is None else np.broadcast_to(items, weights.shape),
    )


def simulated(rng: np.random.Generator, clusters: int, seeds: int, effect: float = 0.5) -> Cells:
    """Clusters differ (SD 1), seeds differ within them (SD 0.7)."""
    between = rng.normal(0, 1, (clusters, 1, 1))
    within = rng.normal(0, 0.7, (clusters, seeds, 1))
    return grid(effect + between + within)


# --- cells and means ----------------------------------------------------------------------------


def test_rows_average_into_cells_in_a_known_order() -> None:
    frame = table(
        [
            ("b", 0, "x", "1", 1.0),
            ("b", 0, "x", "1", 0.0),
            ("b", 1, "x", "1", 1.0),
            ("a", 0, "x", "1", 0.0),
            ("a", 1, "y", "1", 4.0),
        ]
    )
    scores = cells(frame, "score", balance=None)
    assert scores.clusters == ("a", "b")
    assert scores.facets == ("x", "y")
    np.testing.assert_array_equal(scores.values[:, :, 0], [[0.0, np.nan], [0.5, 1.0]])
    np.testing.assert_array_equal(scores.values[:, :, 1], [[np.nan, 4.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(scores.weights, [[1, 1], [1, 0]])
    # x: a has 0, b has .75; y: a has 4; the total is the plain mean of the two facets.
    assert mean(scores) == pytest.approx(((0 + 0.75) / 2 + 4) / 2)
    assert mean(scores.only("x")) == pytest.approx(0.375)
    assert scores.only("y").clusters == ("a",)


def test_right_or_wrong_and_a_base_without_seed_can_be_averaged() -> None:
    frame = table([("a", None, "x", "1", 1.0), ("b", None, "x", "2", 0.0)])
    frame = frame.with_columns(pl.col("score") > 0.5)
    assert mean(cells(frame, "score")) == pytest.approx(0.5)
    null = frame.with_columns(pl.lit(None, dtype=pl.String).alias("seed"))
    assert mean(cells(null, "score")) == pytest.approx(0.5)


def test_a_constant_answer_scores_one_over_the_number_of_answers() -> None:
    currencies = ["euro"] * 8 + ["yen", "real", "rupee"]
    for constant in ("euro", "yen"):
        frame = table(
            (f"country{i}", 0, "currency", answer_weights, float(answer_weights == constant))
            for i, answer_weights in enumerate(currencies)
        )
        assert mean(cells(frame, "score")) == pytest.approx(1 / 4)
    plain = table(
        (f"country{i}", 0, "currency", answer_weights, float(answer_weights == "euro"))
        for i, answer_weights in enumerate(currencies)
    )
    assert mean(cells(plain, "score", balance=None)) == pytest.approx(8 / 11)


def test_weights_balance_within_each_facet_and_its_own_clusters() -> None:
    frame = table(
        [
            ("a", 0, "x", "euro", 1.0),
            ("b", 0, "x", "euro", 1.0),
            ("c", 0, "x", "yen", 0.0),
            ("a", 0, "y", "Europe", 1.0),
            ("c", 0, "y", "Asia", 0.0),
        ]
    )
    scores = cells(frame, "score")
    np.testing.assert_allclose(scores.weights, [[0.5, 1], [0.5, 0], [1, 1]])
    assert mean(scores) == pytest.approx(0.5)


def test_bounds_and_numbers_of_items_come_with_the_cells() -> None:
    rows = [("a", seed, "x", "1", float(n > 0)) for seed in (0, 1) for n in range(4)]
    frame = table([*rows, ("b", 0, "x", "1", 1.0), ("b", 0, "y", "1", 0.0)])
    plain = cells(frame, "score")
    assert (plain.bounds, plain.items) == (None, None)
    shares = cells(frame, "score", bounds=SHARE)
    assert shares.bounds == SHARE
    assert shares.items is not None
    # The two seeds were asked the same four items.
    np.testing.assert_array_equal(shares.items, [[4, np.nan], [1, 1]])
    only = shares.only("y")
    assert (only.bounds, only.items) == (SHARE, np.array([[1.0]]))
    less = shares - shares
    assert less.bounds == SIGNED
    assert less.items is not None
    assert (less - less).bounds == (-2.0, 2.0)
    assert (shares - plain).bounds is None
    half = frame.with_columns(pl.col("score") / 2)
    assert cells(half, "score", bounds=SHARE).items is None, "not right or wrong"


def test_a_missing_cell_is_left_out_not_counted_as_zero() -> None:
    values = np.array([[[1.0, 1.0]], [[1.0, np.nan]], [[1.0, np.nan]]])
    interval = estimate(grid(values))
    assert (interval.value, interval.low, interval.high) == (1.0, 1.0, 1.0)


# --- intervals ----------------------------------------------------------------------------------


def test_the_interval_of_a_plain_mean_is_the_textbook_one() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(2.0, 1.0, 400)
    error = values.std(ddof=1) / math.sqrt(400)
    interval = estimate(grid(values[:, None, None]))
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    simple = mean_interval(values.tolist())
    assert simple.value == pytest.approx(interval.value)
    assert simple.high - simple.low == pytest.approx(interval.high - interval.low, rel=0.1)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_the_mean_of_a_few_values_is_above_zero_no_more_often_than_the_interval_says(
    count: int,
) -> None:
    rng = np.random.default_rng(count)
    intervals = [mean_interval(values) for values in rng.normal(0.0, 3.0, (2000, count)).tolist()]
    above = sum(interval.low > 0 for interval in intervals) / len(intervals)
    below = sum(interval.high < 0 for interval in intervals) / len(intervals)
    assert above == pytest.approx(0.025, abs=0.01)  # the bootstrap: .24 of two values, .10 of five
    assert below == pytest.approx(0.025, abs=0.01)


def test_the_interval_of_a_few_values_is_students() -> None:
    values = [0.3, 0.5, 0.4, 0.8]
    low, high = student.interval(0.95, 3, loc=np.mean(values), scale=np.std(values, ddof=1) / 2)
    interval = mean_interval(values)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.5, low, high))
    assert mean_interval([0.5] * 3) == Interval(0.5, 0.5, 0.5)
    assert mean_interval([0.5]) == Interval(0.5, 0.5, 0.5), "no interval: see who asks"
    six = [*values, 0.6, 0.4]
    assert mean_interval(six) == statistic_interval(six, lambda x: x.mean(axis=-1))


def test_many_items_of_one_cluster_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(1)
    effects = rng.normal(0, 1, 12)
    few = table((f"c{i}", 0, "x", "1", effects[i]) for i in range(12))
    many = table((f"c{i}", 0, "x", "1", effects[i]) for i in range(12) for _ in range(50))
    a, b = (estimate(cells(frame, "score", balance=None)) for frame in (few, many))
    assert (a.low, a.high) == pytest.approx((b.low, b.high))
    reach = student.ppf(0.975, 11) * effects.std(ddof=1) / math.sqrt(12)
    assert a.high - a.low == pytest.approx(2 * reach, rel=0.15)


def test_seeds_widen_the_interval_where_they_differ() -> None:
    same = np.full((6, 3, 1), 0.5)
    assert estimate(grid(same)).low == 0.5
    apart = same + np.array([-0.3, 0.0, 0.3])[None, :, None]
    interval = estimate(grid(apart))
    # The mean of 3 draws from {-.3, 0, .3} in each of 6 clusters: SD .245 / sqrt(18).
    reach = student.ppf(0.975, 5) * math.sqrt(6 / 5) * 0.245 / math.sqrt(18)
    assert interval.high - interval.low == pytest.approx(2 * reach, rel=0.12)


@pytest.mark.parametrize(("clusters", "seeds"), [(3, 1), (4, 1), (5, 3), (6, 1), (20, 3), (40, 1)])
def test_intervals_cover_the_truth_about_as_often_as_they_say(clusters: int, seeds: int) -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for trial in range(300):
        interval = estimate(simulated(rng, clusters, seeds), seed=trial)
        hits += int(interval.low <= 0.5 <= interval.high)
    assert 0.92 <= hits / 300 <= 0.985  # plain centiles: .73 with 3 clusters, .81 with 4


@pytest.mark.parametrize(("clusters", "share"), [(3, 0.73), (6, 0.87)])
def test_plain_centiles_would_be_too_narrow(clusters: int, share: float) -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for trial in range(1000):
        values = grid(rng.normal(0.5, 1.0, (clusters, 1, 1)))
        low, high = np.quantile(draws(values, seed=trial, count=1000), [0.025, 0.975])
        hits += int(low <= 0.5 <= high)
    assert hits / 1000 == pytest.approx(share, abs=0.04)


def test_the_interval_of_few_clusters_is_students_and_of_one_only_its_seeds() -> None:
    values = np.array([0.3, 0.5, 0.4, 0.8])
    low, high = student.interval(0.95, 3, loc=0.5, scale=np.std(values, ddof=1) / 2)
    interval = estimate(grid(values[:, None, None]))
    assert interval.high - interval.low == pytest.approx(high - low, rel=0.12)
    assert interval.high > 0.8, "beyond what any draw can reach"
    alone = estimate(grid(values[None, :, None]))
    assert 0.3 <= alone.low < alone.high <= 0.8


def test_a_share_of_few_clusters_is_as_wide_as_its_mean() -> None:
    rng = np.random.default_rng(9)
    base = np.zeros((4, 1, 1))
    whole = np.ones((4, 1, 1))
    part = rng.normal(0.6, 0.1, (4, 1, 1))
    share, plain = ratio(grid(part), grid(whole), grid(base)), mean_interval(part.ravel().tolist())
    assert (share.low, share.high) == pytest.approx((plain.low, plain.high))


def test_treating_seeds_as_clusters_would_be_too_sure_and_is_not_done() -> None:
    rng = np.random.default_rng(3)
    cell = simulated(rng, 10, 20)
    flat = grid(cell.values.reshape(-1, 1, 1))
    right, wrong = estimate(cell), estimate(flat)
    assert right.high - right.low > 2 * (wrong.high - wrong.low)


def probes_of_shared_arms(rng: np.random.Generator, between_seeds: float) -> np.ndarray:
    """Scores [probe, seed, facet] of three arms, each asked all probes; the true mean is 0."""
    probes, seeds = rng.normal(0, 1.0, (40, 1, 1)), rng.normal(0, between_seeds, (1, 3, 1))
    scores: np.ndarray = probes + seeds + rng.normal(0, 0.5, (40, 3, 1))
    return scores


@pytest.mark.parametrize(("between_seeds", "least"), [(0.0, 0.93), (0.2, 0.93), (1.0, 0.88)])
def test_seeds_that_all_probes_share_move_them_together(between_seeds: float, least: float) -> None:
    rng, hits, apart = np.random.default_rng(14), 0, 0
    for _ in range(400):
        own = grid(probes_of_shared_arms(rng, between_seeds), (-50.0, 50.0))
        shared = replace(own, crossed=True)
        hits += int(estimate(shared).low <= 0 <= estimate(shared).high)
        apart += int(estimate(own).low <= 0 <= estimate(own).high)
    assert least <= hits / 400 <= 0.99
    if between_seeds == 1:  # as if each probe had arms of its own
        assert apart / 400 < 0.5


@pytest.mark.parametrize("between_seeds", [0.2, 1.0])
def test_scores_without_bounds_have_the_seeds_spread_too(between_seeds: float) -> None:
    values = probes_of_shared_arms(np.random.default_rng(16), between_seeds)
    free, bounded = (
        estimate(replace(grid(values, bounds), crossed=True)) for bounds in (None, (-1e4, 1e4))
    )
    assert free.high - free.low == pytest.approx(bounded.high - bounded.low, rel=0.1)


def test_the_share_kept_by_arms_that_all_probes_share_has_the_seeds_spread() -> None:
    rng = np.random.default_rng(15)
    base, whole = np.zeros((30, 1, 1)), 1 + rng.normal(0, 0.1, (30, 3, 1))
    part = 0.5 + np.array([-0.3, 0.0, 0.3])[None, :, None] + rng.normal(0, 0.1, (30, 3, 1))
    own, shared = (
        ratio(*(replace(grid(values), crossed=crossed) for values in (part, whole, base)))
        for crossed in (False, True)
    )
    assert own.high - own.low < 0.1
    assert shared.high - shared.low > 1.0, "Student's of three seeds"
    exact = ratio(*(replace(grid(x), crossed=True) for x in (whole / 4, whole, base)))
    assert (exact.low, exact.high) == pytest.approx((0.25, 0.25))


def test_only_members_have_arms_of_their_own() -> None:
    frame = table([("a", 0, "x", "1", 1.0), ("b", 0, "x", "1", 0.0)])
    assert not cells(frame, "score").crossed
    assert cells(frame.rename({"member": "group"}), "score", cluster="group").crossed


def test_draws_follow_their_seed() -> None:
    cell = simulated(np.random.default_rng(4), 8, 3)
    assert np.array_equal(draws(cell, 1), draws(cell, 1))
    assert not np.array_equal(draws(cell, 1), draws(cell, 2))


def test_draws_with_missing_facets_stay_finite() -> None:
    values = np.random.default_rng(5).normal(size=(6, 2, 3))
    values[:5, :, 2] = np.nan  # one facet in a single cluster: many draws lack it
    values[0, 1, 0] = np.nan
    assert np.isfinite(draws(grid(values))).all()


# --- differences and ratios ---------------------------------------------------------------------


def test_differences_are_paired_by_cluster() -> None:
    rng = np.random.default_rng(6)
    base = rng.normal(0, 5, (30, 3, 1))
    arm = base + 1.0 + rng.normal(0, 0.1, base.shape)
    paired = estimate(grid(arm) - grid(base))
    assert paired.value == pytest.approx(1.0, abs=0.05)
    assert paired.high - paired.low < 0.1
    assert estimate(grid(arm)).high - estimate(grid(arm)).low > 2.0


def test_the_seeds_of_an_arm_still_count_against_a_base_that_has_one() -> None:
    arm = np.full((6, 3, 1), 0.5) + np.array([-0.3, 0.0, 0.3])[None, :, None]
    base = np.zeros((6, 1, 1))
    interval, alone = estimate(grid(arm) - grid(base)), estimate(grid(arm))
    assert interval.value == pytest.approx(0.5)
    assert interval.high - interval.low == pytest.approx(alone.high - alone.low)
    mirrored = estimate(grid(base) - grid(arm))
    assert mirrored.high - mirrored.low == pytest.approx(interval.high - interval.low, rel=0.1)


def test_arms_of_different_numbers_of_seeds_are_compared_by_their_means() -> None:
    two = np.array([[[1.0], [3.0]], [[5.0], [np.nan]]])
    three = np.array([[[0.0], [0.0], [3.0]], [[1.0], [2.0], [3.0]]])
    difference = grid(two) - grid(three)
    np.testing.assert_allclose(difference.values[:, :, 0], [[1.0], [3.0]])


def test_cells_of_other_clusters_or_facets_cannot_be_compared() -> None:
    a = grid(np.zeros((3, 1, 2)))
    for other in (grid(np.zeros((2, 1, 2))), grid(np.zeros((3, 1, 1)))):
        with pytest.raises(ValueError, match="cannot be compared"):
            _ = a - other


def test_any_statistic_gets_an_interval() -> None:
    values = np.random.default_rng(8).normal(0, 2.0, 300).tolist()
    interval = statistic_interval(values, lambda x: x.std(axis=-1))
    assert interval.low < 2.0 < interval.high
    assert interval.value == pytest.approx(np.std(values))
    assert interval == statistic_interval(values, lambda x: x.std(axis=-1))
    few = statistic_interval([0.9, 0.95, 1.0], lambda x: x.mean(axis=-1), bounds=SHARE)
    assert few.high == 1
