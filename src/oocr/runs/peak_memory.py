"""Peak memory of this process and its workers together, sampled."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

EVERY = 1.0
"""Seconds between samples."""


class PeakMemory:
    """Watches from a thread while the block runs; `gib` is the highest sum of resident memory.

    Pages that processes share are counted in each, so the true peak is at most this.
    """

    def __init__(self) -> None:
        self.gib = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self.sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def sample(self) -> float:
        """Look once; returns the highest so far."""
        me = psutil.Process()
        total = 0
        for process in (me, *me.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.Error:  # it has just ended
                continue
        self.gib = max(self.gib, total / 2**30)
        return self.gib

    def _watch(self) -> None:
        while not self._done.wait(EVERY):
            self.sample()
