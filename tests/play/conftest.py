from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oocr.play.sources import Playground
from tests.play.page import Client, client_of, playground_of
from tests.tiny.runs import Tiny


@pytest.fixture(scope="session")
def play(tiny: Tiny, done: Path) -> Playground:
    """The tiny model with its finished run."""
    return playground_of(tiny.model, done)


@pytest.fixture(scope="module")
def client(play: Playground) -> Iterator[Client]:
    yield from client_of(play)
