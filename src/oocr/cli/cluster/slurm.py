"""`oocr run … --slurm`: `oocr work` on a Slurm cluster, waited for; or its script written."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from oocr.cli.cluster.status import print_stages
from oocr.cli.cluster.work import work_source
from oocr.cli.options import Overrides
from oocr.cli.run import configs_of, print_plain, print_verdicts
from oocr.errors import InputError, RunError
from oocr.io import check_output, write_text
from oocr.runs.progress import EVERY
from oocr.runs.resolve import source_for
from oocr.work.slurm import NOTICE, SlurmRequest, script

POLL = 2.0
"""Seconds between looks at the jobs."""


@dataclass(frozen=True)
class WorkJob:
    """A process of `oocr work`, as submitit sends it; it goes on after it was put back."""

    source: str
    overrides: Overrides
    out: Path
    quick: bool
    command: str

    def __call__(self) -> list[Path]:
        """Do what nobody is at work on; the runs' folders."""
        return work_source(
            self.source,
            self.overrides,
            out=self.out,
            quick=self.quick,
            lease=60.0,
            command=self.command,
        )

    def checkpoint(self) -> Any:
        """What is to be done after the time is up, or the node was wanted by others."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def write_script(request: SlurmRequest, words: Sequence[str], file: Path, out: Path) -> None:
    """Write the script for sbatch; `words` are those of the command without its Slurm options."""
    check_output(file, option="--sbatch")
    (out / "slurm").mkdir(parents=True, exist_ok=True)
    write_text(file, script(request, words, (out / "slurm").resolve()))
    print_plain(Console(), f"written: {file}; submit it with: sbatch {file}")


def run_on_slurm(
    request: SlurmRequest,
    source: str,
    overrides: Overrides,
    *,
    out: Path,
    quick: bool,
    command: str,
) -> list[Path]:
    """Have a run done by processes on a cluster, wait for them, and print the verdicts.

    Raises:
        InputError: submitit, Slurm, or the run's settings are not what they should be.
        RunError: no process came to the end.
    """
    try:
        import submitit
    except ImportError as error:
        raise InputError(
            "--slurm: needs submitit; pip install 'oocr[slurm]' (or write a script: --sbatch FILE)"
        ) from error
    logging.getLogger("submitit").setLevel(logging.ERROR)  # a cluster without accounting
    console, out = Console(), out.resolve()
    check_output(out, folder=True)
    configs = configs_of(source_for(source, overrides.model)[0], overrides, quick=quick)
    folder = out / "slurm"
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
    job = WorkJob(source, overrides, out, quick, command)
    with executor.batch():
        jobs = [executor.submit(job) for _ in range(request.workers)]
    ids = ", ".join(str(each.job_id) for each in jobs)
    print_plain(console, f"submitted {len(jobs)} processes ({ids}); logs in {folder}")
    print_plain(console, "Ctrl-C ends the waiting, not the processes; the same command goes on")
    _wait(console, jobs, [config.name for config in configs], out)
    ended = [each for each in jobs if each.exception() is None]
    if not ended:
        first = jobs[0]
        lines = (first.stderr() or "").strip().splitlines()
        raise RunError(
            f"none of {len(jobs)} processes came to the end: {lines[-1] if lines else 'no log'}; "
            f"what was computed stays; logs in {folder}"
        )
    folders: list[Path] = ended[0].result()
    print_verdicts(console, folders, source)
    return folders


def _wait(console: Console, jobs: Sequence[Any], names: Sequence[str], out: Path) -> None:
    """Until all jobs have ended, or the first that came to the end; with a line now and then."""
    latest = time.monotonic()
    while not all(job.done() for job in jobs):
        if any(job.done() and job.exception() is None for job in jobs):
            return
        time.sleep(POLL)
        if time.monotonic() - latest < EVERY:
            continue
        latest = time.monotonic()
        print_stages(console, names, out)
