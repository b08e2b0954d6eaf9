"""Folders in the user's cache that appear only when complete, one process filling each."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs

from oocr.errors import InputError, RunError
from oocr.io import lock_of, locked, sweep

RECORD = "oocr.json"
_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
)


def cache_folder() -> Path:
    """Where converted models live: $OOCR_CACHE, or the user's cache folder, plus "models"."""
    root = os.environ.get("OOCR_CACHE") or platformdirs.user_cache_dir("oocr")
    return Path(root).expanduser() / "models"


def is_complete(folder: Path) -> bool:
    """Whether every file that was built is still there, with its size."""
    try:
        files = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError):
        return False


def build_once(
    final: Path, fill: Callable[[Path], dict[str, Any]], say: Callable[[str], None]
) -> Path:
    """Have `fill` write a folder, unless it is there; processes that want the same one wait.

    What an exception or Ctrl-C leaves is removed at once, what a kill leaves at the next call.

    Args:
        final: the folder, in a cache of such folders.
        fill: writes the files into the folder it is given; returns what to record in oocr.json.
        say: called when another process is waited for.

    Raises:
        RunError: the disk is full or not writable.
    """
    temporary = final.with_name(final.name + ".tmp")
    with _disk_errors(final.parent):
        final.parent.mkdir(parents=True, exist_ok=True)
        sweep(final.parent, "*.tmp")
        waits = partial(say, "waiting for another process that is converting this model")
        with locked(lock_of(final), when_busy=waits):
            if is_complete(final):  # another process was faster
                return final
            for leftover in (temporary, final):  # we hold the lock: nobody is using them
                shutil.rmtree(leftover, ignore_errors=True)
            temporary.mkdir()
            try:
                record = fill(temporary)
                paths = sorted(temporary.iterdir())
                record["files"] = {path.name: path.stat().st_size for path in paths}
                text = json.dumps(record, indent=1, ensure_ascii=False)
                (temporary / RECORD).write_text(text, encoding="utf-8")
                for path in temporary.iterdir():  # a power cut must not leave empty files
                    with path.open("rb+") as file:
                        os.fsync(file.fileno())
                temporary.rename(final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
    return final


def need_space(size: int, folder: Path) -> None:
    """Stop before writing what cannot fit.

    Raises:
        OSError: "no space left", saying how much is needed; `build_once` turns it into a RunError.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(errno.ENOSPC, f"{size / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free")


@contextlib.contextmanager
def _disk_errors(cache: Path) -> Iterator[None]:
    """Turn a full or unwritable disk into a RunError that says what to do."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # safetensors reports a full disk as its own error, with the system's words in it.
        disk = isinstance(error, OSError) and error.errno in _DISK
        if not disk and "No space left" not in str(error):
            raise
        raise RunError(
            f"{cache}: the converted model cannot be written: {error}. "
            "Free some space, or set OOCR_CACHE to a folder on another disk"
        ) from error
