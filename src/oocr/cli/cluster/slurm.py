"""`--slurm`: processes that share a work on a Slurm cluster, waited for; `--sbatch`: its script."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from oocr.cli.cluster.shared_work import POLL, SharedWork, Waiting
from oocr.cli.run import print_plain
from oocr.errors import InputError, RunError
from oocr.io import command_line, disk_errors, write_text
from oocr.output_checks import check_output
from oocr.work.slurm import NOTICE, SlurmRequest, script

AGAIN = 100
"""Times that a process whose time is up is put back into the queue."""

QUEUED = 30.0
"""Seconds between looks at Slurm's queue."""


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
    """Write the script for sbatch.

    InputError: one of the places cannot be written, or processes were asked for on this machine.
    """
    if request.cluster == "local":
        raise InputError("--slurm: 'cluster=local' starts processes here; leave it out (--sbatch)")
    check_output(file, option="--sbatch")
    work.place.check()
    with disk_errors(work.logs):  # sbatch does not make it
        work.logs.mkdir(parents=True, exist_ok=True)
    write_text(file, script(request, work.words, work.logs))
    print_plain(Console(), f"written: {file}; submit it with: {command_line(['sbatch', file])}")


def run_on_slurm(request: SlurmRequest, waiting: Waiting) -> Any:
    """Have a work done by processes on a cluster, and wait for them; gives what it gives.

    Raises:
        InputError: submitit or Slurm is not here, or Slurm refuses what is asked for.
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
        executor = submitit.AutoExecutor(
            folder=folder, cluster=request.cluster, slurm_max_num_timeout=AGAIN
        )
    except RuntimeError as error:
        raise InputError(f"--slurm: {error}; allowed here: cluster=local, --sbatch FILE") from error
    seconds = 60 * request.minutes
    executor.update_parameters(
        name="oocr",
        timeout_min=request.minutes,
        cpus_per_task=request.cpus,
        gpus_per_node=request.gpus or None,
        slurm_array_parallelism=request.workers,
        slurm_signal_delay_s=min(NOTICE, seconds // 4),
        slurm_additional_parameters={
            "requeue": True,
            **{name: value or True for name, value in request.options.items()},
        },
    )
    try:
        with redirect_stderr(StringIO()), executor.batch():  # sbatch's words are in the error
            jobs = [executor.submit(SlurmJob(waiting.work.do)) for _ in range(request.workers)]
    except RuntimeError as error:
        refusal = "; ".join(str(error).strip().splitlines())
        raise InputError(f"--slurm: not submitted: {refusal}") from error
    ids = ", ".join(str(each.job_id) for each in jobs)
    print_plain(console, f"submitted {len(jobs)} processes ({ids}); logs in {folder}")
    print_plain(console, "Ctrl-C ends the waiting, not the processes; the same command continues")
    return _first_end(waiting, jobs, folder, slurm=request.cluster == "slurm")


def _first_end(waiting: Waiting, jobs: Sequence[Any], folder: Path, *, slurm: bool) -> Any:
    """What the first process that came to the end gives: then there is nothing left.

    One that was killed leaves no result. submitit would ask Slurm's accounting, which not every
    cluster has, once in ten minutes; here the queue is asked: who is not in it twice has ended.
    """
    going, problem = list(jobs), ""
    looked, missing = time.monotonic(), set[str]()
    while going:
        lost = set[str]()
        if slurm and time.monotonic() - looked >= QUEUED:
            with suppress(OSError):  # a network file system then looks for new files
                folder.chmod(folder.stat().st_mode)
            absent = {job.job_id for job in going} - queued(jobs)
            looked, lost, missing = time.monotonic(), missing & absent, absent
        for job in list(going):
            ended = job.paths.result_pickle.exists() if slurm else job.done()
            if not ended and job.job_id not in lost:
                continue
            if ended and job.exception() is None:
                return job.result()
            going.remove(job)
            lines = (job.stderr() or "").strip().splitlines()
            problem = lines[-1] if lines else "no log"
            print_plain(waiting.console, f"a process ended ({job.job_id}): {problem}")
        time.sleep(POLL if going else 0)
        waiting.tick()
    raise RunError(
        f"none of {len(jobs)} processes came to the end: {problem}; what was computed stays; logs "
        f"in {folder}"
    )


def queued(jobs: Sequence[Any]) -> set[str]:
    """The numbers of a job array's parts that wait or run; all, where Slurm does not say."""
    numbers = {str(job.job_id) for job in jobs}
    array = min(numbers).partition("_")[0]
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={array}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=QUEUED, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return numbers
    if asked.returncode and "Invalid job id" not in asked.stderr:  # said of one that is long gone
        return numbers
    return set(asked.stdout.split())
