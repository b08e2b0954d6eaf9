"""Text and questions that have nothing to do with any task."""

from __future__ import annotations

from importlib.resources import files

import yaml

from oocr.data.items import Item


def neutral_passages() -> list[str]:
    """The built-in passages."""
    text = files("oocr.explain").joinpath("data/neutral.txt").read_text(encoding="utf-8")
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def neutral_questions() -> list[Item]:
    """The built-in everyday questions, each with four options."""
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
