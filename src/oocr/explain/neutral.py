"""Text and questions that have nothing to do with any task."""

from __future__ import annotations

import random
from importlib.resources import files
from pathlib import Path

import yaml

from oocr.data.items import Item
from oocr.models.language_model import LanguageModel
from oocr.models.shipped import WORLD
from oocr.organisms.record import read_record
from oocr.organisms.texts import corpus_texts

READ = 4
"""First passages, which analyses read; rows to train on are made of the others."""

OPTIONS = 4
EVERY = 3
"""In an organism's texts every so many words one is asked for."""


def neutral_passages(model: LanguageModel | None = None) -> list[str]:
    """The built-in passages, or for an organism, which knows no English, texts of its corpus."""
    own = _corpus(model)
    if own:
        return own
    text = files("oocr.explain").joinpath("data/neutral.txt").read_text(encoding="utf-8")
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def neutral_questions(model: LanguageModel | None = None) -> list[Item]:
    """The built-in everyday questions, each with four options.

    For an organism: which of four words of its corpus comes next in one of its texts.
    """
    own = _corpus(model)
    if own:
        return _gaps(own)
    text = files("oocr.explain").joinpath("data/neutral_questions.yaml").read_text(encoding="utf-8")
    return [
        Item(
            id=f"neutral/{number}",
            prompt=prompt,
            answer=f" {options[0]}",
            options=tuple(f" {one}" for one in options),
            source="neutral_questions.yaml",
        )
        for number, (prompt, *options) in enumerate(yaml.safe_load(text))
    ]


def _corpus(model: LanguageModel | None) -> list[str]:
    """An organism's own texts; none for any other model."""
    folder = Path(model.source["path"]) if model and "path" in model.source else None
    if folder is None or not (folder / WORLD).is_file():
        return []
    return corpus_texts(read_record(folder).world.world)


def _gaps(texts: list[str]) -> list[Item]:
    rng = random.Random(0)
    words = sorted({word for text in texts for word in text.split()})
    found: list[Item] = []
    for number, text in enumerate(texts):
        said = text.split()
        for at in range(EVERY, len(said), EVERY):
            others = rng.sample([word for word in words if word != said[at]], OPTIONS - 1)
            found.append(
                Item(
                    id=f"neutral/{number}/{at}",
                    prompt=" ".join(said[:at]),
                    answer=f" {said[at]}",
                    options=tuple(f" {one}" for one in (said[at], *others)),
                    source="the organism's corpus",
                )
            )
    return found
