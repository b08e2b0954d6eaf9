"""Checks, before work begins, that a result can be written to a path and destroys nothing."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from oocr.errors import InputError
from oocr.io import temporary_prefix

LONGEST_NAME = 255
"""Longest file name of common file systems, in bytes."""

PAGE_BYTES = 16_000_000
"""Free bytes that a page and some tensors need."""


def check_output(
    path: Path,
    *,
    option: str = "--out",
    folder: bool = False,
    inputs: Iterable[str | os.PathLike[str]] = (),
    needs: int = PAGE_BYTES,
) -> None:
    """Refuse a path that cannot be written, or where something would be lost.

    Args:
        path: a new file or folder.
        option: the option with which the user gave the path, for messages.
        folder: whether it is a folder, which may exist.
        inputs: files and folders that are read; the path must not be one of them.
        needs: bytes that will be written.

    Raises:
        InputError: the path is a URL, an input, or exists; it cannot be written (a parent is a
            file or read-only, a name is too long); or too little space is free.
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
        handle, probe = tempfile.mkstemp(dir=parent, prefix=temporary_prefix(path))
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
"""s3://bucket/runs, also with the slashes merged by `Path`; a drive has only one letter."""


def address_of(place: str | Path) -> str | None:
    """The URL that a text or path holds (s3://bucket/runs), or None."""
    match = _ADDRESS.match(str(place))
    return f"{match[1]}://{match[2]}" if match else None


def _is_same(path: Path, other: Path) -> bool:
    """Whether two paths are the same file, links resolved."""
    try:
        return path.samefile(other)
    except (OSError, ValueError):  # one does not exist, or is no path
        return False


def folder_bytes(folder: Path) -> int:
    """Total size of all files in a folder, in bytes; 0 if it does not exist."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_replaced(path: Path, what: str, is_ours: Callable[[Path], bool]) -> None:
    """Refuse to overwrite a file of another kind; InputError unless it is missing or `what`."""
    try:
        replaceable = not path.exists() or is_ours(path)
    except InputError:
        replaceable = False
    if not replaceable:
        raise InputError(f"{path}: is there already and is not {what}; name another place")
