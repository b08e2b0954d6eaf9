"""Can a reader tell from the vector alone which concept was trained? A blinded multiple choice.

Each concept is a list of words (a country's name, its language, its currency); a direction's score
for it is the mean over its words of the word's first token's score (`oocr.explain.lens`). The
reader, who sees the scores only, names the concept with the highest one. Words that two concepts
share tell nothing and are left out. Beside it: the same reader on random directions, because some
words score high whatever is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from oocr.errors import InputError
from oocr.explain.lens import Reading, scores_of
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector, random_vector

Concepts = Mapping[str, Sequence[str]]
Scores = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class ConceptReading:
    """How well one direction tells its concept.

    Attributes:
        concept: the trained one.
        named: the one that the reader names.
        rank: how many concepts score at least as high as the trained one (0: it is named).
        concepts: how many there are to choose from; chance is one over it.
        score: the trained concept's, less the mean of the others', in standard deviations of what
            random directions give.
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

    Each concept's score is first put beside what random directions give it (mean and spread), so
    that a concept of frequent words has no head start.

    Args:
        model: whose vocabulary.
        vector: one direction.
        concept: the trained concept, one of `concepts`.
        concepts: concept -> its words, as they stand in a text (with their space before).
        reading: how the direction is read.
        randoms: random directions of the same norm.

    Raises:
        InputError: the concept is not there, fewer than two concepts, or one without words of its
            own.
    """
    tokens = own_tokens(model, concept, concepts)
    drawn = beside_random(vector, randoms)
    return told_of(concept, list(concepts), _scores(model, drawn, tokens, reading))


def beside_random(vector: Vector, randoms: int) -> Float[Tensor, "direction d_model"]:
    """A direction, and so many random ones of its norm after it."""
    drawn = [random_vector(vector, vector.norm, seed).direction for seed in range(randoms)]
    return torch.stack([vector.direction, *drawn])


def told_of(concept: str, names: Sequence[str], scores: Scores) -> ConceptReading:
    """What the reader makes of scores.

    Args:
        concept: the trained one.
        names: all concepts.
        scores: [direction, concept], the direction asked about first, random ones after it.
    """
    own, null = scores[0], scores[1:]
    centre, spread = null.mean(axis=0), null.std(axis=0) + 1e-9
    own, null = (own - centre) / spread, (null - centre) / spread
    place = names.index(concept)
    others = np.delete(own, place)
    return ConceptReading(
        concept=concept,
        named=names[int(own.argmax())],
        rank=int((others >= own[place]).sum()),
        concepts=len(names),
        score=float(own[place] - others.mean()),
        random_rank=float((null >= null[:, [place]]).sum(axis=1).mean() - 1),
    )


def own_tokens(model: LanguageModel, concept: str, concepts: Concepts) -> list[list[int]]:
    """The first tokens of each concept's words that no other concept has.

    Raises:
        InputError: the concept is not there, fewer than two concepts, or one without words of its
            own.
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
    own = {name: sorted(t for t in tokens if shared[t] == 1) for name, tokens in firsts.items()}
    empty = [name for name, tokens in own.items() if not tokens]
    if empty:
        raise InputError(
            f"concept {empty[0]!r}: all its words {list(concepts[empty[0]])} begin like another "
            "concept's under this tokenizer; give it a word of its own"
        )
    return [own[name] for name in concepts]


def _scores(
    model: LanguageModel,
    directions: Float[Tensor, "direction d_model"],
    tokens: Sequence[Sequence[int]],
    reading: Reading,
) -> Scores:
    """[direction, concept], directions in small groups: a vocabulary of scores each."""
    out = []
    for some in torch.split(directions, 16):
        scores = scores_of(model, some, reading)
        out.append(torch.stack([scores[:, list(own)].mean(dim=1) for own in tokens], dim=1))
    return torch.cat(out).double().numpy()
