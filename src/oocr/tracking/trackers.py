"""Write runs into a tracker's folder by accelerate's tracker classes; nothing goes to a server.

Every export has a folder of its own, so that exports are never mixed. The tracker's own command
uploads a folder (`wandb sync`, `trackio sync`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from oocr.errors import InputError
from oocr.io import command_line, key_of, new_folder
from oocr.runs.folder import RunFolder
from oocr.tracking.tracked_runs import TrackedRun, tracked_runs

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

_SET_ASIDE = ("MLFLOW_", "TRACKIO_", "WANDB_")
"""Environment variables that begin so would send runs elsewhere, or all into one."""

_NO_REPORTS = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}
"""Trackers send no usage reports."""

_DATABASE = "mlflow.db"


@dataclass(frozen=True, slots=True)
class Store:
    """A tracker's folder while it is written, where it will be, and the project in it."""

    folder: Path
    out: Path
    project: str


@dataclass(frozen=True, slots=True)
class Tracker:
    """How a tracker of accelerate is opened for one run, and the command that shows its folder.

    `variables`: environment variables while it writes; `flush`: before a run ends; `close`: at the
    end.
    """

    open: Callable[[Store, str], GeneralTracker]
    use: Callable[[Store], str]
    variables: Callable[[Store], Mapping[str, str]] = lambda _: {}
    flush: Callable[[], object] = lambda: None
    close: Callable[[], object] = lambda: None


def write_tracked(run: RunFolder, tracker: Tracker, out: Path) -> str:
    """Write a run for a tracker into a new folder; returns the command that shows it."""
    name = run.folder.resolve().name
    project = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:100] or "run"
    with new_folder(out) as folder:
        store = Store(folder.resolve(), out.resolve(), project)
        variables = {**_NO_REPORTS, **tracker.variables(store)}
        with environment(variables), redirect_stdout(StringIO()):
            try:
                log_runs(tracked_runs(run), lambda name: tracker.open(store, name), tracker.flush)
            finally:
                tracker.close()
    return tracker.use(Store(out, out, project))


def log_runs(
    runs: Iterable[TrackedRun],
    open_run: Callable[[str], GeneralTracker],
    flush: Callable[[], object] = lambda: None,
) -> None:
    """Log runs one after the other, each with its own tracker."""
    from accelerate import PartialState

    PartialState(cpu=True)  # trackers ask it which process they are in
    for run in runs:
        tracker = open_run(run.name)
        tracker.start()
        try:
            tracker.store_init_configuration(dict(run.settings))
            for step, numbers in run.points.items():
                tracker.log(dict(numbers), step=step)
            flush()
        finally:
            tracker.finish()


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables and remove the trackers' own; both are restored afterwards."""
    aside = [name for name in os.environ if name.startswith(_SET_ASIDE)]
    before = {name: os.environ.get(name) for name in (*variables, *aside)}
    for name in aside:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _tensorboard(store: Store, name: str) -> GeneralTracker:
    from accelerate.tracking import TensorBoardTracker

    return TensorBoardTracker(name, store.folder)


def _wandb(store: Store, name: str) -> GeneralTracker:
    import wandb
    from accelerate.tracking import WandBTracker

    # A later sync reveals nothing about this machine.
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    # By its id a run that is synced twice is one run there.
    id = key_of(store.project, name)
    return WandBTracker(
        store.project, name=name, id=id, dir=store.folder, mode="offline", settings=settings
    )


def _close_wandb() -> None:
    import wandb

    wandb.teardown()


def _trackio(store: Store, name: str) -> GeneralTracker:
    from accelerate.tracking import TrackioTracker
    from trackio import utils

    if store.folder != utils.TRACKIO_DIR:
        raise InputError(
            f"--to trackio: trackio was imported before, and writes to {utils.TRACKIO_DIR} in this "
            "process; export in a process of its own"
        )
    return TrackioTracker(
        store.project, name=name, embed=False, auto_log_cpu=False, auto_log_gpu=False
    )


def _close_trackio() -> None:
    import trackio
    from trackio import context_vars

    if context_vars.current_run.get() is not None:
        trackio.finish()  # or it does so when the process ends


def _mlflow(store: Store, name: str) -> GeneralTracker:
    import mlflow
    from accelerate.tracking import MLflowTracker

    mlflow.set_tracking_uri(f"sqlite:///{store.folder / _DATABASE}")
    artifacts = (store.out / "artifacts").as_uri()
    tags = {"mlflow.source.name": "oocr export", "mlflow.source.git.repoURL": ""}
    return MLflowTracker(store.project, logging_dir=artifacts, run_name=name, tags=tags)


def _flush_mlflow() -> None:
    import mlflow

    mlflow.flush_async_logging()


def _use_wandb(store: Store) -> str:
    runs = command_line([store.out / "wandb" / "offline-run-"])
    return f"wandb sync {runs}*"


def _use_trackio(store: Store) -> str:
    place = f"TRACKIO_DIR={store.out.resolve()}"
    return command_line(["env", place, "trackio", "show", "--project", store.project])


def _use_mlflow(store: Store) -> str:
    place = f"sqlite:///{store.out / _DATABASE}"
    shown = command_line(["mlflow", "ui", "--backend-store-uri", place])
    return f"{shown} (its page needs the whole package, mlflow, in an environment of its own)"


TRACKERS = {
    "tensorboard": Tracker(
        _tensorboard, lambda store: command_line(["tensorboard", "--logdir", store.out])
    ),
    "wandb": Tracker(_wandb, _use_wandb, close=_close_wandb),
    "trackio": Tracker(
        _trackio,
        _use_trackio,
        variables=lambda store: {"TRACKIO_DIR": str(store.folder)},
        close=_close_trackio,
    ),
    "mlflow": Tracker(
        _mlflow,
        _use_mlflow,
        variables=lambda _: {
            "MLFLOW_ENABLE_ASYNC_LOGGING": "true",  # many steps in one transaction
            "MLFLOW_LOGGING_LEVEL": "WARNING",
        },
        flush=_flush_mlflow,
    ),
}
"""By the names that accelerate gives them."""
