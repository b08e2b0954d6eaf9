"""The organisms' language: names, wordings, a vocabulary, and a tokenizer (one token per word).

Wordings such as "the {facet} of {place} is {answer} ." are filled in bulk as arrays of token ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from oocr.tasks.package_files import package_yaml

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Ids = NDArray[np.int64]

PAD, BOS, UNKNOWN = "<pad>", "<bos>", "<unk>"
ANSWER = "{answer}"

_ONSETS = tuple(sorted((*"bdfgklmnprstvz", "br", "dr", "gl", "st")))
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
_ENDINGS = ("", "", "l", "n", "r", "s", "th", "x")


def names(seed: int, syllables: int) -> Iterator[str]:
    """An infinite stream of different pronounceable names."""
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    while True:
        parts = [
            _ONSETS[rng.integers(len(_ONSETS))] + _VOWELS[rng.integers(len(_VOWELS))]
            for _ in range(syllables)
        ]
        name = ("".join(parts) + _ENDINGS[rng.integers(len(_ENDINGS))]).capitalize()
        if name not in seen:
            seen.add(name)
            yield name


class Vocabulary:
    """Different words; a word's id is its index."""

    def __init__(self, words: Sequence[str]) -> None:
        if len(set(words)) != len(words):
            repeated = sorted({word for word in words if words.count(word) > 1})
            raise ValueError(f"words that occur twice: {repeated[:5]}")
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
    """Wordings of one statement, with the same length, slots and position of the answer."""

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        widths = {len(text.split()) for text in self.texts}
        positions = {text.split().index(ANSWER) for text in self.texts}
        if len(widths) != 1 or len(positions) != 1:
            raise ValueError(f"forms differ in width or in the answer's place: {self.texts}")

    @property
    def width(self) -> int:
        """Number of words."""
        return len(self.texts[0].split())

    @property
    def answer_at(self) -> int:
        """Index of the answer."""
        return self.texts[0].split().index(ANSWER)

    @property
    def words(self) -> list[str]:
        """The words of all wordings, without slots."""
        all_words = (word for text in self.texts for word in text.split())
        return list(dict.fromkeys(word for word in all_words if not word.startswith("{")))

    def prompt(self, which: int, slots: Mapping[str, str]) -> str:
        """The filled wording `which`, up to the answer."""
        return " ".join(self.texts[which].split()[: self.answer_at]).format(**slots)

    def fill(self, vocabulary: Vocabulary, which: Ids, slots: Mapping[str, Ids]) -> Ids:
        """Sentences as ids `[sentence, width]`; `which` and the ids of slots: `[sentence]`."""
        words = [text.split() for text in self.texts]
        templates = np.array(
            [[-1 if w.startswith("{") else vocabulary.id(w) for w in text] for text in words]
        )
        sentences = templates[which]
        for slot, ids in slots.items():
            positions = np.array([text.index(f"{{{slot}}}") for text in words])[which]
            sentences[np.arange(len(which)), positions] = ids
        return sentences


WORLD_WORDS = package_yaml("oocr_organisms", "world.yaml")
"""The content of `world.yaml`."""


def forms(name: str) -> Forms:
    """The wordings of a statement in `world.yaml`."""
    return Forms(tuple(WORLD_WORDS["wordings"][name]))


def tokenizer_of(vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    """A tokenizer of words separated by single spaces; each text begins with <bos>.

    A prompt ends without a space and an answer begins with one (" food-3"). Spaces belong to no
    token, so decode(encode(text)) == text. Unknown words become <unk>.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: index for index, word in enumerate(vocabulary.words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
