"""Text that has nothing to do with any task."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from oocr.models.language_model import LanguageModel
from oocr.models.shipped import WORLD
from oocr.organisms.record import read_record
from oocr.organisms.texts import corpus_texts


def neutral_passages(model: LanguageModel | None = None) -> list[str]:
    """The built-in passages, or for an organism, which knows no English, texts of its corpus."""
    folder = Path(model.source["path"]) if model and "path" in model.source else None
    if folder is not None and (folder / WORLD).is_file():
        return corpus_texts(read_record(folder).world.world)
    text = files("oocr.explain").joinpath("data/neutral.txt").read_text(encoding="utf-8")
    return [part.strip() for part in text.split("\n\n") if part.strip()]
