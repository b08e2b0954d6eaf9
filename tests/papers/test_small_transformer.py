"""The small transformer: padding changes nothing, vectors leave the weights alone, seeds repeat."""

from __future__ import annotations

import pytest
import torch

from oocr.papers.small_transformer import (
    IGNORED,
    Optimizer,
    Rows,
    Shape,
    SmallTransformer,
    join,
    rows_of,
    train,
    train_all,
    train_vectors,
)

SHAPE = Shape(vocabulary=12, tokens=6, d_model=16, heads=2, d_mlp=32)
FAST = Optimizer(steps=40, rate=1e-2, batch=16)


def copying(vocabulary: int = 12) -> Rows:
    """[a, b] -> a, for all pairs."""
    texts = [[a, b, a] for a in range(vocabulary) for b in range(vocabulary)]
    return rows_of(texts, [1] * len(texts))


def weights_of(model: SmallTransformer) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, first, second))


def test_rows_keep_answers_only() -> None:
    rows = rows_of([[1, 2, 3, 4], [5, 6]], [2, 1])
    assert rows.ids.tolist() == [[1, 2, 3], [5, 0, 0]]
    assert rows.targets.tolist() == [[IGNORED, 3, 4], [6, IGNORED, IGNORED]]
    assert rows.answers.tolist() == [3, 4, 6]
    longer = join(rows, rows_of([[1, 2, 3, 4, 5]], [1]))
    assert longer.ids.shape == (3, 4)
    assert longer.answers.tolist() == [3, 4, 6, 5]
    with pytest.raises(ValueError, match="row 0: 2 answer tokens"):
        rows_of([[1, 2]], [2])


def test_padding_and_other_rows_change_nothing() -> None:
    model = SmallTransformer(SHAPE, 0)
    alone = rows_of([[1, 2, 3]], [1])
    together = join(rows_of([[4, 5, 6, 7, 8, 9]], [3]), alone)
    torch.testing.assert_close(model.logits(together)[-1:], model.logits(alone))


def test_training_learns_and_repeats() -> None:
    rows = copying()
    models = [SmallTransformer(SHAPE, 0) for _ in range(2)]
    before = float(models[0].loss(rows).detach())
    for model in models:
        train(model, rows, FAST, 0)
    assert same(*map(weights_of, models))
    assert float(models[0].loss(rows).detach()) < 0.2 * before
    assert not same(weights_of(SmallTransformer(SHAPE, 1)), weights_of(SmallTransformer(SHAPE, 0)))


def test_vectors_are_trained_on_frozen_weights() -> None:
    model = SmallTransformer(SHAPE, 0)
    train(model, copying(), FAST, 0)
    before = weights_of(model)
    # Two new entities behave as tokens 3 and 7 do.
    texts = [[12 + place, b, a] for place, a in enumerate((3, 7)) for b in range(12)]
    rows = rows_of(texts, [1] * len(texts))
    start = torch.zeros(2, 16)
    vectors = train_vectors(model, rows, start, FAST, 0)
    assert same(before, weights_of(model))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert (model.logits(rows, vectors).argmax(dim=-1) == rows.answers).float().mean() > 0.9
    moved, others = train_all(model, rows, start, FAST, 0)
    assert same(before, weights_of(model))
    assert not same(before, weights_of(moved))
    assert others.shape == (2, 16)


def test_the_rate_falls_to_nothing() -> None:
    cooled = Optimizer(steps=10, rate=1.0, cooling=0.5)
    assert [cooled.rate_at(step) for step in (0, 4, 5, 6, 9)] == [1.0, 1.0, 1.0, 0.8, 0.2]
    falling = Optimizer(steps=10, rate=1.0, decay=True)
    rates = [falling.rate_at(step) for step in range(10)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1.0
    assert rates[-1] < 0.03
    assert Optimizer(steps=10, rate=1.0).rate_at(9) == 1.0
