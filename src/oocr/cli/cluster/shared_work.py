"""Work of a command that any number of processes do together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import Console

from oocr.cli.cluster.status import lines_of_shared
from oocr.cli.run import print_plain
from oocr.runs.progress import EVERY

T = TypeVar("T")

POLL = 2.0
"""Seconds between looks at the processes."""


@dataclass(frozen=True)
class SharedWork(Generic[T]):
    """Work that processes share: each does what nobody is at work on, until all of it is done.

    Attributes:
        out: the folder that they share, with a full path.
        words: of a process, as a command after `oocr`.
        do: the same as a function, which is sent there; gives what all of it gives.
        show: prints what `do` gave.
        memory: bytes that a process needs at most; asked for where that matters.
        gpus: of a process, where there are any.
        most: processes; None: as many as there is room for.
        runs: the names of runs that are part of it.
    """

    out: Path
    words: Sequence[str]
    do: Callable[[], T]
    show: Callable[[T], object]
    memory: Callable[[], int]
    gpus: int = 1
    most: int | None = None
    runs: Sequence[str] = ()


@dataclass
class Waiting:
    """Prints how far a work is, now and then, while it is waited for."""

    work: SharedWork[Any]
    console: Console
    latest: float = field(default_factory=time.monotonic)

    def tick(self) -> None:
        """To be called often."""
        if time.monotonic() - self.latest >= EVERY:
            self.latest = time.monotonic()
            for line in lines_of_shared(self.work.runs, self.work.out):
                print_plain(self.console, line)
