"""How long work tells the one who waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Told of stages, steps within them, and remarks."""

    def stage(self, name: str, total: int) -> None:
        """A stage of so many steps begins."""

    def advance(self, what: str = "") -> None:
        """One step is done; `what` is being done next."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class SilentProgress:
    """Says nothing."""

    def stage(self, name: str, total: int) -> None:
        """Nothing."""

    def advance(self, what: str = "") -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@contextmanager
def timed(stages: dict[str, float], name: str) -> Iterator[None]:
    """Add the time spent inside to `stages[name]`."""
    import time

    began = time.perf_counter()
    try:
        yield
    finally:
        stages[name] = stages.get(name, 0.0) + time.perf_counter() - began
