"""Progress of a process, on its console and in a file of the run's folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from oocr.runs.progress import ProgressLines, ProgressReport

LOGS = "logs"


class BothReports(ProgressReport):
    """Reports progress in two places."""

    def __init__(self, first: ProgressReport, second: ProgressReport) -> None:
        self.both = first, second

    def stage(self, name: str, total: int) -> None:
        """A stage begins."""
        for report in self.both:
            report.stage(name, total)

    def advance(self, what: str = "") -> None:
        """A step is done."""
        for report in self.both:
            report.advance(what)

    def note(self, text: str) -> None:
        """A remark."""
        for report in self.both:
            report.note(text)


def log_name() -> str:
    """This process's log file in a run's folder."""
    return f"{LOGS}/{socket.gethostname()}-{os.getpid()}.log"


@contextmanager
def logged(progress: ProgressReport, folder: Path) -> Iterator[ProgressReport]:
    """Progress that is also written to this process's log file in a run's folder.

    A log that cannot be written (a full disk) does not keep the work from being done.
    """
    path = folder / log_name()

    def write(text: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{now}{text}\n")

    with ProgressLines(write) as lines:
        yield BothReports(progress, lines)
