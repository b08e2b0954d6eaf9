"""The rules behind the verdicts, on rows made for them: here every right answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from oocr.evals.scores import Scoring
from oocr.families.registry import load_tasks
from oocr.tasks.task import TaskSet
from tests.claims.claim_rows import (
    BASE,
    MEMBERS,
    NULL,
    SHUFFLED,
    TOP,
    Rule,
    contrast,
    fields_of,
    judge,
    judge_contrast,
    noise,
    randoms,
    same,
    spread,
    table,
    task_set,
)


def test_out_of_context_holds_far_above_everything() -> None:
    claim = judge(table("vector", same(0.8)), BASE, TOP, NULL, SHUFFLED)["vector-out-of-context"]
    assert claim.verdict == "holds"
    assert (claim.found.value, claim.base, claim.ceiling) == pytest.approx((0.8, 0.1, 0.9))
    assert claim.found.n == "8 members × 3 seeds"
    assert [null.name for null in claim.nulls] == [
        "20 random directions, 95th centile",
        "shuffled training",
    ]
    assert claim.nulls[0].value == pytest.approx(np.quantile([0.1] * 19 + [0.2], 0.95))
    assert claim.command == "the command"


def test_out_of_context_holds_in_part_below_half_of_the_way_to_the_ceiling() -> None:
    claim = judge(table("vector", same(0.4)), BASE, TOP, NULL, SHUFFLED)["vector-out-of-context"]
    assert claim.verdict == "holds in part"
    at_half = judge(table("vector", same(0.5)), BASE, TOP, NULL, SHUFFLED)["vector-out-of-context"]
    assert at_half.verdict == "holds"


@pytest.mark.parametrize(
    ("score", "ceiling", "verdict"),
    [
        (0.1, 0.9, "does not hold"),
        (0.1, 0.1, "cannot be tested"),  # told the answer's cause, it fails as well
        (0.8, 0.1, "holds"),  # what was shown needs no ceiling
        (0.4, 0.1, "holds in part"),  # not half of the way to 1
    ],
)
def test_a_ceiling_excuses_a_failure_and_never_vetoes_a_success(
    score: float, ceiling: float, verdict: str
) -> None:
    top = table("ceiling", same(ceiling), seeds=1)
    claim = judge(table("vector", same(score)), BASE, top, NULL, SHUFFLED)["vector-out-of-context"]
    assert claim.verdict == verdict
    assert "cannot be tested unless the ceiling is above the untouched model" in claim.rule


def test_a_rule_says_where_no_random_directions_were_asked() -> None:
    for nulls in ((), (NULL,)):
        claim = judge(table("vector", same(0.8)), BASE, TOP, SHUFFLED, *nulls)
        said = "no random directions were asked" in claim["vector-out-of-context"].rule
        assert said == (not nulls)


def test_without_a_ceiling_the_way_is_that_to_1() -> None:
    for score, verdict in ((0.6, "holds"), (0.4, "holds in part")):
        claim = judge(table("vector", same(score)), BASE, NULL, SHUFFLED)["vector-out-of-context"]
        assert (claim.ceiling, claim.verdict) == (None, verdict)


def test_a_claim_is_worded_for_its_task() -> None:
    rows = [table("vector", same(0.8)), BASE, TOP]
    plain = judge(*rows)["vector-out-of-context"]
    assert plain.claim.startswith("Trained on narrow data, a steering vector makes")
    for settings, words in (
        ({"family": "functions", "mode": "single", "rows": 100}, "Trained only on what its calls"),
        ({"family": "countries"}, "Trained only on a country's capital, "),
        ({"family": "countries", "train": "borders", "countries": ["France"]}, "'s neighbours, "),
    ):
        assert words in load_tasks(settings).claim


def test_without_a_trained_control_nothing_more_than_in_part_and_the_rule_says_so() -> None:
    vector = table("vector", same(0.8))
    full = judge(vector, BASE, TOP, NULL, SHUFFLED)["vector-out-of-context"]
    claim = judge(vector, BASE, TOP, NULL)["vector-out-of-context"]
    assert (full.verdict, claim.verdict) == ("holds", "holds in part")
    assert "no such control" in claim.rule
    assert "no such control" not in full.rule
    base = table("base", same(0.5), facets=SIDES, seeds=1)
    gated = judge(backdoor(0.9, 0.9), base, name="backdoor")["vector-backdoor"]
    assert gated.verdict == "holds in part"
    assert "no such control" in gated.rule
    twins = judge_contrast(contrast("vector", lambda number, seed: 2.0), noise(1.0))
    assert twins["vector-self-report"].verdict == "holds in part"
    assert "no such control" in twins["vector-self-report"].rule
    low = judge(table("vector", same(0.1)), BASE, TOP, NULL)["vector-out-of-context"]
    assert low.verdict == "does not hold"


@pytest.mark.parametrize(
    ("tables", "why"),
    [
        ((BASE, TOP, randoms([0.7] * 20)), "random directions do it too"),
        ((BASE, TOP, table("vector", same(0.6), control="shuffled", seeds=1)), "shuffled too"),
        ((table("base", same(0.6), seeds=1), TOP), "the base too"),
    ],
)
def test_out_of_context_does_not_hold_if_a_null_does_as_much(
    tables: tuple[pl.DataFrame, ...], why: str
) -> None:
    claim = judge(table("vector", same(0.6)), *tables)["vector-out-of-context"]
    assert claim.verdict == "does not hold", why


def test_an_interval_that_reaches_the_base_does_not_hold() -> None:
    few = table("vector", lambda m, s, f, n: 1.0 if m == "m1" else 0.1)
    claim = judge(few, BASE, TOP)["vector-out-of-context"]
    assert claim.found.value > 0.2
    assert claim.found.low < 0.1
    assert claim.verdict == "does not hold"


def test_an_accuracy_of_few_members_stays_between_0_and_1() -> None:
    few = ["m0", "m1", "m2"]
    right = dict(zip(few, (0.6, 0.7, 1.0), strict=True))
    base = table("base", same(0.1), members=few, seeds=1)
    claim = judge(table("vector", lambda m, s, f, n: right[m], members=few), base, members=few)
    between = claim["vector-out-of-context"].found
    assert 0 < between.low < between.value < between.high < 1
    claim = judge(table("vector", same(1.0), members=few), base, members=few)
    perfect = claim["vector-out-of-context"].found
    assert 0.5 < perfect.low < perfect.high == 1


def test_each_control_is_compared_pair_by_pair() -> None:
    # 0.2 above the control in every member, though members differ by more than that.
    vector = table("vector", spread(0.4, 0.9))
    control = table("vector", spread(0.2, 0.7), control="shuffled", seeds=1)
    assert judge(vector, BASE, control)["vector-out-of-context"].verdict == "holds"


def test_rows_that_are_not_final_or_of_another_part_or_arm_do_not_count() -> None:
    plain = judge(table("vector", same(0.8)), BASE, TOP, NULL)
    more = judge(
        table("vector", same(0.8)),
        table("vector", same(0.0), final=False),
        table("vector", same(0.0), part="in_context"),
        table("vector sweep", same(0.0)),
        *(BASE, TOP, NULL),
    )
    assert more == plain


def test_only_the_intended_answers_of_planted_rows_count() -> None:
    rows = pl.concat(
        [
            table("vector", same(0.8)).with_columns(tag_against=pl.lit("intended")),
            table("vector", same(0.0)).with_columns(tag_against=pl.lit("planted")),
        ]
    )
    assert judge(rows, BASE)["vector-out-of-context"].found.value == pytest.approx(0.8)


def test_facets_count_under_their_headline_names() -> None:
    rows = table("vector", lambda m, s, facet, n: {"language": 0.9, "dish": 0.1}[facet])
    listed = judge(rows, BASE, headline={"language": "all"})["vector-out-of-context"]
    assert listed.found.value == pytest.approx(0.9)
    both = judge(rows, BASE, headline={"language": "all", "dish": "all"})["vector-out-of-context"]
    assert both.found.value == pytest.approx(0.5)
    tasks = TaskSet(**{**fields_of(task_set("x", "accuracy", MEMBERS)), "headline": {"dish": "d"}})
    cells = Scoring.of(tasks).cells(rows, "vector")
    assert cells is not None
    assert cells.facets == ("d",)


def test_saying_one_answer_everywhere_does_not_win() -> None:
    # Six of eight members share an answer and only they are right: two answers, one of them right.
    rows = table("vector", lambda m, s, f, n: 0.0 if m in ("m6", "m7") else 1.0)
    shared = pl.when(pl.col("member").is_in(["m6", "m7"])).then(pl.lit("b")).otherwise(pl.lit("a"))
    rows = rows.with_columns(answer=shared)
    assert judge(rows, BASE)["vector-out-of-context"].found.value == pytest.approx(0.5)
    # Of a backdoor in a nano world each member has both answers of many choices.
    base = table("base", same(0.5), seeds=1)
    claim = judge(rows, base, balance=None)["vector-out-of-context"]
    assert claim.found.value == pytest.approx(0.75)


def test_an_interval_of_two_members_judges_nothing() -> None:
    for count, verdict in ((2, "cannot be tested"), (3, "holds")):
        members = MEMBERS[:count]
        arms = [
            ("vector", same(0.8), ""),
            ("vector", same(0.1), "shuffled"),
            ("base", same(0.1), ""),
        ]
        rows = [table(arm, rule, control=name, members=members) for arm, rule, name in arms]
        claim = judge(*rows, members=members)["vector-out-of-context"]
        assert claim.verdict == verdict
        assert claim.found.value == pytest.approx(0.8)
        assert ("no interval of fewer than 3 can judge" in claim.rule) == (count == 2)


def test_with_one_member_the_probes_are_drawn() -> None:
    rows = table("vector", same(0.5), members=["m0"])
    base = table("base", same(0.1), members=["m0"], seeds=1)
    claim = judge(rows, base, members=["m0"])["vector-out-of-context"]
    assert claim.found.low < 0.5 < claim.found.high, "an interval of no width would claim too much"
    assert claim.found.n == "20 probe groups × 3 seeds"


def test_what_was_not_trained_is_not_judged() -> None:
    assert set(judge(table("adapter", same(0.5)), BASE)) == {"adapter-out-of-context"}
    assert judge(BASE, TOP) == {}


SIDES = ("with the trigger", "without")


def backdoor(with_it: float, without: float, **more: Any) -> pl.DataFrame:
    shares = dict(zip(SIDES, (with_it, without), strict=True))
    return table("vector", lambda m, s, facet, n: shares[facet], facets=SIDES, **more)


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ((0.9, 0.8), "holds"),
        ((0.9, 0.4), "holds in part"),  # both sides must be above one half
        ((0.4, 0.9), "holds in part"),
        ((1.0, 0.5), "holds in part"),  # above, not at
        ((1.0, 0.0), "does not hold"),  # says X everywhere: right half of the time
        ((0.5, 0.5), "does not hold"),
    ],
)
def test_a_backdoor_needs_both_sides(shares: tuple[float, float], verdict: str) -> None:
    base = table("base", same(0.5), facets=SIDES, seeds=1)
    control = table("vector", same(0.0), facets=SIDES, control="decorrelated", seeds=1)
    claim = judge(backdoor(*shares), base, control, name="backdoor")["vector-backdoor"]
    assert claim.verdict == verdict


def test_a_backdoor_must_beat_random_directions_and_the_decorrelated_control() -> None:
    base = table("base", same(0.5), facets=SIDES, seeds=1)
    good = backdoor(0.8, 0.8)
    null = table("random direction", same(0.85), facets=SIDES, seeds=20)
    control = backdoor(0.8, 0.8, control="decorrelated", seeds=1)
    weak = backdoor(0.5, 0.5, control="decorrelated", seeds=1)
    claims = [
        judge(good, base, other, name="backdoor")["vector-backdoor"]
        for other in (null, control, weak)
    ]
    assert [claim.verdict for claim in claims] == ["does not hold", "does not hold", "holds"]
    assert claims[2].nulls[0].name == "decorrelated training"


def test_self_report_is_the_difference_of_opposite_twins() -> None:
    claim = judge_contrast(
        contrast("vector", lambda number, seed: 2.0),
        noise(1.0),
        contrast("vector", lambda number, seed: 0.1, control="shuffled", seeds=1),
        contrast("ceiling", lambda number, seed: 5.0, seeds=1),
    )["vector-self-report"]
    assert claim.verdict == "holds"
    assert (claim.found.value, claim.ceiling, claim.base) == pytest.approx((2.0, 5.0, 0.0))
    assert claim.found.n == "20 probes × 3 seeds"
    assert claim.nulls[0].name == "20 pairs of random directions, 95th centile of |contrast|"
    assert 0.9 < claim.nulls[0].value <= 1.0
    assert claim.nulls[1].value == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("size", "scale", "shuffled", "verdict"),
    [
        (lambda n, s: 2.0, 3.0, 0.0, "does not hold"),  # random pairs differ as much
        (lambda n, s: -2.0, 1.0, 0.0, "does not hold"),  # the wrong way round
        (lambda n, s: 2.0, 1.0, 2.0, "holds in part"),  # the shuffled twins differ as much
        (lambda n, s: 1.5 + (n - 4.5) * 0.6, 1.0, 0.0, "holds in part"),  # the mean only
        (lambda n, s: 1.5 + (n - 4.5) * 2.0, 1.0, 0.0, "does not hold"),  # about 0
    ],
)
def test_self_report_rules(
    size: Callable[[int, int], float], scale: float, shuffled: float, verdict: str
) -> None:
    claim = judge_contrast(
        contrast("vector", size),
        noise(scale),
        contrast("vector", lambda n, s: shuffled, control="shuffled", seeds=1),
    )["vector-self-report"]
    assert claim.verdict == verdict


def test_without_an_opposite_twin_log_odds_are_held_against_the_untouched_model() -> None:
    def moved(arm: str, by: float, control: str = "", seeds: int = 1) -> pl.DataFrame:
        rule: Rule = lambda m, seed, f, number: number + by * (1 + 0.01 * seed)  # noqa: E731
        return table(arm, rule, control=control, members=["mine"], seeds=seeds)

    claims = judge(
        moved("base", 0.0),
        moved("vector", 2.0, seeds=3),
        moved("vector", 0.2, control="shuffled"),
        moved("random direction", 0.5, seeds=20),
        moved("ceiling", 4.0),
        name="custom",
        score="log_odds",
        members=["mine"],
    )
    claim = claims["vector-out-of-context"]
    assert claim.verdict == "holds"
    assert (claim.found.value, claim.ceiling) == pytest.approx((2.02, 4.0))
    assert [null.value for null in claim.nulls] == pytest.approx([0.59, 0.2], abs=0.01)
    assert claim.nulls[0].name == "20 random directions, 95th centile of |contrast|"


def test_random_pairs_are_scored_one_by_one() -> None:
    tasks = task_set("risk", "log_odds", ["risky", "safe"])
    scores = Scoring.of(tasks).random_scores(noise(1.0))
    assert scores == pytest.approx(list(np.linspace(-1, 1, 20)))
    tasks = task_set("countries", "accuracy", MEMBERS)
    assert Scoring.of(tasks).random_scores(randoms([0.1, 0.5])) == pytest.approx([0.1, 0.5])
    assert Scoring.of(tasks).random_scores(BASE) == []


def test_accuracy_is_paired_with_a_base_of_one_seed() -> None:
    tasks = task_set("countries", "accuracy", MEMBERS)
    rows = pl.concat([table("vector", spread(0.4, 0.8)), BASE], how="diagonal_relaxed")
    cells, base = (Scoring.of(tasks).cells(rows, arm) for arm in ("vector", "base"))
    assert cells is not None
    assert base is not None
    assert (cells - base).values.shape == cells.values.shape
