"""The nano world's rows by construction, its measures, and its claims on very small settings."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import polars as pl
import pytest
import torch

from oocr.papers.ockr.experiments import completion, places, reasoning
from oocr.papers.ockr.nano.arms import TASKS, ArmRows
from oocr.papers.ockr.nano.bilinear import pair_scores, share_right
from oocr.papers.ockr.nano.measure import auc
from oocr.papers.ockr.nano.vectors import learn_newcomers, newcomer_rows, with_vector_tokens
from oocr.papers.ockr.nano.world import NO, SAME, WHO, YES, Row, make_world, same_year_pairs
from oocr.papers.small_transformer import Shape, SmallTransformer

SMALL = {"years": 4, "each": 4}


def study(task: str, arm: str, **sizes: int) -> ArmRows:
    return TASKS[task](make_world(**{**SMALL, **sizes}), arm, random.Random(0))


def pairs(rows: object) -> set[frozenset[int]]:
    assert isinstance(rows, (list, tuple))
    return {frozenset(row.prompt[1:]) for row in rows if row.prompt[0] == SAME}


@pytest.mark.parametrize(
    ("task", "arm"),
    [(task, arm.id) for task, arms in reasoning.ARMS.items() for arm in arms],
)
def test_no_target_is_told_and_every_premise_is(task: str, arm: str) -> None:
    made = study(task, arm)
    train = set(made.train)
    assert all(set(rows) <= train for rows in made.recall.values())
    assert not set(made.target) & train
    assert not pairs(made.target) & pairs(made.train)
    yes = Counter(row.answer[-1] for row in made.target if row.answer[-1] in (YES, NO))
    assert yes[YES] == yes[NO]


def test_untold_relations_of_y_are_in_no_row() -> None:
    for task, arm in (("A+A->R", "separate"), ("R+R->R", "dense")):
        made = study(task, arm, years=8, each=8)
        assert made.between_y
        assert not pairs(list(made.between_y)) & pairs(made.train)


def test_halves_name_nobody_of_the_other_half() -> None:
    world = make_world(**SMALL)
    late = {person for people in world.people_by_year[2:] for person in people}
    named = {
        arm: pairs(study("R+R->R", arm).recall["conclusions"]) for arm in ("alternate", "halves")
    }
    assert not any(pair & late for pair in named["halves"])
    assert set(world.z) <= set().union(*named["alternate"])
    asked = study("R+R->R", "halves").target
    assert all(frozenset(row.prompt[1:]) <= late for row in asked)


def test_partners_are_shared_evenly_and_nobody_is_his_own() -> None:
    world = make_world(years=3, each=5)
    for times in (1, 2, 4):
        made = same_year_pairs(world.x, world.x, times, random.Random(1))
        assert len(set(made)) == len(made) == 15 * times
        assert set(Counter(b for _, b in made).values()) == {times}
        assert all(a != b for a, b in made)
    made = same_year_pairs(world.x, world.y, 1, random.Random(1))
    assert {b for _, b in made} == {b for group in world.y for b in group}


def test_the_hint_names_the_partner_that_is_generated() -> None:
    made = study("A+R->A", "hint+generated")
    said = {row.prompt[1]: row.answer[0] for row in made.train if row.prompt[0] == WHO}
    hinted = {row.prompt[1]: row.answer[0] for row in made.train if len(row.answer) == 2}
    assert hinted
    assert all(said[person] == partner for person, partner in hinted.items())


def test_newcomers_are_told_by_relations_only() -> None:
    world = make_world(**SMALL, new=2)
    rows = newcomer_rows(world, random.Random(0))
    new = {person for group in world.new for person in group}
    assert all(row.prompt[0] == SAME for row in rows.relations)
    assert Counter(row.answer[0] for row in rows.relations) == {YES: 48, NO: 48}
    assert not any(new & set(row.prompt) for row in rows.known)
    moved = with_vector_tokens(world, rows.relations)
    assert {max(row.prompt) for row in moved} == {person + len(new) for person in new}
    assert with_vector_tokens(world, rows.known) == list(rows.known)


def test_a_far_start_is_as_large_as_other_embeddings() -> None:
    world = make_world(**SMALL, new=2)
    model = SmallTransformer(Shape(world.tokens, 6), 0)
    rows = newcomer_rows(world, random.Random(0))
    table = model.embedding.weight.detach()
    size = table[list(world.z)].norm(dim=1).mean() * 5
    table[list(world.z)] *= 5
    learn_newcomers(model, world, rows, "weights, far start", 0, 0)
    norms = model.embedding.weight.detach()[-world.newcomers :].norm(dim=1)
    torch.testing.assert_close(norms, size.expand(world.newcomers))


def test_years_are_not_judged_where_relations_are_not_recalled() -> None:
    arms = (*places.PLACE_LABELS, *places.CONTROL_LABELS)
    table = pl.DataFrame(
        [
            {"arm": arm, "what": what, "seed": seed, "value": 0.9 if arm == "second block" else 1.0}
            for arm in arms
            for what in ("told", "known", "right", "rank")
            for seed in range(3)
        ]
    )
    result = places.analyse(table)
    ids = {finding.id for finding in result.findings}
    assert {"first-block-year", "random-vectors-year", "second-block-recall"} <= ids
    assert not ids & {"second-block-year", "second-block-rank", "vectors-over-second-block"}
    assert "the second block’s weights: 0.90 of what was trained is recalled" in result.missing


def test_auc_is_free_of_bias() -> None:
    yes, no = np.array([0.1, 0.3]), np.array([0.0, 0.2])
    assert auc(yes, no) == auc(yes + 5, no + 5) == 0.75
    assert auc(yes, yes) == 0.5


def test_a_free_table_completes_nothing_and_products_do() -> None:
    world = make_world()
    for factorized, low, high in ((True, 0.98, 1.0), (False, 0.5, 0.5)):
        scores, rows = pair_scores(world, factorized=factorized, steps=150, seed=0)
        assert share_right(scores, rows["recall"]) == 1.0
        assert low <= share_right(scores, rows["target"]) <= high


def test_a_score_of_zero_is_half_right() -> None:
    rows = [Row((SAME, 0, 1), (YES,)), Row((SAME, 1, 0), (NO,))]
    assert share_right(torch.zeros(2, 2), rows) == 0.5
    assert share_right(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), rows) == 0.5
    assert share_right(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), rows) == 1.0


@pytest.fixture(scope="module")
def small_table() -> pl.DataFrame:
    """Two seeds of all arms in a small world, hardly trained."""
    cells = [
        reasoning.ReasoningCell(seed=seed, task=task, arm=arm.id, steps=2, **SMALL)
        for seed in range(2)
        for task, arms in reasoning.ARMS.items()
        for arm in arms
    ]
    frames = [
        pl.DataFrame(reasoning.compute(cell)).with_columns(
            seed=pl.lit(cell.seed), task=pl.lit(cell.task), arm=pl.lit(cell.arm)
        )
        for cell in cells
    ]
    return pl.concat(frames, how="diagonal_relaxed")


def test_recall_stands_beside_every_target(small_table: pl.DataFrame) -> None:
    result = reasoning.analyse(small_table)
    ids = {finding.id for finding in result.findings}
    for task, arms in reasoning.ARMS.items():
        for arm in arms:
            assert {
                f"{reasoning.ID_PREFIXES[task]}-{arm.id}{end}" for end in ("", "-recall")
            } <= ids
    assert {id for id, *_ in reasoning.GAINS} <= ids
    assert reasoning.figure({"nano": pl.DataFrame(result.rows)}) is not None


def test_every_claim_has_its_finding(small_table: pl.DataFrame) -> None:
    from oocr.papers.ockr import PAPER

    cell = places.PlaceCell(**SMALL, new=2, first_steps=2, steps=2)
    recalled = pl.when(pl.col("what") == "told").then(1.0).otherwise(pl.col("value"))
    rows = pl.DataFrame(places.compute(cell)).with_columns(value=recalled, seed=pl.lit(0))
    rows = pl.concat([rows, rows.with_columns(seed=pl.lit(1))])
    table = pl.DataFrame(
        [
            {"form": form, "what": what, "value": 0.5, "seed": seed}
            for form in completion.FORM_LABELS
            for what in ("recall", "target")
            for seed in range(2)
        ]
    )
    results = {
        "ockr-nano": reasoning.analyse(small_table),
        "ockr-places": places.analyse(rows),
        "ockr-completion": completion.analyse(table),
    }
    for claim in PAPER.claims:
        assert claim.finding in {finding.id for finding in results[claim.analysis].findings}, claim
    for experiment in (places, completion):
        drawn = pl.DataFrame(results[experiment.EXPERIMENT.name].rows)
        assert experiment.figure({"nano": drawn}) is not None


def test_what_is_told_apart_does_not_follow() -> None:
    """A+R->A in a world of eight years: premises recalled, the conclusion at chance."""
    cell = reasoning.ReasoningCell(task="A+R->A", arm="separate", years=8, each=5, steps=250)
    rows = pl.DataFrame(reasoning.compute(cell))
    assert rows.filter(pl.col("part") == "recall")["value"].min() == 1.0
    target = rows.filter(pl.col("part") == "target", pl.col("what") == "right")["value"].item()
    assert target < 0.4  # of eight years; 40 people


def test_generated_relations_let_the_hint_find_the_partner() -> None:
    values = {}
    for arm in ("hint", "hint+generated"):
        cell = reasoning.ReasoningCell(task="A+R->A", arm=arm, years=8, each=5, steps=300)
        rows = pl.DataFrame(reasoning.compute(cell))
        values[arm] = rows.filter(pl.col("what") == "first")["value"].item()
    assert values["hint"] < 0.1
    assert values["hint+generated"] > 0.9
