"""A folder for what memory has no room for; it is gone when its owner is, however that ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
import weakref
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock, Timeout
from torch import Tensor

from oocr.models.cache import cache_folder

LEFT_FREE = 2**30
"""Bytes of the disk that are never filled."""


def spill_folder() -> Path:
    """Where processes make their folders: in the user's cache.

    The system's own folder for temporary files is memory on many machines.
    """
    return cache_folder().parent / "spill"


def sweep(root: Path) -> None:
    """Remove folders whose process is gone: nobody holds their lock."""
    with contextlib.suppress(OSError):
        for leftover in [one for one in root.iterdir() if one.is_dir()]:
            with contextlib.suppress(Timeout, OSError), _lock(leftover).acquire(timeout=0):
                shutil.rmtree(leftover, ignore_errors=True)
                _lock_file(leftover).unlink(missing_ok=True)


class SpillFolder:
    """Tensor files in a folder of this object's own, made at the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder: Path | None = None
        self._count = 0

    def write(self, tensors: Mapping[str, Tensor]) -> Path:
        """Write tensors to a new file.

        Raises:
            OSError: no room, or not writable; nothing is left behind.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        folder = self._made()
        size = sum(one.nbytes for one in tensors.values())
        if shutil.disk_usage(folder).free - size < LEFT_FREE:
            raise OSError(f"{folder}: no room for {size} bytes")
        self._count += 1
        path = folder / f"{self._count}.safetensors"
        try:
            save_file(dict(tensors), path)
        except (OSError, SafetensorError) as error:
            path.unlink(missing_ok=True)
            raise OSError(f"{path}: {error}") from error
        return path

    def _made(self) -> Path:
        if self._folder is None:
            self.root.mkdir(parents=True, exist_ok=True)
            folder = self.root / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
            lock = _lock(folder)
            lock.acquire(timeout=0)  # before it is there, so that nobody sweeps it
            folder.mkdir()
            self._folder = folder
            weakref.finalize(self, _remove, folder, lock)  # also when the process ends
        return self._folder


def _remove(folder: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _lock_file(folder).unlink(missing_ok=True)
    lock.release()


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _lock(folder: Path) -> FileLock:
    # Freed by the system when its holder dies; whichever thread collects garbage may release it.
    return FileLock(_lock_file(folder), thread_local=False)
