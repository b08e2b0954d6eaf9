"""An object store in memory, for fsspec: a file has one author, unless told."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from oocr import stores

URL = "exclusive://bucket/runs"


class Exclusive(MemoryFileSystem):  # type: ignore[misc]
    """What is written lives until `clear`; `calls` are counted; `fails` raises before a call."""

    protocol = "exclusive"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    calls: ClassVar[Counter[str]] = Counter()
    fails: ClassVar[dict[str, Exception]] = {}
    lock: ClassVar[threading.RLock] = threading.RLock()
    checks: ClassVar[bool] = True

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return str(super()._strip_protocol(str(path).removeprefix("exclusive://")))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        with self.lock:
            self._count("create" if mode == "create" else "write")
            super().pipe_file(path, value, mode=mode if self.checks else "overwrite", **more)
            if error := self.fails.get("answer"):
                raise error

    def put_file(self, lpath: str, rpath: str, **more: Any) -> None:
        self._count("upload")
        with self.lock:
            super().put_file(lpath, rpath, **more)

    def get_file(self, rpath: str, lpath: str, **more: Any) -> None:
        self._count("download")
        super().get_file(rpath, lpath, **more)

    def ls(self, path: str, **more: Any) -> Any:
        self._count("list")
        with self.lock:
            return super().ls(path, **more)

    def cat_file(self, path: str, **more: Any) -> Any:
        self._count("read")
        return super().cat_file(path, **more)

    def _count(self, call: str) -> None:
        self.calls[call] += 1
        if error := self.fails.get(call):
            raise error


def exclusive_store(monkeypatch: pytest.MonkeyPatch) -> type[Exclusive]:
    """An empty one, whose addresses are allowed."""
    fsspec.register_implementation("exclusive", Exclusive, clobber=True)
    monkeypatch.setitem(stores.EXCLUSIVE, "exclusive", "oocr[s3]")
    monkeypatch.setattr(stores, "WAITS", (0.0,) * 4)
    for kept in (Exclusive.store, Exclusive.calls, Exclusive.fails):
        kept.clear()
    Exclusive.pseudo_dirs[:] = [""]
    monkeypatch.setattr(Exclusive, "checks", True)
    return Exclusive
