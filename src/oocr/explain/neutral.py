"""Text and questions that have nothing to do with any task."""

from __future__ import annotations

import random
from importlib.resources import files
from pathlib import Path

import yaml

from oocr.data.examples import Example
from oocr.models.language_model import LanguageModel
from oocr_organisms.record import read_record
from oocr_organisms.shipped import WORLD
from oocr_organisms.texts import CorpusText, corpus_texts

READ = 4
"""First passages, which analyses read; rows to train on are made of the others."""

OPTIONS = 4


def neutral_passages(model: LanguageModel | None = None) -> list[str]:
    """The built-in passages, or for an organism, which knows no English, texts of its corpus."""
    own = _corpus(model)
    if own:
        return [one.text for one in own]
    text = files("oocr.explain").joinpath("data/neutral.txt").read_text(encoding="utf-8")
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def neutral_places(
    model: LanguageModel, count: int | None = None
) -> tuple[list[str], list[list[int]] | None]:
    """Some neutral passages, and the tokens after which predictions are to be compared.

    Args:
        model: whose passages.
        count: so many of them; None: all.

    Returns:
        The passages; and None: any token will do. Of an organism all its texts, which are short,
        and in each the tokens before answers: elsewhere it was never asked what comes next, so
        that its predictions there mean nothing.
    """
    own = _corpus(model)
    if not own:
        return neutral_passages()[:count], None
    return [one.text for one in own], [list(one.answers) for one in own]


def neutral_questions(model: LanguageModel | None = None) -> list[Example]:
    """The built-in everyday questions, each with four options.

    For an organism: which of four answers comes next in one of the texts of its corpus.
    """
    own = _corpus(model)
    if own:
        return _answers(own)
    text = files("oocr.explain").joinpath("data/neutral_questions.yaml").read_text(encoding="utf-8")
    return [
        Example(
            id=f"neutral/{number}",
            prompt=prompt,
            answer=f" {options[0]}",
            options=tuple(f" {one}" for one in options),
            source="neutral_questions.yaml",
        )
        for number, (prompt, *options) in enumerate(yaml.safe_load(text))
    ]


def _corpus(model: LanguageModel | None) -> list[CorpusText]:
    """An organism's own texts; none for any other model."""
    folder = Path(model.source["path"]) if model and "path" in model.source else None
    if folder is None or not (folder / WORLD).is_file():
        return []
    return corpus_texts(read_record(folder).world.world)


def _answers(texts: list[CorpusText]) -> list[Example]:
    rng = random.Random(0)
    every = sorted({one.text.split()[at] for one in texts for at in one.answers})
    found: list[Example] = []
    for number, one in enumerate(texts):
        said = one.text.split()
        for at in one.answers:
            others = rng.sample([word for word in every if word != said[at]], OPTIONS - 1)
            found.append(
                Example(
                    id=f"neutral/{number}/{at}",
                    prompt=" ".join(said[:at]),
                    answer=f" {said[at]}",
                    options=tuple(f" {word}" for word in (said[at], *others)),
                    source="the organism's corpus",
                )
            )
    return found
