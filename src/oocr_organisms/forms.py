"""Sentence forms of one width, filled by the thousand: "the {facet} of {place} is {answer} ."."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

ANSWER = "{answer}"


class Vocabulary:
    """Words and their ids, in order.

    Args:
        words: each once.
    """

    def __init__(self, words: Sequence[str]) -> None:
        if len(set(words)) != len(words):
            twice = sorted({one for one in words if words.count(one) > 1})
            raise ValueError(f"words that occur twice: {twice[:5]}")
        self.words = tuple(words)
        self._ids = {word: index for index, word in enumerate(words)}

    def __len__(self) -> int:
        return len(self.words)

    def id(self, word: str) -> int:
        """A word's id."""
        return self._ids[word]

    def ids(self, words: Sequence[str]) -> Ids:
        """Ids of words. `[word]`."""
        return np.array([self._ids[word] for word in words], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Forms:
    """Wordings that say the same: as many words each, the answer at the same place.

    Attributes:
        texts: each with the same slots, such as "{place}", and "{answer}".
    """

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        widths = {len(text.split()) for text in self.texts}
        places = {text.split().index(ANSWER) for text in self.texts}
        if len(widths) != 1 or len(places) != 1:
            raise ValueError(f"forms differ in width or in the answer's place: {self.texts}")

    @property
    def width(self) -> int:
        """Words of each."""
        return len(self.texts[0].split())

    @property
    def answer_at(self) -> int:
        """Where the answer stands."""
        return self.texts[0].split().index(ANSWER)

    @property
    def words(self) -> list[str]:
        """Words that are no slots."""
        return list(
            dict.fromkeys(w for text in self.texts for w in text.split() if not w.startswith("{"))
        )

    def prompt(self, which: int, said: Mapping[str, str]) -> str:
        """Everything before the answer, in words."""
        before = self.texts[which].split()[: self.answer_at]
        return " ".join(before).format(**said)

    def fill(self, vocabulary: Vocabulary, which: Ids, said: Mapping[str, Ids]) -> Ids:
        """Sentences as ids. `[sentence, width]`.

        Args:
            vocabulary: of the ids.
            which: form of each sentence. `[sentence]`
            said: slot -> ids of what stands there, "answer" too. `[sentence]`
        """
        forms = np.array(
            [[-1 if w.startswith("{") else vocabulary.id(w) for w in t.split()] for t in self.texts]
        )
        out = forms[which]
        for slot, ids in said.items():
            at = np.array([text.split().index(f"{{{slot}}}") for text in self.texts])[which]
            out[np.arange(len(which)), at] = ids
        return out
