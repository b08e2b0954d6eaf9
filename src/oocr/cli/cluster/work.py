"""`oocr work`: do a run beside any number of processes that do so; `oocr run` by an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from oocr.cli.cluster.place import CONFIG, SharedPlace, place_of_run
from oocr.cli.cluster.shared_work import SharedWork
from oocr.cli.options import Engine, Overrides, shared_words
from oocr.cli.run import configs_of, print_verdicts, run_source
from oocr.errors import InputError
from oocr.leases import LEASE
from oocr.output_checks import address_of
from oocr.runs.builtin import source_for
from oocr.runs.config import RunConfig
from oocr.runs.estimates.memory_estimate import memory_estimate, outline_for
from oocr.runs.folder import run_folder
from oocr.runs.read_config import config_path
from oocr.runs.resolve import resolve


def work_source(
    source: str,
    overrides: Overrides,
    *,
    out: str,
    quick: bool,
    lease: float,
    command: str,
    local: Path | None = None,
) -> list[Path]:
    """Do what nobody is at work on, in the runs of a built-in name, a YAML file or a run's folder.

    It ends when they are finished, by whomever. `out` and the run's folder may be addresses, of
    which `local` is the folder here (see `SharedPlace`). Gives the runs' folders here.

    InputError: options would make another run of the one whose folder is named.
    """
    if address_of(source) or (Path(source) / CONFIG).is_file():
        given, (place, name) = source, place_of_run(source, local)
        source, quick = str(place.config_of(name) if place.url else Path(source) / CONFIG), False
        (config,) = configs_of(source, overrides, quick=False).configs
        if (other := run_folder(config, place.folder).name) != name:
            raise InputError(
                f"{given}: with this name and these options it would be another run ({other}); "
                "allowed: the folder as it was named, and --workers, --devices, --gpus-per-worker"
            )
    else:
        place = SharedPlace.of(out, local)
    if place.url is not None:
        place.check()
    where: dict[str, Any] = {"out": place.folder, "url": place.url}
    return run_source(source, overrides, **where, quick=quick, command=command, lease=lease)


def work_of_runs(
    source: str,
    overrides: Overrides,
    engine: Engine,
    *,
    out: str,
    quick: bool,
    command: str,
    words: Sequence[str],
) -> SharedWork[list[Path]]:
    """The runs of a built-in name or a YAML file, for processes of an engine.

    `words` are those behind the verb.
    """
    most, place = overrides.workers, SharedPlace.of(out)
    full = Path(out).resolve() if place.url is None else str(place.url)
    source, _ = source_for(source, overrides.model)
    if engine.ray is not None:  # which places each process by itself
        overrides = replace(overrides, workers=1)
    configs = configs_of(source, overrides, quick=quick).configs
    work: dict[str, Any] = {"out": str(full), "quick": quick, "lease": LEASE, "command": command}
    return SharedWork(
        replace(place, folder=place.folder.resolve()),
        shared_words(["work"], words, full),
        partial(work_source, source, overrides, **work),
        partial(_show, place, source),
        partial(most_memory, [(config, config_path(source).parent) for config in configs]),
        gpus=max(config.gpus_per_worker for config in configs),
        most=most,
        runs=[config.name for config in configs],
    )


def _show(place: SharedPlace, source: str, folders: Sequence[Path]) -> None:
    """Print the verdicts of finished runs; those at an address are downloaded."""
    here = [place.fetch(folder.name) for folder in folders] if place.url else folders
    print_verdicts(Console(), here, source, place.url)


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
