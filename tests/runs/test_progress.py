"""What a person sees who waits: lines in a log file, at least one a minute."""

from __future__ import annotations

import io
from itertools import pairwise

from rich.console import Console

from oocr.runs.progress import ProgressBars, ProgressLines, duration, progress_on


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_per_stage_and_one_a_minute_with_the_time_left() -> None:
    clock, lines = Clock(), list[str]()
    report = ProgressLines(lines.append, clock=clock)
    report.stage("training arms", 4)
    report.tick()
    assert lines == ["  training arms: 0 of 4"]
    clock.now += 60
    report.tick()
    assert lines[1:] == ["  training arms: 0 of 4, 60 s so far"]
    clock.now += 30
    report.advance("vector at block 2, Japan")
    assert len(lines) == 2, "the latest line is half a minute old"
    for _ in range(60):  # nothing ends for a minute
        clock.now += 1
        report.tick()
    assert lines[2:] == [
        "  training arms: 1 of 4, 2 min so far, about 6 min left; latest: vector at block 2, Japan"
    ]
    for _ in range(3):
        report.advance()
    report.note("2 workers instead of 4")
    report.stage("examples", 0)
    report.stage("judging and writing", 1)
    clock.now += 5
    report.advance()
    report.close()
    assert lines[3:] == [
        "  2 workers instead of 4",
        "  training arms: 4 of 4 in 2 min",
        "  judging and writing: 0 of 1",
        "  judging and writing: 1 of 1 in 5 s",
    ]


def test_in_an_hour_of_work_no_minute_is_silent() -> None:
    clock, times = Clock(), list[float]()
    report = ProgressLines(lambda _: times.append(clock.now), clock=clock)
    report.stage("training arms", 30)
    for second in range(3600):
        clock.now += 1
        report.tick()
        if second % 127 == 0:
            report.advance(f"arm {second}")
    assert max(b - a for a, b in pairwise(times)) <= 60


def test_bars_on_a_terminal_and_lines_anywhere_else() -> None:
    assert isinstance(progress_on(Console(force_terminal=True)), ProgressBars)
    file = io.StringIO()
    with progress_on(Console(file=file, width=40)) as report:
        assert isinstance(report, ProgressLines)
        report.stage("base and random directions", 2)
        report.advance("a label that is longer than the forty columns of this file")
        report.advance()
    assert file.getvalue().splitlines() == [
        "  base and random directions: 0 of 2",
        "  base and random directions: 2 of 2 in 0 s",
    ]


def test_durations_in_words() -> None:
    words = [duration(seconds) for seconds in (0.4, 99, 100, 3540, 12000)]
    assert words == ["0 s", "99 s", "2 min", "59 min", "3 h 20 min"]
