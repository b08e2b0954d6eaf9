"""`python -m benchmarks.many_workers [GPU memory]` prints the table of docs/many-machines.md.

The paper's runs, predicted, on 1 to 512 GPUs: run after run, and all runs at the same time.
"""

from __future__ import annotations

import sys

from oocr.runs.read_config import PAPER, config_path, load_configs
from oocr.runs.time_estimate import Gpu, gpu_of, prediction
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


def main(memory: str = "80GB") -> None:
    """Print the curves."""
    gpu = gpu_of(memory)
    runs, start = planned(PAPER, gpu)
    print("| GPUs | one run after another, h | at work | all at once, h | at work | recording |")
    print("|---|---|---|---|---|---|")
    for workers in WORKERS:
        turns, together = (how(runs, workers, start) for how in (one_after_another, at_once))
        cells = [str(workers)]
        for made in (turns, together):
            cells += [f"{made.seconds / 3600:.1f}", f"{made.efficiency:.0%}"]
        share = together.recordings / (together.workers * together.seconds)
        print(f"| {' | '.join([*cells, f'{share:.1%}'])} |", flush=True)
    most = at_once(runs, WORKERS[-1], start)
    print(f"\n{WORKERS[-1]} workers, all at once: {most.limit()}.")
    jobs = sum(len(stage) for run in runs for stage in run)
    print(f"{jobs} jobs; a worker starts in {start:.0f} s, assumed.")


if __name__ == "__main__":
    main(*sys.argv[1:2])
