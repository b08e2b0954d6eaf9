"""Neutral passages cut short: a pretend GPU reads a hundred times slower than a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oocr.explain import neutral

CHARACTERS = 120


@pytest.fixture(scope="module", autouse=True)
def _short_passages() -> Iterator[None]:
    built_in = neutral._built_in

    def short(name: str) -> str:
        text = built_in(name)
        passages = (part.strip()[:CHARACTERS] for part in text.split("\n\n"))
        return "\n\n".join(passages) if name == "neutral.txt" else text

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neutral, "_built_in", short)
        yield
