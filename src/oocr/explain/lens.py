"""What a direction says: the tokens it makes likelier, and those whose embeddings it is near.

Three readings of a direction v (paper, section 4.4, reads the first):

- "raw": W_U v, the LM head alone, as the paper has it. Not what the model computes: the final norm
  comes before the head, and its gain weighs the coordinates.
- "normed": W_U norm(v), through the final norm as if v were the whole residual stream.
- "embedding": cosine of v with each row of the embedding matrix.

A direction read far from the last block says what later blocks leave of it only by luck; read the
scores beside random directions (`oocr.explain.concepts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector

Reading = Literal["raw", "normed", "embedding"]


@dataclass(frozen=True, slots=True)
class LensToken:
    """One token that a direction says.

    Attributes:
        token: its text.
        id: its number.
        score: standard deviations above the mean over the vocabulary.
    """

    token: str
    id: int
    score: float


def lens(
    model: LanguageModel,
    vector: Vector,
    *,
    reading: Reading = "normed",
    top: int = 10,
    sign: Literal[1, -1] = 1,
) -> list[LensToken]:
    """The tokens that a direction says most, or, with sign -1, most against.

    Args:
        model: whose vocabulary.
        vector: one direction.
        reading: see the module.
        top: how many.
        sign: read v or -v.

    Raises:
        InputError: another reading; joined directions; a width that is not the model's.
    """
    scores = scores_of(model, vector.direction[None] * sign, reading)[0]
    names = model.tokenizer
    best = scores.topk(min(top, len(scores)))
    return [
        LensToken(str(names.decode([token])), token, score)
        for score, token in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


@torch.no_grad()
def scores_of(
    model: LanguageModel, directions: Float[Tensor, "direction d_model"], reading: Reading
) -> Float[Tensor, "direction vocab"]:
    """Each token's score under each direction, in standard deviations over the tokenizer's tokens.

    Raises:
        InputError: another reading, or directions of another shape.
    """
    if reading not in get_args(Reading):
        raise InputError(f"reading: found {reading!r}; allowed: {', '.join(get_args(Reading))}")
    if directions.ndim != 2 or directions.shape[1] != model.d_model:
        raise InputError(
            f"direction: found shape {tuple(directions.shape[1:])}; allowed: ({model.d_model},), "
            "one direction of this model's width"
        )
    parts = model.anatomy
    weight = parts.embed_weight if reading == "embedding" else parts.lm_head.weight
    assert isinstance(weight, Tensor)
    v = directions.to(weight.device, weight.dtype)
    if reading == "normed":
        v = parts.final_norm(v)
    rows = weight[: len(model.tokenizer)]
    scores = F.linear(v, rows).float()
    if reading == "embedding":
        scores = scores / rows.float().norm(dim=1).clamp_min(1e-9)
    scores = scores - scores.mean(dim=1, keepdim=True)
    spread: Tensor = scores.std(dim=1, keepdim=True).clamp_min(1e-9)
    return (scores / spread).cpu()
