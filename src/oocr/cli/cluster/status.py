"""`oocr status`: how far a run is, who is at work on what, what failed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console

from oocr.cli.run import print_plain
from oocr.io import command_line
from oocr.leases import holder_of, is_gone
from oocr.runs.progress import duration
from oocr.stores import Store, store_of
from oocr.words import counted
from oocr.work.status import InWork, RunStatus, StageStatus, status_of

_HASH = "?" * 8
"""The end of a run's folder: `countries-layers-…` is not a run of the name countries."""


def print_status(place: str) -> RunStatus:
    """Print how far a run is, by its folder or its address."""
    console, status = Console(), status_of(store_of(place))
    for line in status_lines(status):
        print_plain(console, line)
    return status


def status_lines(status: RunStatus) -> list[str]:
    """The status in lines."""
    ended = "finished" if status.finished else "not finished"
    made = f"; made with {status.made_with}" if status.made_with else ""
    lines = [f"{status.run}: {ended}{made}"]
    for stage in status.stages:
        lines += _stage_lines(stage)
    if status.parts:
        parts = ", ".join(f"{name} {count}" for name, count in sorted(status.parts.items()))
        lines.append(f"  finished parts: {parts} (`oocr run` says how many there will be)")
    if status.finished:
        lines.append(f"  report: {status.run}/report.html")
    elif status.stages and not any(stage.in_work for stage in status.stages):
        words = command_line(["oocr", "work", str(status.run)])
        lines.append(f"  nobody is at work on it; it goes on with: {words}")
    lines += [f"  log: {path}" for path in status.logs]
    return lines


def lines_of_shared(names: Sequence[str], out: Store) -> list[str]:
    """How far what processes share is: its runs of these names, and what is no run."""
    lines: list[str] = []
    for path in (path for name in names for path in out.find(f"{name}-{_HASH}/config.yaml")):
        folder = path.rpartition("/")[0]
        going = [s for s in status_of(out.below(folder)).stages if s.done < s.jobs]
        lines += [f"{folder}{stage_line(stage)}" for stage in going[:1]]
    for path in out.find(".work/**/*.claim"):
        with suppress(OSError):
            if (holder := holder_of(out.read(path))) and not is_gone(holder):
                lines.append(f"  {holder.label}: {holder.host} (process {holder.pid})")
    return lines


def stage_line(stage: StageStatus) -> str:
    """How far a stage is."""
    words = [f"  {stage.name:<20}{stage.done} of {stage.jobs}"]
    if stage.in_work:
        words.append(f"{len(stage.in_work)} in work")
    if stage.failures:
        words.append(f"{len(stage.failures)} failed")
    if stage.left is not None and stage.done < stage.jobs:
        words.append(f"at most about {duration(stage.left)} left with {_hands(stage)}")
    return ", ".join(words)


def _stage_lines(stage: StageStatus) -> list[str]:
    lines = [stage_line(stage)]
    for job in stage.in_work:
        where = f"{job.holder.host} (process {job.holder.pid}), for {duration(job.seconds)}"
        where += f"; no sign of life for {duration(job.silent)}: will be done by another" * job.gone
        lines.append(f"    {job.label}: {where}")
    for failure in stage.failures:
        where = f"{failure.host} (process {failure.pid}), {failure.when}"
        lines.append(f"    failed: {failure.label}: {failure.error}; {where}")
    return lines


def _hands(stage: StageStatus) -> str:
    def alive(job: InWork) -> bool:
        return not job.gone

    return counted(sum(map(alive, stage.in_work)), "job") + " at a time"
