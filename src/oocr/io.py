"""Atomic writes; results that are computed once and kept under a key; locks of folders."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import platformdirs
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from oocr.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

RecordT = TypeVar("RecordT", bound=BaseModel)

RESULTS_VERSION = "8"
"""Bump when a change of the code changes kept numbers: all results are then computed again."""

KEY = "key"
"""File in a kept folder with the key: the hash of what its content depends on."""

DISK_RESERVE = 2**30
"""Bytes of the disk that caches leave free."""


class Record(BaseModel):
    """Base of records written as JSON: frozen, unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def cache_folder() -> Path:
    """$OOCR_CACHE, or the folder `oocr` in the user's cache."""
    return Path(os.environ.get("OOCR_CACHE") or platformdirs.user_cache_dir("oocr")).expanduser()


def command_line(words: Sequence[str | os.PathLike[str]]) -> str:
    """The words as a command that can be pasted into a shell."""
    texts = [os.fspath(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


def temporary_prefix(path: Path) -> str:
    """The beginning of the names of temporary files beside `path`; short enough for a file name."""
    return f".{path.name[:40]}."


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a temporary file in the same folder with `write`, sync it, and rename it to `path`.

    Raises:
        RunError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(path))
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


def write_new(path: Path, content: bytes = b"") -> bool:
    """Create a small file if it does not exist; whether this process created it.

    Creation is atomic, also on shared storage. For a moment a reader may see an empty file.

    Raises:
        RunError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(handle, content)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
    return True


def write_json(path: Path, value: Any) -> Path:
    """Write JSON atomically; NaN is refused."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write a safetensors file atomically."""
    from safetensors.torch import save_file

    return write_atomic(path, lambda part: save_file(dict(tensors), part, metadata=dict(metadata)))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder; it is renamed to `path` if the block succeeds, else removed."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=temporary_prefix(path)))
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
    """Fill a folder with `make`, unless it exists with this key (see `key_of`).

    The folder appears complete or not at all. A folder with another key is removed first. If
    another process has just written it with this key, that folder stays.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    if not is_kept(folder, key):
        if folder.is_dir():
            shutil.rmtree(folder)
        try:
            with new_folder(folder) as part:
                make(part)
                (part / KEY).write_text(key, encoding="utf-8")
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not is_kept(folder, key):
                raise
    return folder


def is_kept(folder: Path, key: str) -> bool:
    """Whether the folder exists with this key, so that `keep` would not fill it."""
    try:
        return (folder / KEY).read_text(encoding="utf-8", errors="replace") == key
    except OSError:
        return False


def keep_record(path: Path, key: str, kind: type[RecordT], make: Callable[[], RecordT]) -> RecordT:
    """The record in a JSON file; it is made and written if the file has no record with this key.

    An unreadable file, or one of another kind, counts as missing. `kind` has a field `key`, which
    `make` sets.

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
    """The lock of a folder; the system releases it when the process that holds it dies.

    The lock file is in `.locks` next to the folder; `x.tmp` has the lock of `x`.
    """
    locks = folder.parent / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    # Any thread may release it, for example the one that collects garbage.
    return FileLock(locks / f"{folder.name.removesuffix('.tmp')}.lock", thread_local=False)


@contextmanager
def locked(lock: FileLock, *, when_busy: Callable[[], object]) -> Iterator[None]:
    """Hold a lock. If another process holds it, call `when_busy` (which may raise), then wait."""
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
    """Remove folders in `root` whose lock nobody holds: their process was killed."""
    with suppress(OSError):
        for folder in [path for path in root.glob(pattern) if path.is_dir()]:
            with suppress(Timeout, OSError), lock_of(folder).acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove temporary files of `write_atomic` and `new_folder` after a process was killed."""
    for path in folder.glob(".*.*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn errors of the disk (full, not writable, unreachable) into a `RunError`."""
    try:
        yield
    except Exception as error:
        code = _error_code(error)
        stays = f"what was written stays in {path.parent}"
        if code in (errno.ENOSPC, errno.EDQUOT):
            again = "make room, and give the same command again"
            raise DiskError(
                f"the disk is full: {path} was not written; {stays}; {again}"
            ) from error
        if code in _UNREACHABLE:
            raise DiskError(
                f"{path} cannot be reached: {os.strerror(code)}; {stays}; when the storage is "
                "back, give the same command again"
            ) from error
        if code in _UNWRITABLE:
            raise DiskError(f"{path} cannot be written: {os.strerror(code)}; {stays}") from error
        raise


class DiskError(RunError):
    """An error of the disk; an outer `disk_errors` replaces it by one with its own path."""


_UNWRITABLE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EFBIG, errno.EIO),
    errno.ENOTDIR,
}

_UNREACHABLE = {
    *(errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN),
    errno.ENETDOWN,
}
"""Errors of network file systems when the storage is unreachable."""


def _error_code(error: BaseException | None) -> int | None:
    """The system's error number; safetensors and polars (Rust) have it only in their message."""
    if isinstance(error, DiskError):
        return _error_code(error.__cause__)
    if isinstance(error, OSError):
        return error.errno
    match = re.search(r"\(os error (\d+)\)", str(error))
    return int(match[1]) if match else None
