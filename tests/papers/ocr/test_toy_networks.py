"""The toy's data and networks: what is never trained, the exact collapse, gradients, AdamW."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oocr.papers.ocr.toy.clean import random_start
from oocr.papers.ocr.toy.networks import (
    AdamW,
    Form,
    Parameters,
    logits_of,
    loss_and_gradients,
    output_value,
)
from oocr.papers.ocr.toy.places import second_stage
from oocr.papers.ocr.toy.scores import ranks, score
from oocr.papers.ocr.toy.training import batch
from oocr.papers.ocr.toy.world import NOISE_TOKENS, World, sequences, token_counts

FORMS: tuple[Form, ...] = ("factorized", "combined")
WORLD = World()


def some_parameters(form: Form, tokens: int, heads: int = 6) -> Parameters:
    draw = np.random.default_rng(3)
    start: Parameters = {"attention": draw.standard_normal(tokens)}
    if form == "combined":
        return {**start, "output_value": draw.standard_normal((tokens, tokens))}
    output, value = draw.standard_normal((tokens, heads)), draw.standard_normal((heads, tokens))
    return {**start, "output": output, "value": value}


def test_the_world_has_the_paper_s_sizes() -> None:
    assert WORLD.tokens == 128
    assert WORLD.end == 127
    assert list(WORLD.pair_of(WORLD.bridge_names)) == list(range(20))  # one bridge for each pair
    assert len(WORLD.test_names) == 60


def test_implications_of_test_names_are_never_trained() -> None:
    for world in (WORLD, World(pairs=5, bridges=4, tests=16), World(implied="permuted")):
        for names, relation in world.training_rows():
            assert relation == "fact" or not set(names) & set(world.test_names)


def test_a_permuted_map_has_no_fixed_point_and_is_one_to_one() -> None:
    permuted = World(implied="permuted", seed=5).permutation
    assert sorted(permuted) == list(range(20))
    assert not (permuted == np.arange(20)).any()


def test_a_sequence_has_the_relation_after_the_name_and_the_end_last() -> None:
    rows = sequences(WORLD, WORLD.test_names, "implication", np.random.default_rng(0))
    assert rows.shape == (60, NOISE_TOKENS + 3)
    for row, name in zip(rows, WORLD.test_names, strict=True):
        tokens = list(row)
        assert tokens[-1] == WORLD.end
        assert tokens.index(WORLD.name_ids[name]) < tokens.index(1)
        noise = [token for token in tokens if token in WORLD.noise_ids]
        assert len(noise) == NOISE_TOKENS


@pytest.mark.parametrize("form", FORMS)
def test_the_bag_of_tokens_is_all_that_linear_attention_reads(form: Form) -> None:
    rows = sequences(WORLD, WORLD.test_names[:4], "fact", np.random.default_rng(0))
    parameters = some_parameters(form, WORLD.tokens)
    query = np.zeros((WORLD.tokens, WORLD.tokens))
    query[:, WORLD.end] = parameters["attention"]  # W_KQ x_T of the last token, the end
    one_hot = np.eye(WORLD.tokens)[rows]
    scores = np.einsum("rtv,vw,rw->rt", one_hot, query, one_hot[:, -1])
    attended = np.einsum("rt,rtv->rv", scores, one_hot) @ output_value(parameters).T
    counts = one_hot.sum(axis=1)
    np.testing.assert_allclose(logits_of(parameters, counts), attended, atol=1e-9)


def test_bags_are_counts_of_such_sequences() -> None:
    draw = np.random.default_rng(1)
    names = np.repeat(WORLD.test_names, 20)
    drawn = token_counts(WORLD, names, "fact", draw)
    made = np.eye(WORLD.tokens)[sequences(WORLD, names, "fact", draw)].sum(axis=1)
    noise = list(WORLD.noise_ids)
    assert (drawn.sum(axis=1) == made.sum(axis=1)).all()
    np.testing.assert_allclose(np.delete(drawn, noise, 1), np.delete(made, noise, 1))
    np.testing.assert_allclose(drawn[:, noise].mean(0), made[:, noise].mean(0), atol=0.2)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_differences(form: Form) -> None:
    world = World(pairs=2, bridges=1, tests=1, noise=2)
    parameters = some_parameters(form, world.tokens)
    counts, answers = batch(world, np.random.default_rng(0))
    _, gradients = loss_and_gradients(parameters, counts, answers)
    assert set(gradients) == set(parameters)
    for name, array in parameters.items():
        for place in [tuple(0 for _ in array.shape), tuple(size - 2 for size in array.shape)]:
            losses = []
            for step in (1e-6, -1e-6):
                moved = {**parameters, name: array.copy()}
                moved[name][place] += step
                losses.append(loss_and_gradients(moved, counts, answers)[0])
            slope = (losses[0] - losses[1]) / 2e-6
            assert gradients[name][place] == pytest.approx(slope, abs=1e-6)


def test_adamw_is_torch_s() -> None:
    draw = np.random.default_rng(0)
    ours = {"w": draw.standard_normal((3, 4)), "frozen": np.ones(2)}
    theirs = torch.nn.Parameter(torch.tensor(ours["w"]))
    optimizer = AdamW(frozen=("frozen",))
    reference = torch.optim.AdamW([theirs], lr=5e-3, weight_decay=0.03)
    for _ in range(20):
        gradient = draw.standard_normal((3, 4))
        optimizer.step(ours, {"w": gradient, "frozen": np.ones(2)})
        theirs.grad = torch.tensor(gradient)
        reference.step()
    np.testing.assert_allclose(ours["w"], theirs.detach().numpy(), atol=1e-12)
    assert (ours["frozen"] == 1).all()


def test_ranks_count_what_is_above_and_half_of_ties() -> None:
    logits = np.array([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]])
    assert list(ranks(logits, np.array([0, 1]))) == [2.0, 1.0]
    asked = score(np.array([[9.0, 0.0, 1.0, 2.0]]), np.array([2]), range(1, 4))
    assert asked.rank == 1
    assert asked.accuracy == 0


def test_one_matrix_has_no_place_below_its_read_out() -> None:
    world = World(pairs=2, bridges=1, tests=1)
    with pytest.raises(ValueError, match="no W_V"):
        second_stage(world, random_start(world, None, 0.1, 0), "value LoRA")
