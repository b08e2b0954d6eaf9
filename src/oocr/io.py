"""Writing files so that a reader never sees half of one; computing a result once, under a key."""

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

RESULTS_VERSION = "8"
"""Bump when a change of the code alters any number that is kept: all kept results are redone."""

KEY = "key"
"""File of a kept folder that says what the folder's content depends on."""

LONGEST_NAME = 255
"""Bytes of a file's name that common file systems take."""

ROOM = 16_000_000
"""Bytes that must be free where a page and some tensors are written."""

LEFT_FREE = 2**30
"""Bytes of the disk that the cache never fills."""


class Record(BaseModel):
    """Base of what is written as JSON: unknown keys are refused, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def cache_folder() -> Path:
    """$OOCR_CACHE, or oocr's folder in the user's cache."""
    return Path(os.environ.get("OOCR_CACHE") or platformdirs.user_cache_dir("oocr")).expanduser()


def check_output(
    path: Path,
    *,
    option: str = "--out",
    folder: bool = False,
    inputs: Iterable[str | os.PathLike[str]] = (),
    needs: int = ROOM,
) -> None:
    """Refuse a place where nothing can be written, or where something would be lost, before work.

    Args:
        path: a new file or folder.
        option: where the user named it.
        folder: whether it is a folder that may be there already.
        inputs: files and folders that are read, in any spelling.
        needs: bytes that will be written.

    Raises:
        InputError: an address of a store of objects, an input, a file or folder that is there
            already, no folder to write into (a file in its place, read-only, a name that is too
            long), or too little room.
    """
    if url := address_of(path):
        raise InputError(
            f"{option} {url}: an address; allowed: a folder (of several machines: on a file system "
            "that they share, such as NFS); runs at an address are done by `oocr work`, also by "
            "`oocr run` with --ray, --slurm or --sbatch"
        )
    where = f"{option} {path}"
    for part in path.parts:
        if len(os.fsencode(part)) > LONGEST_NAME:
            size = len(os.fsencode(part))
            raise InputError(
                f"{where}: a name of {size} bytes; allowed: {LONGEST_NAME} bytes for each name"
            )
    for name in inputs:
        if _is_same(path, Path(name).expanduser()):
            raise InputError(f"{where}: this is what is read ({name}); name another place")
    if os.path.lexists(path) and not (folder and path.is_dir()):
        what = "a folder" if path.is_dir() else "a file"
        if path.is_symlink() and not path.exists():
            what = f"a link to {path.readlink()}, which is not there"
        raise InputError(f"{where}: is there already ({what}); remove it or name another place")
    parent = path if path.is_dir() else path.absolute().parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"{where}: cannot be written: {parent} is a file, not a folder")
    try:
        handle, probe = tempfile.mkstemp(dir=parent, prefix=_part_of(path))
        os.close(handle)
        Path(probe).unlink()
        free = shutil.disk_usage(parent).free
    except OSError as error:
        raise InputError(f"{where}: cannot be written: {error.strerror or error}") from error
    if free < needs:
        raise InputError(
            f"{where}: too little room: about {needs / 1e6:,.0f} MB are needed, "
            f"{free / 1e6:,.0f} MB are free there"
        )


_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):/+(.*)")
"""s3://bucket/runs, as a path has it; a drive has one letter."""


def address_of(place: str | Path) -> str | None:
    """The address of a store of objects that is named, also one that became a path."""
    match = _ADDRESS.match(str(place))
    return f"{match[1]}://{match[2]}" if match else None


def _is_same(path: Path, other: Path) -> bool:
    """Whether two paths lead to one file, through whatever links and spellings."""
    try:
        return path.samefile(other)
    except (OSError, ValueError):  # one is not there, or no path at all
        return False


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder; 0 where it is not there."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def command_line(words: Sequence[str | os.PathLike[str]]) -> str:
    """A command that can be pasted into a shell, whatever is in its words."""
    texts = [os.fspath(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


def _part_of(path: Path) -> str:
    """The start of a temporary name beside `path`, of no more bytes than a name may have."""
    return f".{path.name[:40]}."


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file in the same folder, sync it, then rename it to `path`.

    Raises:
        RunError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_part_of(path))
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
    """Write a small file of which only one process at a time can be the author; whether it was us.

    Creation is atomic, also on storage that machines share. A reader may see it empty for a moment.

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


def check_replaced(path: Path, what: str, is_ours: Callable[[Path], bool]) -> None:
    """Refuse to write over a file of another kind: InputError, unless it is not there or `what`."""
    try:
        replaceable = not path.exists() or is_ours(path)
    except InputError:
        replaceable = False
    if not replaceable:
        raise InputError(f"{path}: is there already and is not {what}; name another place")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write a safetensors file atomically."""
    from safetensors.torch import save_file

    return write_atomic(path, lambda part: save_file(dict(tensors), part, metadata=dict(metadata)))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, and vanishes otherwise."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=_part_of(path)))
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

    The folder appears whole or not at all. One with another key is removed first; where another
    process has just written it with this key, that one stays.

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
            return begins_as_lfs_pointer(file.read(60))
    except OSError:
        return False


def begins_as_lfs_pointer(data: bytes) -> bool:
    """Whether these are the first bytes of a Git LFS pointer."""
    return bool(_LFS.match(data))


def refuse_lfs_pointer(path: Path, data: bytes | None = None) -> None:
    """Raise an InputError, with the way to get the file, if it is a Git LFS pointer.

    `data`: what it holds, if that was read.
    """
    if is_lfs_pointer(path) if data is None else begins_as_lfs_pointer(data):
        raise InputError(
            f"{path}: a Git LFS pointer, not the file itself, which was not downloaded; "
            "get it with: git lfs pull (in its folder; of Hugging Face: hf download)"
        )


_LFS = re.compile(rb"version https://(git-lfs|hawser)\.github\.com/spec/v\d")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "disk full" and "not writable" into a `RunError` that says what stays."""
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
    """Caused by an error of the disk; a place around it names itself instead."""


_UNWRITABLE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EFBIG, errno.EIO),
    errno.ENOTDIR,
}

_UNREACHABLE = {
    *(errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN),
    errno.ENETDOWN,
}
"""What network file systems give where the store is away."""


def _error_code(error: BaseException | None) -> int | None:
    """The system's error number; safetensors and polars (Rust) only put it into their text."""
    if isinstance(error, DiskError):
        return _error_code(error.__cause__)
    if isinstance(error, OSError):
        return error.errno
    match = re.search(r"\(os error (\d+)\)", str(error))
    return int(match[1]) if match else None
