"""`oocr export RUN`: a finished run in the format of another tool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from oocr.errors import InputError
from oocr.output_checks import check_output
from oocr.runs.folder import RunFolder


@dataclass(frozen=True, slots=True)
class RunFormat:
    """How a run is written; `write` fills a new folder and returns the command that reads it.

    `extra`: the optional dependency that it needs; of `modules` at least one must be installed.
    """

    write: Callable[[RunFolder, Path], str]
    extra: str = ""
    modules: tuple[str, ...] = ()


def export_run(folder: Path, to: str, out: Path, console: Console) -> None:
    """Write a run for another tool into a new folder, and print the command that reads it."""
    format = RUN_FORMATS[to]
    if format.modules and not any(map(find_spec, format.modules)):
        raise InputError(
            f"--to {to}: {format.modules[0]} is not installed; install it with: "
            f"pip install 'oocr[{format.extra}]'"
        )
    check_output(out, inputs=[folder])
    use = format.write(finished_run(folder), out)
    console.print(f"{escape(str(out))}\n  use: {escape(use)}")


def finished_run(folder: Path) -> RunFolder:
    """The finished run in a folder; InputError: no run, or an unfinished one."""
    if not folder.exists():
        raise InputError(f"{folder}: there is no such run")
    if not folder.is_dir():
        raise InputError(f"{folder}: this is a file; allowed: the folder of a finished run")
    run = RunFolder(folder)
    if not run.info.complete or run.rows is None:
        raise InputError(
            f"{folder}: the run is not finished; `oocr run` on its config.yaml continues it"
        )
    return run


def _lm_eval_task(run: RunFolder, out: Path) -> str:
    from oocr.cli.exports.lm_eval_task import write_lm_eval_tasks

    return write_lm_eval_tasks(run, out)


def _inspect(run: RunFolder, out: Path) -> str:
    from oocr.inspect.logs import write_logs

    return write_logs(run, out)


def _tracked(to: str, *instead: str) -> RunFormat:
    """The format of a tracker, named like its extra; `instead`: packages that also serve."""

    def write(run: RunFolder, out: Path) -> str:
        from oocr.tracking.trackers import TRACKERS, write_tracked

        return write_tracked(run, TRACKERS[to], out)

    return RunFormat(write, extra=to, modules=(to, *instead))


RUN_FORMATS = {
    "inspect": RunFormat(_inspect, extra="inspect", modules=("inspect_ai",)),
    "lm-eval-task": RunFormat(_lm_eval_task),
    "tensorboard": _tracked("tensorboard", "tensorboardX"),
    "wandb": _tracked("wandb"),
    "trackio": _tracked("trackio"),
    "mlflow": _tracked("mlflow"),
}
"""Formats for runs, by the name after `--to`."""
