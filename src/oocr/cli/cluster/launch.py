"""Starting processes that share a command's work: on Slurm, on Ray, by a script for sbatch."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from oocr.cli.cluster.on_ray import run_on_ray
from oocr.cli.cluster.shared_work import SharedWork, Waiting
from oocr.cli.cluster.slurm import run_on_slurm, write_script
from oocr.cli.options import Engine
from oocr.errors import InputError
from oocr.work.slurm import SlurmRequest


def launch(engine: Engine, work: SharedWork[Any]) -> None:
    """Start the processes of an engine, wait for them, and print the result.

    With `sbatch` only the script that starts them is written.

    Raises:
        InputError: two engines are named, or the engine is not installed, or has, or is asked for,
            too little for a process.
        RunError: every process failed.
    """
    if engine.ray is not None and (engine.slurm is not None or engine.sbatch is not None):
        raise InputError("--ray: with --slurm or --sbatch; allowed: one of them")
    request = SlurmRequest.of(engine.slurm or "")
    if 0 < request.gpus < work.gpus:
        raise InputError(
            f"--slurm: gpu:{request.gpus}; allowed: gpu:{work.gpus} or more (--gpus-per-worker)"
        )
    if engine.sbatch is not None:
        write_script(request, work, engine.sbatch)
        return
    work.place.check()
    waiting = Waiting(work, Console())
    if engine.ray is not None:
        given = run_on_ray(engine.ray, waiting)
    else:
        given = run_on_slurm(request, waiting)
    work.show(given)
