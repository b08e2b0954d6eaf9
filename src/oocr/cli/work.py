"""`oocr work`: do a run beside any number of processes that do the same."""

from __future__ import annotations

from pathlib import Path

from oocr.cli.options import Overrides
from oocr.cli.run import run_source


def work_source(
    source: str, overrides: Overrides, *, out: Path, quick: bool, lease: float, command: str
) -> list[Path]:
    """Do what nobody is at work on, in the runs of a built-in name, a YAML file or a run's folder.

    It ends when they are finished, by whomever.
    """
    folder = Path(source)
    if (folder / "config.yaml").is_file():
        source, out, quick = str(folder / "config.yaml"), folder.parent, False
    return run_source(source, overrides, out=out, quick=quick, command=command, lease=lease)
