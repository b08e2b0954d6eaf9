"""One row per item scored: the table that everything reported is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from jaxtyping import Float
from torch import Tensor

from oocr.data.examples import Example
from oocr.errors import RunError


def rows(
    items: Sequence[Example],
    scores: Float[Tensor, "item option"],
    columns: Mapping[str, str | int | float | None] | None = None,
) -> pl.DataFrame:
    """Score a set of items from their options' log-scores.

    Columns made here:
        right: the best-scored option is the answer (a tie is not right).
        rank: how many options are scored at least as high as the answer (0: it is the best).
        logp: log-probability of the answer among the options, in nats.
        log_odds: log of the odds of options with positive over those with negative value, in nats.
        value: mean of the options' values under their probabilities, in [-1, 1].
        chosen: the best-scored option's text.

    Args:
        items: what was asked.
        scores: [item, option], -inf beyond an item's options.
        columns: constant columns to put first (arm, seed, step, …).

    Raises:
        RunError: scores that are not numbers.
    """
    logits = scores.double().numpy()
    broken = np.isnan(logits).any(axis=1)
    if broken.any():
        first = items[int(broken.argmax())].id
        raise RunError(f"the model's scores of {broken.sum()} items are NaN (first: {first!r})")
    logp = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    place = np.array([item.options.index(item.answer) for item in items])
    indices = np.arange(len(items))
    answer = logp[indices, place]
    valid = np.isfinite(logp)
    rank = ((logp >= answer[:, None]) & valid).sum(axis=1) - 1
    values = np.zeros_like(logp)
    for index, item in enumerate(items):
        values[index, : len(item.options)] = item.option_values
    up = np.logaddexp.reduce(np.where(values > 0, logp, -np.inf), axis=1)
    down = np.logaddexp.reduce(np.where(values < 0, logp, -np.inf), axis=1)
    best = np.where(valid, logp, -np.inf).argmax(axis=1)
    tags = sorted({name for item in items for name in item.tags})
    frame = pl.DataFrame(
        {
            "item": [item.id for item in items],
            "facet": [item.facet for item in items],
            "group": [item.group for item in items],
            "template": [item.template for item in items],
            "answer": [item.answer for item in items],
            "chosen": [item.options[option] for item, option in zip(items, best, strict=True)],
            "right": rank == 0,
            "rank": rank.astype(np.int32),
            "options": [len(item.options) for item in items],
            "logp": answer,
            "log_odds": up - down,
            "value": np.where(valid, np.exp(logp) * values, 0.0).sum(axis=1),
            **{f"tag_{name}": [item.tags.get(name) for item in items] for name in tags},
        },
        schema_overrides={f"tag_{name}": pl.String for name in tags},
    )
    fixed = [
        # None stays untyped: beside the numbers of other arms it must not turn them into text.
        pl.lit(value, dtype=pl.String if isinstance(value, str) else None).alias(name)
        for name, value in (columns or {}).items()
    ]
    return frame.select(*fixed, pl.all())


def means(
    examples: Sequence[Example], scores: Float[Tensor, "item option"], *columns: str
) -> tuple[float, ...]:
    """Plain means over examples of columns of `rows`."""
    table = rows(examples, scores)
    return tuple(float(table[name].cast(float).to_numpy().mean()) for name in columns)
