"""An engine starts processes that share a work: Slurm, Ray, or a script for sbatch."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from oocr.cli.cluster.on_ray import run_on_ray
from oocr.cli.cluster.shared_work import SharedWork, Waiting
from oocr.cli.cluster.slurm import run_on_slurm, write_script
from oocr.cli.options import Engine
from oocr.errors import InputError
from oocr.io import check_output
from oocr.work.slurm import SlurmRequest


def launch(engine: Engine, work: SharedWork[Any]) -> None:
    """Have a work done by an engine's processes, wait for them, and print what came of it.

    With `sbatch` only the script that starts them is written.

    Raises:
        InputError: two engines, one that is not here, or has no room for a process.
        RunError: no process came to the end.
    """
    if engine.ray is not None and (engine.slurm is not None or engine.sbatch is not None):
        raise InputError("--ray: with --slurm or --sbatch; allowed: one of them")
    if engine.sbatch is not None:
        write_script(SlurmRequest.of(engine.slurm or ""), work, engine.sbatch)
        return
    check_output(work.out, folder=True)
    waiting = Waiting(work, Console())
    if engine.ray is not None:
        given = run_on_ray(engine.ray, waiting)
    else:
        given = run_on_slurm(SlurmRequest.of(engine.slurm or ""), waiting)
    work.show(given)
