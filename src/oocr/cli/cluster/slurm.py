"""`--slurm`: processes that share a work on a Slurm cluster, waited for; `--sbatch`: its script."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from oocr.cli.cluster.shared_work import POLL, SharedWork, Waiting
from oocr.cli.run import print_plain
from oocr.errors import InputError, RunError
from oocr.io import check_output, write_text
from oocr.work.slurm import NOTICE, SlurmRequest, script


@dataclass(frozen=True)
class SlurmJob:
    """A process's work, as submitit sends it; it goes on after it was put back."""

    do: Callable[[], Any]

    def __call__(self) -> Any:
        """Do what nobody is at work on."""
        return self.do()

    def checkpoint(self) -> Any:
        """What is to be done after the time is up, or the node was wanted by others."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def write_script(request: SlurmRequest, work: SharedWork[Any], file: Path) -> None:
    """Write the script for sbatch."""
    check_output(file, option="--sbatch")
    work.logs.mkdir(parents=True, exist_ok=True)
    write_text(file, script(request, work.words, work.logs))
    print_plain(Console(), f"written: {file}; submit it with: sbatch {file}")


def run_on_slurm(request: SlurmRequest, waiting: Waiting) -> Any:
    """Have a work done by processes on a cluster, and wait for them; gives what it gives.

    Raises:
        InputError: submitit or Slurm is not here.
        RunError: no process came to the end.
    """
    try:
        import submitit
    except ImportError as error:
        raise InputError(
            "--slurm: needs submitit; pip install 'oocr[slurm]' (or write a script: --sbatch FILE)"
        ) from error
    logging.getLogger("submitit").setLevel(logging.ERROR)  # a cluster without accounting
    console, folder = waiting.console, waiting.work.logs
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=request.cluster)
    except RuntimeError as error:
        raise InputError(f"--slurm: {error}; allowed here: cluster=local, --sbatch FILE") from error
    seconds = 60 * request.minutes
    executor.update_parameters(
        name="oocr",
        timeout_min=request.minutes,
        cpus_per_task=request.cpus,
        gpus_per_node=request.gpus,
        slurm_array_parallelism=request.workers,
        slurm_signal_delay_s=min(NOTICE, seconds // 4),
        slurm_additional_parameters={"requeue": True, **dict(request.options)},
    )
    with executor.batch():
        jobs = [executor.submit(SlurmJob(waiting.work.do)) for _ in range(request.workers)]
    ids = ", ".join(str(each.job_id) for each in jobs)
    print_plain(console, f"submitted {len(jobs)} processes ({ids}); logs in {folder}")
    print_plain(console, "Ctrl-C ends the waiting, not the processes; the same command goes on")
    while not all(job.done() for job in jobs):
        if any(job.done() and job.exception() is None for job in jobs):
            break  # one came to the end: there is nothing left
        time.sleep(POLL)
        waiting.tick()
    if ended := [each for each in jobs if each.done() and each.exception() is None]:
        return ended[0].result()
    lines = (jobs[0].stderr() or "").strip().splitlines()
    raise RunError(
        f"none of {len(jobs)} processes came to the end: {lines[-1] if lines else 'no log'}; "
        f"what was computed stays; logs in {folder}"
    )
