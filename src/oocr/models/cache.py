"""Folders in the user's cache that appear only when complete, one process filling each."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from oocr.errors import InputError, RunError

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
        return all((folder / one).stat().st_size == size for one, size in files.items())
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
        say: told when another process is being waited for.

    Raises:
        RunError: the disk is full or not writable.
    """
    temporary = final.with_name(final.name + ".tmp")
    with _disk_errors(final.parent):
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final.parent)
        with _wait(final, say):
            if is_complete(final):  # another process was faster
                return final
            for leftover in (temporary, final):  # we hold the lock: nobody is using them
                shutil.rmtree(leftover, ignore_errors=True)
            temporary.mkdir()
            try:
                record = fill(temporary)
                record["files"] = {
                    one.name: one.stat().st_size for one in sorted(temporary.iterdir())
                }
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


def _lock(final: Path) -> FileLock:
    locks = final.parent / ".locks"
    locks.mkdir(exist_ok=True)
    return FileLock(locks / f"{final.name}.lock")  # the system frees it when its holder dies


@contextlib.contextmanager
def _wait(final: Path, say: Callable[[str], None]) -> Iterator[None]:
    lock = _lock(final)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("waiting for another process that is converting this model")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sweep(cache: Path) -> None:
    """Remove temporary folders that nobody holds the lock of: their process was killed."""
    for leftover in cache.glob("*.tmp"):
        with contextlib.suppress(Timeout), _lock(leftover.with_suffix("")).acquire(timeout=0):
            shutil.rmtree(leftover, ignore_errors=True)


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
