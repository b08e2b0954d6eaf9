"""The lens: tokens of a direction; and can a reader tell from it which concept was trained?

The lens: tokens that a direction v makes likelier, or whose embeddings it is near. "raw": W_U v, as
in the paper (section 4.4); "normed": W_U norm(v), as if v were the whole residual stream;
"embedding": cosine of v with each row of the embedding matrix. The reader: a blinded choice among
concepts, each a list of words, compared with random directions (frequent words score high under any
direction).
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
    """A token of a lens; `score`: standard deviations above the vocabulary's mean."""

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
    """The tokens with the highest scores of a direction, or with sign -1 the lowest.

    InputError: another reading; joined directions; a width that is not the model's.
    """
    scores = scores_of(model, vector.direction[None] * sign, reading)[0]
    best = scores.topk(min(top, len(scores)))
    return [
        LensToken(str(model.tokenizer.decode([token])), token, score)
        for score, token in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


@torch.no_grad()
def scores_of(
    model: LanguageModel, directions: Float[Tensor, "direction d_model"], reading: Reading
) -> Float[Tensor, "direction vocab"]:
    """Each token's score under each direction, in standard deviations over the tokenizer's tokens.

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
    weight = parts.embedded_tokens if reading == "embedding" else parts.lm_head.weight
    assert isinstance(weight, Tensor)
    v = directions.to(weight.device, weight.dtype)
    if reading == "normed":
        v = parts.final_norm(v).to(weight.device)
    rows = weight[: len(model.tokenizer)]
    scores = F.linear(v, rows).float()
    if reading == "embedding":
        scores = scores / rows.float().norm(dim=1).clamp_min(1e-9)
    scores = scores - scores.mean(dim=1, keepdim=True)
    spread: Tensor = scores.std(dim=1, keepdim=True).clamp_min(1e-9)
    return (scores / spread).cpu()


Concepts = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class ConceptReading:
    """How well a direction identifies its concept; `named`: the concept that the reader chooses.

    `rank`: how many of the `concepts` score at least as high as the trained one (0: it is named);
    `score`: the trained concept's less the mean of the others', in random directions' deviations;
    `random_rank`: mean rank of the trained concept under random directions.
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
    """Ask the reader which of several concepts (name -> words, with their space before) is meant.

    A direction's score for a concept is the mean score of its words' first tokens; words that two
    concepts share are left out. It is standardized by the scores of random directions of the same
    norm (mean and spread), so that a concept of frequent words has no advantage.

    InputError: an unknown concept, fewer than two, or one without words of its own; joined
    directions.
    """
    tokens = own_tokens(model, concept, concepts)
    scores = []
    # In small groups: each direction has a vocabulary of scores.
    for group in torch.split(with_randoms(vector, randoms), 16):
        of_tokens = scores_of(model, group, reading)
        means = [of_tokens[:, list(of_concept)].mean(dim=1) for of_concept in tokens]
        scores.append(torch.stack(means, dim=1))
    return concept_reading(concept, list(concepts), torch.cat(scores))


def check_single(vector: Vector, done: str) -> None:
    """Refuse joined directions; `done`: the operation, for the message."""
    if vector.direction.ndim != 1:
        raise InputError(
            f"positions {vector.positions!r}: joined directions {done}; take `vector.only(span)`"
        )


def with_randoms(vector: Vector, randoms: int) -> Float[Tensor, "direction d_model"]:
    """A direction followed by `randoms` random ones of its norm; InputError: joined directions."""
    check_single(vector, "are read one by one")
    drawn = [random_vector(vector, vector.norm, seed).direction for seed in range(randoms)]
    return torch.stack([vector.direction, *drawn])


def concept_reading(
    concept: str, names: Sequence[str], scores: Float[Tensor, "direction concept"]
) -> ConceptReading:
    """The reading of scores; the first row is the direction's, the others of random directions."""
    scored, null = (part.double().numpy() for part in (scores[0], scores[1:]))
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

    InputError: an unknown concept, fewer than two, or one without words of its own.
    """
    if concept not in concepts or len(concepts) < 2:
        raise InputError(f"concept {concept!r}: allowed: one of two or more: {', '.join(concepts)}")
    tokenizer = model.tokenizer
    firsts = {
        name: {int(tokenizer(word, add_special_tokens=False)["input_ids"][0]) for word in words}
        for name, words in concepts.items()
    }
    count = Counter(token for tokens in firsts.values() for token in tokens)
    unshared = {name: sorted(t for t in tokens if count[t] == 1) for name, tokens in firsts.items()}
    empty = [name for name, tokens in unshared.items() if not tokens]
    if empty:
        raise InputError(
            f"concept {empty[0]!r}: all its words {list(concepts[empty[0]])} begin like another "
            "concept's under this tokenizer; give it a word of its own"
        )
    return [unshared[name] for name in concepts]
