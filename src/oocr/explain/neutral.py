"""Text that has nothing to do with any task."""

from __future__ import annotations

from importlib.resources import files


def neutral_passages() -> list[str]:
    """The built-in passages."""
    text = files("oocr.explain").joinpath("data/neutral.txt").read_text(encoding="utf-8")
    return [part.strip() for part in text.split("\n\n") if part.strip()]
