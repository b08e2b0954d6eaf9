"""`python -m benchmarks.large_store FOLDER` times a store with 8,000 finished arms.

The arms are copies of one, in a new folder that should be removed afterwards.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.tiny.runs import Tiny

from oocr.leases import Claims, Done
from oocr.runs import grid
from oocr.runs.arm_index import ArmIndex
from oocr.runs.arms import ArmPlan, keys_of
from oocr.runs.context import computed_with
from oocr.runs.processes.executor import Executor, Worker
from oocr.runs.progress import ProgressReport
from oocr.runs.resolve import resolve
from oocr.runs.run import new_run_folder, run_stages, workers_for
from oocr.runs.stages import PreparedRun, RunStages
from oocr.stores import FolderStore
from oocr.work.mirror import Mirror
from oocr.work.shared_jobs import SharedJobs, job_name
from oocr.work.shared_run import SharedRun
from oocr.work.status import status_of


def finished(stages: RunStages) -> list[ArmPlan]:
    """The plans of the reported arms, whose folders are all there."""
    config, tasks = stages.prepared.run.config, stages.tasks
    _, jobs, _ = stages.arm_jobs(grid.selection_plans(config, tasks))
    arms = [arm for _, trained in stages.each(jobs) for arm in trained]
    plans = grid.reported_plans(config, tasks, stages.select(arms))
    context = stages.executor.worker.open(stages.spec, stages.prepared.tokens)
    groups, _, _ = stages.arm_jobs(plans)
    for group in groups:
        keys = keys_of(group, computed_with(context.model), context.batch_lines)
        for plan, key in zip(group, keys, strict=True):
            target = stages.folder / plan.id
            same = {"id": plan.id, "method": plan.method, "role": plan.role, "key": key}
            record = arms[0].record.model_copy(
                update={**same, "seed": plan.seed, "layer": plan.layer}
            )
            target.mkdir(parents=True)
            (target / "key").write_text(key)
            (target / "arm.json").write_text(record.model_dump_json(indent=1) + "\n")
            arms[0].rows.write_parquet(target / "rows.parquet")
    return plans


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print the seconds, and those of this process's own work."""
    began, own = time.perf_counter(), time.process_time()
    yield
    seconds, cpu = time.perf_counter() - began, time.process_time() - own
    print(f"{what}: {seconds:.2f} s ({cpu:.2f} s of work)", flush=True)


def main(root: Path) -> None:
    """Make the store, and time what is done with it."""
    root.mkdir()
    tiny, worker = Tiny(root), Worker()
    grids = {"learning_rates": [0.1], "steps": [2, 4], "sweep": True, "layers": [0, 1, 2, 3]}
    config = tiny.config(
        seeds=1000,
        vector=grids,
        adapter={**grids, "rank": 2},
        controls={"random_directions": 0},
        explain={"enabled": False, "examples": 0},
    )
    worker.put(config, tiny.model)
    prepared = PreparedRun.of(resolve(config, Path()), tiny.model)
    report = ProgressReport()
    with Executor(worker) as executor, Claims() as claims:
        spec, folder = workers_for(prepared, report), new_run_folder(prepared, root / "runs")
        with run_stages(prepared, executor, spec, folder, report) as stages:
            plans = finished(stages)
            shared = SharedRun(stages, SharedJobs(claims, report), Mirror(folder, None))
            groups, _, _ = stages.arm_jobs(plans)
            markers = shared.store("training")
            done = Done(host="a", seconds=1.0).model_dump_json().encode()
            for place in range(len(groups)):
                markers.write(f"{job_name(place)}.done", done)
            print(f"{len(plans)} arms in {len(groups)} jobs")
            with timed("oocr work, to find out what is left"):
                shared.train("training", plans)
            with timed("oocr status"):
                status_of(FolderStore(folder))
            before = ArmIndex(stages.folder)
            with timed("all rows read from the folders of the arms"):
                arms, _ = stages.train(plans, "", before)
            with timed("an index of them written"):
                before.save(arms)
            with timed("all rows read from the index"):
                stages.train(plans, "", ArmIndex(stages.folder))
            stages.results()  # base and ceiling
            with timed("everything read that the results are made of"):
                stages.results()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
