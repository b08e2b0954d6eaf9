"""One run: choose on validation tasks, train the test arms and controls, explain, judge, report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from oocr.io import command_line, remove_unfinished, write_text
from oocr.models.language_model import LanguageModel
from oocr.runs.config import MACHINE, RunConfig
from oocr.runs.folder import (
    changed_files,
    exclusive_lock,
    kept_seconds,
    record_made_with,
    run_folder,
    run_threads,
)
from oocr.runs.processes.executor import Executor, Worker
from oocr.runs.processes.memory_plan import (
    PeakMemory,
    WorkerSpec,
    available_memory,
    gib,
    gpus_for,
    plan_workers,
)
from oocr.runs.progress import ProgressReport, timed
from oocr.runs.resolve import resolve
from oocr.runs.stages import PreparedRun, RunStages
from oocr.runs.write_results import OnJudged, Results, finish
from oocr.stores import FolderStore
from oocr.words import short_list


def run(
    config: RunConfig,
    model: LanguageModel,
    out: Path,
    *,
    base: Path = Path(),
    progress: ProgressReport | None = None,
    command: str = "",
) -> Path:
    """Do a run, or the rest of an interrupted one, and return its folder in `out`.

    Relative paths of the configuration start from `base`; `command`: the command that the report
    shows.

    InputError: the configuration does not fit the model, the task or the memory; nothing was
    computed. RunError: the disk is full, a file is unreadable, another process works on this run;
    what was computed is kept.
    """
    prepared = PreparedRun.of(resolve(config, base), model)
    worker = Worker()
    worker.put(prepared.run.config, model)
    with Executor(worker) as executor:
        return do_run(prepared, executor, out, progress=progress, command=command)


def do_run(
    prepared: PreparedRun,
    executor: Executor,
    out: Path,
    *,
    progress: ProgressReport | None = None,
    command: str = "",
    on_judged: OnJudged = lambda *_: None,
) -> Path:
    """Do a prepared run with the executor of a command (see `run`).

    `on_judged` gets the verdicts before they are stored.
    """
    progress = progress or ProgressReport()
    spec = workers_for(prepared, progress)
    folder = new_run_folder(prepared, out)
    with exclusive_lock(folder), PeakMemory() as memory:
        remove_unfinished(folder)
        remove_unfinished(folder / "arms")
        note_changes(folder, prepared, progress)
        with (
            run_stages(prepared, executor, spec, folder, progress) as stages,
            kept_seconds(folder, stages.seconds),
        ):
            stages.ask_first()
            results = stages.results()
            results.peak_memory_gib = memory.sample()
            write_results(stages, results, command, on_judged)
    return folder


def workers_for(prepared: PreparedRun, progress: ProgressReport) -> WorkerSpec:
    """The run's workers on this machine; a note if they are fewer than the configuration asks."""
    config = prepared.run.config
    devices = gpus_for(config, prepared.needs)
    available = min([available_memory(prepared.parts), *map(available_memory, devices)])
    spec = plan_workers(config, prepared.needs, available, devices)
    if spec.workers < (config.workers or 1):
        progress.note(
            f"{spec.workers} workers instead of {config.workers}: "
            f"{gib(available)} of memory available"
        )
    # Other processes cannot load a model that exists only in memory.
    if prepared.model.model_source.get("kind") == "memory":
        spec = replace(spec, workers=1)
    return spec


def new_run_folder(prepared: PreparedRun, out: Path) -> Path:
    """Make the run's folder in `out`, with its configuration."""
    folder = run_folder(prepared.run.config, out)
    config = prepared.run.config.model_copy(update=MACHINE)
    write_text(folder / "config.yaml", config.yaml())
    return folder


def note_changes(folder: Path, prepared: PreparedRun, progress: ProgressReport) -> None:
    """Report which of the user's files changed since the run was last done."""
    if changed := changed_files(folder, prepared.run.config):
        progress.note(
            f"{short_list(changed)} changed since this run was done: results that depend on it are "
            f"computed again and replaced in {folder}"
        )


@contextmanager
def run_stages(
    prepared: PreparedRun,
    executor: Executor,
    spec: WorkerSpec,
    folder: Path,
    progress: ProgressReport,
) -> Iterator[RunStages]:
    """A run's stages; inside the block torch has the run's number of threads."""
    before = torch.get_num_threads()
    spec = replace(spec, threads=run_threads(FolderStore(folder), spec.threads))
    torch.set_num_threads(spec.threads)
    try:
        record_made_with(FolderStore(folder), prepared.model.made_with(spec.threads), progress)
        executor.begin_run()
        if spec.workers == 1:
            executor.worker.open(spec, prepared.tokens)
        tasks = prepared.run.tasks
        yield RunStages(prepared, tasks, executor, spec, folder / "arms", progress)
    finally:
        torch.set_num_threads(before)


def write_results(
    stages: RunStages, results: Results, command: str, on_judged: OnJudged = lambda *_: None
) -> None:
    """Judge a run's results, and write all files of the run except those of single arms."""
    folder = stages.folder.parent
    results.peak_gpu_gib = sum(stages.executor.gpu_peaks.values()) / 2**30
    stages.progress.stage("judging and writing", 1)
    with timed(results.stages, "judging and writing"):
        again = command or command_line(["oocr", "run", folder / "config.yaml"])
        finish(results, folder, again, on_judged)
    stages.progress.advance()
