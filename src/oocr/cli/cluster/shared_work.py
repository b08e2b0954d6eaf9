"""Work of a command that any number of processes share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import Console

from oocr.cli.cluster.place import SharedPlace
from oocr.cli.cluster.status import lines_of_shared
from oocr.cli.run import print_plain
from oocr.errors import InputError, RunError
from oocr.runs.progress import EVERY

T = TypeVar("T")

POLL = 2.0
"""Seconds between checks of the processes."""


@dataclass(frozen=True)
class SharedWork(Generic[T]):
    """Work that processes share: each takes jobs that no other process has taken, to the end.

    Attributes:
        place: where they share it; its folder has a full path.
        words: the command of a process, after `oocr`.
        do: the same as a function, which is sent to a process; returns the result of all work.
        show: prints what `do` returned.
        memory: bytes that a process needs at most; computed only when needed.
        gpus: GPUs per process, where there are any.
        most: the largest number of processes; None: as many as there is room for.
        runs: the names of runs that are part of it.
    """

    place: SharedPlace
    words: Sequence[str]
    do: Callable[[], T]
    show: Callable[[T], object]
    memory: Callable[[], int]
    gpus: int = 1
    most: int | None = None
    runs: Sequence[str] = ()

    @property
    def logs(self) -> Path:
        """The folder of an engine's own files, which its machines share."""
        return Path("slurm").resolve() if self.place.url else self.place.folder / "slurm"


@dataclass
class Waiting:
    """Prints the progress of the work from time to time, while its processes run."""

    work: SharedWork[Any]
    console: Console
    latest: float = field(default_factory=time.monotonic)

    def tick(self) -> None:
        """To be called often."""
        if time.monotonic() - self.latest >= EVERY:
            self.latest = time.monotonic()
            with suppress(InputError, RunError, OSError):  # the store is away: the work goes on
                for line in lines_of_shared(self.work.runs, self.work.place.store):
                    print_plain(self.console, line)
