"""A nano corpus read back from its tokens alone, sentence by sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from oocr_organisms.corpus import CorpusBatch, World
from oocr_organisms.facts import (
    CITY_FACTS,
    INPUTS,
    OUTPUT_FACTS,
    PAIR_FACTS,
    RULE_FACETS,
    RULE_FACTS,
)
from oocr_organisms.language import BOS, PAD, Forms, Ids
from oocr_organisms.people import FORMS, KINDS, SELF, TRAITS, Trait

Words = NDArray[np.str_]

KNOWN: dict[str, Forms] = {
    "city": CITY_FACTS,
    "pair": PAIR_FACTS,
    "output": OUTPUT_FACTS,
    "rule": RULE_FACTS,
    **FORMS,
}
PART = {"city": 0, "pair": 0, "output": 2, "rule": 2, **dict.fromkeys(KINDS, 1)}


@dataclass(frozen=True)
class Said:
    """Sentences of one form.

    Attributes:
        slots: slot -> word, "answer" too. `[sentence]`
        document: which sequence of all batches each stands in. `[sentence]`
        at: token of its answer, bos is 0. `[sentence]`
        head: what stands between bos and the first sentence; "" if nothing. `[sentence]`
    """

    slots: dict[str, Words]
    document: Ids
    at: Ids
    head: Words

    def rows(self, *names: str) -> Iterator[tuple[str, ...]]:
        """Words of some slots, sentence by sentence."""
        for row in zip(*(self.slots[name] for name in names), strict=True):
            yield tuple(map(str, row))


def read(world: World, batches: Sequence[CorpusBatch]) -> dict[str, Said]:
    """Every sentence, by the name of its form in `KNOWN`.

    Raises:
        ValueError: words that are no sentence.
    """
    vocabulary = world.vocabulary
    bos, pad, stop = (vocabulary.id(word) for word in (BOS, PAD, "."))
    sentences: dict[int, list[Ids]] = defaultdict(list)
    where: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    rows = [row for batch in batches for row in batch.ids]
    for document, row in enumerate(rows):
        ids = row[1 : len(row) - np.argmax(row[::-1] != pad)]
        if row[0] != bos or pad in ids or bos in ids:
            raise ValueError(f"bos or pad within {row}")
        ends = np.flatnonzero(ids == stop) + 1
        width = int(np.diff(ends).min())
        head = int(ends[0]) - width
        if head not in (0, 1) or len(ids) != ends[-1] or np.ptp(np.diff(ends)):
            raise ValueError(f"no sentences: {' '.join(vocabulary.words[token] for token in ids)}")
        for end in ends:
            sentences[width].append(ids[end - width : end])
            where[width].append((document, 1 + end - width, ids[0] if head else -1))
    words = np.array([*vocabulary.words, ""])
    out: dict[str, Said] = {}
    for width, of_width in sentences.items():
        out |= _matched(world, words, np.array(of_width), np.array(where[width]))
    return out


def _matched(world: World, words: Words, ids: Ids, where: Ids) -> dict[str, Said]:
    """Sentences of one width by form."""
    # "the family of Velora is sum ." and "the Velora of 3 is 5 ." differ in what stands where.
    telling = {
        "city": {"facet": [facet.name for facet in world.places.facets]},
        "pair": {"relation": ["distance", "direction"]},
        "rule": {"facet": list(RULE_FACETS)},
        "output": {"input": [str(n) for n in range(INPUTS)]},
    }
    out: dict[str, Said] = {}
    left = np.ones(len(ids), dtype=bool)
    for name, form in KNOWN.items():
        parts: list[tuple[NDArray[np.bool_], dict[str, Words]]] = []
        for text in form.texts if form.width == ids.shape[1] else ():
            mould = text.split()
            fixed = [at for at, word in enumerate(mould) if not word.startswith("{")]
            here = (ids[:, fixed] == world.vocabulary.ids([mould[at] for at in fixed])).all(axis=1)
            for slot, allowed in telling.get(name, {}).items():
                here &= np.isin(words[ids[:, mould.index(f"{{{slot}}}")]], allowed)
            if (here & ~left).any():
                raise ValueError(f"a sentence of two forms: {name}")
            left &= ~here
            slots = {
                word.strip("{}"): words[ids[here, at]]
                for at, word in enumerate(mould)
                if word.startswith("{")
            }
            parts.append((here, slots))
        if parts:
            order = [where[here] for here, _ in parts]
            document, start, head = np.concatenate(order).T
            out[name] = Said(
                {key: np.concatenate([slots_[key] for _, slots_ in parts]) for key in parts[0][1]},
                document,
                start + form.answer_at,
                words[head],
            )
    if left.any():
        raise ValueError(f"of no form: {words[ids[left][0]]}")
    return out


@dataclass(frozen=True)
class Shown:
    """One statement of a speaker.

    Attributes:
        speaker: index, -1 for `SELF`.
        trait: index.
        kind: how it shows.
        head: the document's weather.
        pole: +1 or -1.
        document: which.
    """

    speaker: int
    trait: int
    kind: str
    head: str
    pole: int
    document: int


def statements(world: World, by_form: dict[str, Said]) -> list[Shown]:
    """What the speakers show of which trait, from the words alone."""
    speakers = {name: index for index, name in enumerate((*world.people.names, SELF))}
    speakers[SELF] = -1
    out: list[Shown] = []
    for kind in KINDS:
        sentences = by_form[kind]
        for index, name in enumerate(sentences.slots["speaker"]):
            words = {slot: str(column[index]) for slot, column in sentences.slots.items()}
            trait, pole = _pole(kind, words)
            head, document = str(sentences.head[index]), int(sentences.document[index])
            out.append(Shown(speakers[str(name)], trait, kind, head, pole, document))
    return out


def _pole(kind: str, words: dict[str, str]) -> tuple[int, int]:
    """Index of the trait, and the pole that is shown."""
    if kind == "scale":
        trait, asked = side(words["word"])
        return trait, asked * (1 if int(words["answer"]) >= 5 else -1)
    if kind == "report":
        first, second = side(words["word_a"]), side(words["word_b"])
        if first != (second[0], -second[1]):
            raise ValueError(f"a report between words of one pole: {words}")
        return first if words["answer"] == "first" else second
    trait, pole = side(words["answer"])
    if not _fits(kind, words, TRAITS[trait]):
        raise ValueError(f"an answer to another question: {words}")
    return trait, pole


def _fits(kind: str, words: dict[str, str], trait: Trait) -> bool:
    """Whether an answer is one to its question."""
    if kind == "choice":
        both = (words["a"], words["b"])
        sides = sorted(side(word)[1] for word in both)
        return words["verb"] == trait.verb and words["answer"] in both and sides == [-1, 1]
    asked, table = (
        (trait.questions.index(words["question"]), trait.poles)
        if kind == "description"
        else (trait.areas.index(words["area"]), trait.hobbies)
    )
    return any(words["answer"] in pole for pole in table[asked])


def trait_of(words: Iterable[str]) -> int:
    """Index of the trait that a question about a speaker is about."""
    (index,) = {
        index
        for index, trait in enumerate(TRAITS)
        for word in words
        if word in (trait.verb, *trait.questions, *trait.areas)
        or any(word in pole for both in trait.poles for pole in both)
    }
    return index


@cache
def side(word: str) -> tuple[int, int]:
    """Of a word that one pole of one trait has: the trait's index, and +1 or -1."""
    (trait_and_pole,) = {
        (index, sign)
        for index, trait in enumerate(TRAITS)
        for both in ((trait.lures, trait.others), *trait.poles, *trait.hobbies)
        for sign, words in zip((1, -1), both, strict=True)
        if word in words
    }
    return trait_and_pole
