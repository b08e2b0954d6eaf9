"""What the toy is said to show, at its acceptance numbers: one seed of each."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from oocr.papers.ocr.toy.clean import (
    fit_world,
    implied_score,
    inputs_of,
    random_start,
    rows_of,
)
from oocr.papers.ocr.toy.max_margin import least_gap, solution
from oocr.papers.ocr.toy.networks import RANDOM_SCALE, Form, Parameters, effective, output_value
from oocr.papers.ocr.toy.places import Place, first_stage, second_stage
from oocr.papers.ocr.toy.scores import Score, gaps, score
from oocr.papers.ocr.toy.shares import shares
from oocr.papers.ocr.toy.training import train_form
from oocr.papers.ocr.toy.world import World

WORLD = World()


def test_the_paper_s_toy_with_noise() -> None:
    factorized, combined = (train_form(WORLD, form, 0) for form in ("factorized", "combined"))
    last, guessing = factorized.curve[-1], combined.curve[-1]
    assert last["loss"] < 0.15
    assert last["accuracy"] > 0.93
    assert last["rank"] < 0.05
    assert math.log(20) - 0.02 < guessing["loss"] < 3.15
    assert guessing["accuracy"] < 0.12
    assert 8.5 < guessing["rank"] < 10.5
    assert max(last["train_loss"], guessing["train_loss"]) < 0.01
    written, absent = (gaps(effective(toy.parameters), WORLD) for toy in (factorized, combined))
    assert written.c_test / written.c_bridge > 0.8
    assert abs(absent.c_test / absent.c_bridge) < 0.02


def test_the_network_implies_what_the_bridges_say_and_not_the_old_map() -> None:
    world = World(implied="permuted", seed=1)
    weights = fit_world(world, 2 * world.pairs, 0)
    assert implied_score(world, weights).rank < 0.05
    assert implied_score(replace(world, implied="same"), weights).rank > 6


def test_bridges_at_random_imply_nothing() -> None:
    world = World(bridges=4, implied="random")
    assert implied_score(world, fit_world(world, 2 * world.pairs, 0)).accuracy < 0.1


def test_answers_that_are_never_targets_are_pushed_down() -> None:
    world = World(bridged=10)
    weights, names = fit_world(world, 2 * world.pairs, 0), world.test_names
    bridged = world.pair_of(names) < 10
    assert implied_score(world, weights, names[bridged]).rank < 0.05
    assert implied_score(world, weights, names[~bridged]).rank > 11  # chance would be 9.5


@pytest.mark.parametrize(
    ("heads", "least", "most"), [(2, 0.0, 0.4), (3, 0.55, 0.85), (8, 0.95, 1.0)]
)
def test_how_wide_the_head_must_be(heads: int, least: float, most: float) -> None:
    assert least <= implied_score(WORLD, fit_world(WORLD, heads, 0, 8000)).accuracy <= most


def implied(form: Form, first: Parameters, place: Place, rank: int = 16) -> Score:
    """What follows, where the facts of the test names were all learned in a place."""
    second = second_stage(WORLD, first, place, rank=rank)
    facts, asked = (rows_of(WORLD, WORLD.test_names, r) for r in ("fact", "implication"))
    assert score(second.logits(facts), facts.answers, range(20)).accuracy == 1, (form, place)
    return score(second.logits(asked), asked.answers, range(20, 40))


@pytest.mark.parametrize("form", ["factorized", "combined"])
def test_a_vector_at_the_input_implies_and_nothing_at_the_output_does(form: Form) -> None:
    start = random_start(WORLD, None if form == "combined" else inputs_of(WORLD), RANDOM_SCALE, 0)
    first = first_stage(WORLD, start)
    assert implied(form, first, "input vector").rank < 0.1
    assert implied(form, first, "output vector").rank > 8
    assert implied(form, first, "output LoRA").rank > 8
    if form == "combined":
        assert implied(form, first, "weights").rank > 8
    else:
        assert implied(form, first, "weights").rank < 0.1
        assert implied(form, first, "value LoRA").rank < 0.5
    without = first_stage(WORLD, start, implications=False)
    assert implied(form, without, "input vector").rank > 6


def test_the_form_that_does_not_imply_is_the_more_constant_one() -> None:
    both, one = (
        shares(output_value(fit_world(WORLD, heads, 0)), WORLD)
        for heads in (inputs_of(WORLD), None)
    )
    assert one.one_vector > 0.8 > 0.4 > both.one_vector
    assert min(one.pair_vector, both.pair_vector) > 0.98
    assert both.own_bridge > 0.88
    assert one.own_bridge == pytest.approx(math.sqrt(0.5), abs=0.02)
    ideal = shares(solution(WORLD, least_gap(1, 3)), WORLD)
    assert ideal.own_bridge == pytest.approx(0.966, abs=1e-3)
    assert np.abs(ideal.one_vector) < 1e-12
