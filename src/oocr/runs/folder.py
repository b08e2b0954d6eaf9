"""A run's folder: where it is, who may write to it, what is left there by a process that died."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from oocr.errors import RunError
from oocr.io import disk_errors, write_text
from oocr.runs.config import RunConfig


def run_folder(config: RunConfig, out: Path) -> Path:
    """Where results lie: the name, and the hash of all that the configuration says of them.

    `workers` has no part in it, so a run that was short of memory goes on with fewer.
    """
    text = json.dumps({**config.model_dump(mode="json"), "workers": None}, sort_keys=True)
    return out / f"{config.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Refuse to work on a run that another process is at work on."""
    lock = FileLock(folder / ".lock")
    try:
        with disk_errors(folder / ".lock"):
            lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(f"another process is at work on {folder}") from error
    try:
        yield
    finally:
        lock.release()


def clear_leftovers(folder: Path) -> None:
    """Remove what a process that was killed had not finished writing."""
    for parent in (folder, folder / "arms"):
        for path in parent.glob(".*.*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def same_threads(folder: Path, threads: int) -> int:
    """As many threads as when the run began: numbers, and so finished arms, depend on it."""
    path = folder / "threads"
    try:
        return max(1, int(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        write_text(path, f"{threads}\n")
        return threads
