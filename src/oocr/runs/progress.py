"""Progress reports: bars on a terminal, lines in a log file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich import progress as bars
from rich.console import Console
from rich.markup import escape

EVERY = 60.0
"""Most seconds between two lines of a log file."""


class ProgressReport:
    """Progress of a run; this base class reports nothing. Use it as a context."""

    def stage(self, name: str, total: int) -> None:
        """A stage with this number of steps begins."""

    def advance(self, what: str = "") -> None:
        """A step is finished; `what`: its name."""

    def note(self, text: str) -> None:
        """A remark."""

    def close(self) -> None:
        """The last stage is over."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ProgressBars(ProgressReport):
    """A bar per stage on a terminal."""

    def __init__(self, console: Console) -> None:
        self.bars = bars.Progress(
            bars.TextColumn("  {task.description:<34}"),
            bars.BarColumn(bar_width=24),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TimeRemainingColumn(elapsed_when_finished=False),
            bars.TextColumn("[dim]{task.fields[what]}", style="dim"),
            console=console,
        )
        self.current: bars.TaskID | None = None

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def stage(self, name: str, total: int) -> None:
        """Begin a bar."""
        self._update(0)
        self.current = self.bars.add_task(name, total=total, what="")

    def advance(self, what: str = "") -> None:
        """Move the bar on."""
        self._update(1, what)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self.bars.console.print(f"  {text}", highlight=False, markup=False)

    def close(self) -> None:
        """Stop drawing; the bars stay."""
        self._update(0)
        self.bars.stop()

    def _update(self, steps: int, what: str = "") -> None:
        if self.current is not None:
            self.bars.update(self.current, advance=steps, what=escape(what))


class ProgressLines(ProgressReport):
    """A line when a stage begins, when it ends, and every `interval` seconds."""

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        clock: Callable[[], float] = time.monotonic,
        interval: float = EVERY,
    ) -> None:
        self._write, self._clock, self._interval = write, clock, interval
        self._name, self._total, self._done, self._what = "", 0, 0, ""
        self._began = self._latest = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def stage(self, name: str, total: int) -> None:
        """End the previous stage, if it had any step, and begin another."""
        with self._lock:
            self._end_stage()
            self._name, self._total, self._done, self._what = name, total, 0, ""
            self._began = self._clock()
            if total:
                self._print(f"{name}: 0 of {total}")

    def advance(self, what: str = "") -> None:
        """Count a step."""
        with self._lock:
            self._done, self._what = self._done + 1, what
        self.tick()

    def note(self, text: str) -> None:
        """Print a line."""
        with self._lock:
            self._print(text)

    def tick(self) -> None:
        """Print the stage's progress, if the last line is `interval` seconds old."""
        with self._lock:
            now, done, total = self._clock(), self._done, self._total
            if done < total and now - self._latest >= self._interval:
                spent = now - self._began
                left = f", about {duration(spent / done * (total - done))} left" if done else ""
                what = f"; latest: {self._what}" if self._what else ""
                self._print(
                    f"{self._name}: {done} of {total}, {duration(spent)} so far{left}{what}"
                )

    def close(self) -> None:
        """End the last stage, and stop the timer."""
        self._ended.set()
        with self._lock:
            self._end_stage()

    def _end_stage(self) -> None:
        if self._total:
            spent = duration(self._clock() - self._began)
            self._print(f"{self._name}: {self._done} of {self._total} in {spent}")
        self._total = 0

    def _print(self, text: str) -> None:
        self._latest = self._clock()
        self._write(f"  {text}")

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self._interval)):
            self.tick()


def progress_on(console: Console) -> ProgressBars | ProgressLines:
    """Bars on a terminal, lines anywhere else."""
    if console.is_terminal:
        return ProgressBars(console)

    def write(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        console.file.flush()

    return ProgressLines(write)


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "12 min", "3 h 20 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def timed(stages: dict[str, float], name: str) -> Iterator[None]:
    """Add the time spent inside to `stages[name]`."""
    began = time.perf_counter()
    try:
        yield
    finally:
        stages[name] = stages.get(name, 0.0) + time.perf_counter() - began
