"""`oocr work`: do a run beside any number of processes that do the same."""

from __future__ import annotations

from pathlib import Path

from oocr.cli.options import Overrides
from oocr.cli.run import configs_of, run_source
from oocr.errors import InputError
from oocr.runs.folder import run_folder


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
