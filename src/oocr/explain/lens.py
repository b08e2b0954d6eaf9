"""What a direction says, and can a reader tell from it alone which concept was trained?

The lens: the tokens that a direction v makes likelier, or whose embeddings it is near.

- "raw": W_U v, the LM head alone, as in the paper (section 4.4). Not what the model computes: the
  final norm comes before the head, and its gain weighs the coordinates.
- "normed": W_U norm(v), through the final norm as if v were the whole residual stream.
- "embedding": cosine of v with each row of the embedding matrix.

The reader: a blinded multiple choice. Each concept is a list of words (a country's name, its
language, its currency); a direction's score for it is the mean score of its words' first tokens,
words that two concepts share left out. The reader names the concept with the highest score. Random
directions are read the same way, because some words score high whatever is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector, random_vector

Reading = Literal["raw", "normed", "embedding"]


@dataclass(frozen=True, slots=True)
class LensToken:
    """One token that a direction says; `score`: standard deviations over the vocabulary's mean."""

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


Concepts = Mapping[str, Sequence[str]]
ConceptScores = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class ConceptReading:
    """How well one direction tells its concept.

    Attributes:
        concept: the trained one.
        named: the one that the reader names.
        rank: how many concepts score at least as high as the trained one (0: it is named).
        concepts: how many there are to choose from.
        score: the trained concept's less the mean of the others', in random directions' deviations.
        random_rank: mean rank of the trained concept under random directions.
    """

    concept: str
    named: str
    rank: int
    concepts: int
    score: float
    random_rank: float


def tell(
    model: LanguageModel,
    vector: Vector,
    concept: str,
    concepts: Concepts,
    *,
    reading: Reading = "normed",
    randoms: int = 200,
) -> ConceptReading:
    """Ask the reader about one direction.

    Each concept's score is first put beside what random directions of the same norm give it (mean
    and spread), so that a concept of frequent words has no head start.

    Args:
        model: whose vocabulary.
        vector: one direction.
        concept: the trained concept, one of `concepts`.
        concepts: concept -> its words, as they stand in a text (with their space before).
        reading: how the direction is read.
        randoms: how many random directions.

    Raises:
        InputError: the concept is not there, fewer than two concepts, or one without words of its
            own.
    """
    tokens = own_tokens(model, concept, concepts)
    drawn = with_randoms(vector, randoms)
    return told_of(concept, list(concepts), _scores(model, drawn, tokens, reading))


def with_randoms(vector: Vector, randoms: int) -> Float[Tensor, "direction d_model"]:
    """A direction, and so many random ones of its norm after it.

    Raises:
        InputError: joined directions.
    """
    if vector.direction.ndim != 1:
        raise InputError(
            f"positions {vector.positions!r}: joined directions are read one by one; "
            "take `vector.only(span)`"
        )
    drawn = [random_vector(vector, vector.norm, seed).direction for seed in range(randoms)]
    return torch.stack([vector.direction, *drawn])


def told_of(concept: str, names: Sequence[str], scores: ConceptScores) -> ConceptReading:
    """What the reader makes of scores [direction, concept], random directions after the first."""
    scored, null = scores[0], scores[1:]
    centre, spread = null.mean(axis=0), null.std(axis=0) + 1e-9
    scored, null = (scored - centre) / spread, (null - centre) / spread
    place = names.index(concept)
    others = np.delete(scored, place)
    return ConceptReading(
        concept=concept,
        named=names[int(scored.argmax())],
        rank=int((others >= scored[place]).sum()),
        concepts=len(names),
        score=float(scored[place] - others.mean()),
        random_rank=float((null >= null[:, [place]]).sum(axis=1).mean() - 1),
    )


def own_tokens(model: LanguageModel, concept: str, concepts: Concepts) -> list[list[int]]:
    """The first tokens of each concept's words that no other concept has.

    Raises:
        InputError: an unknown concept, fewer than two, or one without words of its own.
    """
    if concept not in concepts or len(concepts) < 2:
        raise InputError(f"concept {concept!r}: allowed: one of two or more: {', '.join(concepts)}")
    firsts = {
        name: {
            int(model.tokenizer(word, add_special_tokens=False)["input_ids"][0]) for word in words
        }
        for name, words in concepts.items()
    }
    shared = Counter(token for tokens in firsts.values() for token in tokens)
    unshared = {
        name: sorted(t for t in tokens if shared[t] == 1) for name, tokens in firsts.items()
    }
    empty = [name for name, tokens in unshared.items() if not tokens]
    if empty:
        raise InputError(
            f"concept {empty[0]!r}: all its words {list(concepts[empty[0]])} begin like another "
            "concept's under this tokenizer; give it a word of its own"
        )
    return [unshared[name] for name in concepts]


def _scores(
    model: LanguageModel,
    directions: Float[Tensor, "direction d_model"],
    tokens: Sequence[Sequence[int]],
    reading: Reading,
) -> ConceptScores:
    """[direction, concept], directions in small groups: a vocabulary of scores each."""
    out = []
    for group in torch.split(directions, 16):
        scores = scores_of(model, group, reading)
        out.append(torch.stack([scores[:, list(concept)].mean(dim=1) for concept in tokens], dim=1))
    return torch.cat(out).double().numpy()
