"""A run's folder: its name, its lock, its number of threads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock

from oocr.errors import RunError
from oocr.io import disk_errors, locked, write_text
from oocr.runs.config import RunConfig


def run_folder(config: RunConfig, out: Path) -> Path:
    """The folder of a run: its name and a hash of its configuration without `workers`."""
    text = json.dumps({**config.model_dump(mode="json"), "workers": None}, sort_keys=True)
    return out / f"{config.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a run's folder while one process works on it.

    Raises:
        RunError: another process is at work on it.
    """

    def busy() -> None:
        raise RunError(f"another process is at work on {folder}")

    with ExitStack() as stack:
        with disk_errors(folder / ".lock"):
            stack.enter_context(locked(FileLock(folder / ".lock"), when_busy=busy))
        yield


def same_threads(folder: Path, threads: int) -> int:
    """The number of threads that the run began with (its numbers depend on it), else `threads`."""
    path = folder / "threads"
    try:
        return max(1, int(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        write_text(path, f"{threads}\n")
        return threads
