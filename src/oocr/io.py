"""Writing files so that a reader never sees half of one; computing a result once, under a key."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import platformdirs
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from oocr.errors import InputError, RunError

if TYPE_CHECKING:
    from torch import Tensor

RecordT = TypeVar("RecordT", bound=BaseModel)

RESULTS_VERSION = "7"
"""Bump when a change of the code alters any number that is kept: all kept results are redone."""

KEY = "key"
"""File of a kept folder that says what the folder's content depends on."""


class Record(BaseModel):
    """Base of what is written as JSON: unknown keys are refused, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def cache_folder() -> Path:
    """$OOCR_CACHE, or oocr's folder in the user's cache."""
    return Path(os.environ.get("OOCR_CACHE") or platformdirs.user_cache_dir("oocr")).expanduser()


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file in the same folder, sync it, then rename it to `path`.

    Raises:
        RunError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        part = Path(name)
        try:
            write(part)
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.chmod(0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text atomically."""
    return write_atomic(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> Path:
    """Write JSON atomically; NaN is refused."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write a safetensors file atomically."""
    from safetensors.torch import save_file

    return write_atomic(path, lambda part: save_file(dict(tensors), part, metadata=dict(metadata)))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, and vanishes otherwise."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield part
            part.chmod(0o755)
            part.rename(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def key_of(*parts: object) -> str:
    """Hash of what a result depends on (JSON values) and of `RESULTS_VERSION`; 16 hex digits."""
    text = json.dumps([RESULTS_VERSION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def keep(folder: Path, key: str, make: Callable[[Path], object]) -> Path:
    """Have `make` fill a folder, unless it is there with this key (see `key_of`).

    The folder appears whole or not at all. One with another key is removed first.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    if not is_kept(folder, key):
        if folder.is_dir():
            shutil.rmtree(folder)
        with new_folder(folder) as part:
            make(part)
            (part / KEY).write_text(key, encoding="utf-8")
    return folder


def is_kept(folder: Path, key: str) -> bool:
    """Whether `keep` would find this folder finished."""
    try:
        return (folder / KEY).read_text(encoding="utf-8", errors="replace") == key
    except OSError:
        return False


def keep_record(path: Path, key: str, kind: type[RecordT], make: Callable[[], RecordT]) -> RecordT:
    """A record from its JSON file, made and written if it is not there with this key.

    A file that cannot be read, or is of another kind, counts as not there. `kind` has a field
    `key`, in which `make` puts the key.

    Raises:
        RunError: the disk is full or the file cannot be written.
    """
    with suppress(OSError, ValueError):
        record = kind.model_validate_json(path.read_text(encoding="utf-8"))
        if getattr(record, "key", None) == key:
            return record
    record = make()
    write_text(path, record.model_dump_json(indent=1) + "\n")
    return record


def lock_of(folder: Path) -> FileLock:
    """The lock of a folder that one process fills; the system frees it when the holder dies.

    It lies in `.locks` beside the folder; `x.tmp` has the lock of `x`.
    """
    locks = folder.parent / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    # Any thread may release it: whichever collects garbage.
    return FileLock(locks / f"{folder.name.removesuffix('.tmp')}.lock", thread_local=False)


@contextmanager
def locked(lock: FileLock, *, when_busy: Callable[[], object]) -> Iterator[None]:
    """Hold a lock; if another process does, `when_busy` may raise, and else it is waited for."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        when_busy()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def sweep(root: Path, pattern: str = "[!.]*") -> None:
    """Remove folders in `root` that nobody holds the lock of: their process was killed."""
    with suppress(OSError):
        for folder in [path for path in root.glob(pattern) if path.is_dir()]:
            with suppress(Timeout, OSError), lock_of(folder).acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what `write_atomic` and `new_folder` leave in a folder when they are killed."""
    for path in folder.glob(".*.*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is the note that Git LFS leaves in place of one that was not downloaded."""
    try:
        with path.open("rb") as file:
            return bool(_LFS.match(file.read(60)))
    except OSError:
        return False


def refuse_lfs_pointer(path: Path) -> None:
    """Raise an InputError, with the way to get the file, if it is a Git LFS pointer."""
    if is_lfs_pointer(path):
        raise InputError(
            f"{path}: a Git LFS pointer, not the file itself, which was not downloaded; "
            "get it with: git lfs pull (in its folder; of Hugging Face: hf download)"
        )


_LFS = re.compile(rb"version https://(git-lfs|hawser)\.github\.com/spec/v\d")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "disk full" and "not writable" into a `RunError`."""
    try:
        yield
    except Exception as error:
        code = _error_code(error)
        if code in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(
                f"the disk is full: {path} was not written; what was written stays"
            ) from error
        if code in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise RunError(f"{path} cannot be written: {os.strerror(code)}") from error
        raise


def _error_code(error: Exception) -> int | None:
    """The system's error number; safetensors and polars (Rust) only put it into their text."""
    if isinstance(error, OSError):
        return error.errno
    match = re.search(r"\(os error (\d+)\)", str(error))
    return int(match[1]) if match else None
