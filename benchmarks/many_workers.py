"""`python -m benchmarks.many_workers [WORD …]` prints the table of docs/many-machines.md.

The paper's runs on 80 GB GPUs (those whose names hold one of the words), predicted, on 1 to 512 of
them: run after run, and all runs at the same time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from oocr.runs.estimates.time_estimate import Gpu, gpu_of, prediction
from oocr.runs.read_config import PAPER, config_path, load_configs
from oocr.work.schedule import PlannedJob, Schedule, planned_stages, schedule, start_seconds

WORKERS = (1, 8, 64, 512)


def planned(names: tuple[str, ...], gpu: Gpu) -> tuple[list[list[list[PlannedJob]]], float]:
    """Each run's stages, and the seconds in which a worker starts."""
    runs: list[list[list[PlannedJob]]] = []
    start = 0.0
    for name in names:
        for config in load_configs(name):
            plan = prediction(config, config_path(name).parent, gpu)
            runs.append(planned_stages(plan.sample, plan.gpu, plan.speed))
            start = max(start, start_seconds(plan.needs.parts["weights"]))
    return runs, start


def one_after_another(runs: list[list[list[PlannedJob]]], workers: int, start: float) -> Schedule:
    """Every worker does every run: a stage of one waits for the stage before."""
    return schedule([stage for run in runs for stage in run], workers, start)


def at_once(runs: list[list[list[PlannedJob]]], workers: int, start: float) -> Schedule:
    """Workers take jobs of all runs; all that is chosen is chosen before the rest is trained."""
    names = ("choosing", "training")
    merged = [
        [job for run in runs for stage in run for job in stage if job.stage == name]
        for name in names
    ]
    return schedule(merged, workers, start)


def rows(runs: list[list[list[PlannedJob]]], start: float) -> Iterator[str]:
    """Lines of Markdown: hours, and how much of so many workers' time one worker would need."""
    yield "| GPUs | run after run, h | efficiency | all at once, h | efficiency | recording |"
    yield "|---|---|---|---|---|---|"
    for workers in WORKERS:
        cells = [str(workers)]
        for how in (one_after_another, at_once):
            alone, made = how(runs, 1, start), how(runs, workers, start)
            share = alone.seconds / (workers * made.seconds)
            cells += [f"{made.seconds / 3600:.1f}", f"{share:.0%}"]
        cells.append(f"{made.recordings / (workers * made.seconds):.0%}")
        yield f"| {' | '.join(cells)} |"
    for workers in WORKERS[1:]:
        yield f"\n{workers} workers, all at once: {at_once(runs, workers, start).limit()}."
    yield f"\n{sum(len(stage) for run in runs for stage in run)} jobs in {len(runs)} runs."


def main(*words: str) -> None:
    """Print the curves."""
    names = [name for name in PAPER if not words or any(word in name for word in words)]
    for line in rows(*planned(tuple(names), gpu_of("80GB"))):
        print(line, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
