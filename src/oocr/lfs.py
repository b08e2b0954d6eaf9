"""Recognizes Git LFS pointers: small files in place of files that were not downloaded."""

from __future__ import annotations

import re
from pathlib import Path

from oocr.errors import InputError

_LFS = re.compile(rb"version https://(git-lfs|hawser)\.github\.com/spec/v\d")


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is a Git LFS pointer."""
    try:
        with path.open("rb") as file:
            return begins_as_lfs_pointer(file.read(60))
    except OSError:
        return False


def begins_as_lfs_pointer(data: bytes) -> bool:
    """Whether these are the first bytes of a Git LFS pointer."""
    return bool(_LFS.match(data))


def refuse_lfs_pointer(path: Path, data: bytes | None = None) -> None:
    """InputError, with the command that gets the file, if it is a Git LFS pointer.

    `data`: its content, if it has been read.
    """
    if is_lfs_pointer(path) if data is None else begins_as_lfs_pointer(data):
        raise InputError(
            f"{path}: a Git LFS pointer, not the file itself, which was not downloaded; "
            "get it with: git lfs pull (in its folder; of Hugging Face: hf download)"
        )
