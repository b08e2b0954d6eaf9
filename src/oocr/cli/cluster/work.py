"""`oocr work`: do a run beside any number of processes that do so; `oocr run` by an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from oocr.cli.cluster.shared_work import SharedWork
from oocr.cli.options import Engine, Overrides, shared_words
from oocr.cli.run import configs_of, print_verdicts, run_source
from oocr.errors import InputError
from oocr.leases import LEASE
from oocr.runs.config import RunConfig
from oocr.runs.estimates.memory_estimate import memory_estimate, outline_for
from oocr.runs.folder import run_folder
from oocr.runs.read_config import config_path
from oocr.runs.resolve import resolve, source_for


def work_source(
    source: str, overrides: Overrides, *, out: Path, quick: bool, lease: float, command: str
) -> list[Path]:
    """Do what nobody is at work on, in the runs of a built-in name, a YAML file or a run's folder.

    It ends when they are finished, by whomever.

    InputError: options would make another run of the one whose folder is named.
    """
    folder = Path(source)
    if (folder / "config.yaml").is_file():
        source, out, quick = str(folder / "config.yaml"), folder.parent, False
        (config,) = configs_of(source, overrides, quick=False)
        if (name := run_folder(config, out).name) != folder.resolve().name:
            raise InputError(
                f"{folder}: with this name and these options it would be another run ({name}); "
                "allowed: the folder as it was named, and --workers, --devices, --gpus-per-worker"
            )
    return run_source(source, overrides, out=out, quick=quick, command=command, lease=lease)


def work_of_runs(
    source: str,
    overrides: Overrides,
    engine: Engine,
    *,
    out: Path,
    quick: bool,
    command: str,
    words: Sequence[str],
) -> SharedWork[list[Path]]:
    """The runs of a built-in name or a YAML file, for processes of an engine.

    `words` are those behind the verb.
    """
    out, most = out.resolve(), overrides.workers
    source, _ = source_for(source, overrides.model)
    if engine.ray is not None:  # which places each process by itself
        overrides = replace(overrides, workers=1)
    configs = configs_of(source, overrides, quick=quick)
    return SharedWork(
        out,
        shared_words(["work"], words, out),
        partial(
            work_source,
            source,
            overrides,
            out=out,
            quick=quick,
            lease=LEASE,
            command=command,
        ),
        lambda folders: print_verdicts(Console(), folders, source),
        partial(most_memory, [(config, config_path(source).parent) for config in configs]),
        gpus=max(config.gpus_per_worker for config in configs),
        most=most,
        runs=[config.name for config in configs],
    )


HERE: dict[str, Any] = {"gpus_per_worker": 1, "device": "cpu"}
"""Of a configuration: its shape is read on this machine, which need not have what a node has."""


def most_memory(runs: Sequence[tuple[RunConfig, Path]]) -> int:
    """Bytes that a process of the largest of these runs needs; paths start from a folder each."""
    most = 0
    for config, base in runs:
        run = resolve(config.model_copy(update={"devices": None}), base)
        needs = memory_estimate(run, outline_for(run.config.model_copy(update=HERE)))
        most = max(most, needs.total(1, 0))
    return most
