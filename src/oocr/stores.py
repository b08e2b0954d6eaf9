"""Folders of small files that processes share: on a file system, or at a URL (fsspec's).

What makes claims possible is a file of which only one process can be the author. Of fsspec's file
systems those in `EXCLUSIVE` create one by a condition that the server checks; others look first
and write then, which two processes may do at the same moment.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from oocr.errors import InputError, RunError
from oocr.io import disk_errors, write_atomic, write_new
from oocr.output_checks import address_of

T = TypeVar("T")

EXCLUSIVE = {
    "s3": "oocr[s3]",  # PutObject with If-None-Match: * (s3fs)
    "gs": "gcsfs",  # objects.insert with ifGenerationMatch=0
    "gcs": "gcsfs",
    "abfs": "adlfs",  # Put Blob with If-None-Match: *
    "az": "adlfs",
}
"""Protocols whose file system creates a file exclusively, and the package to install."""

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before a request to a store is made again, on top of what its library does."""

TOGETHER = 8
"""Requests at the same time: to check a store, and to move results."""

LARGEST = 2**30
"""Bytes of a file that is read as a whole."""

NOT_TRANSIENT = (PermissionError, ImportError, ValueError, TypeError)


class StoreError(RunError):
    """A store at a URL cannot be reached, or refuses."""


class Store(Protocol):
    """A folder of small files; a name may lead into folders below it. Hashable.

    `RunError`: the store is full, away or refuses.
    """

    def below(self, name: str) -> Store:
        """The folder of this name in it."""

    def names(self) -> list[str]:
        """Its files, without those of folders in it; none if it is not there."""

    def find(self, pattern: str) -> list[str]:
        """The names of files that match a pattern such as "work/*/jobs.json"."""

    def read(self, name: str) -> bytes:
        """A file's content; FileNotFoundError: it is not there."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a file of which only one process can be the author; whether it was this one."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole, in place of one that is there."""

    def renew(self, name: str, content: bytes) -> None:
        """Write as many bytes again into a file that this process is the author of.

        A file that was removed since then may be there again.
        """

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def written(self, name: str) -> float:
        """When a file was last written, by the store's own clock; seconds."""


@dataclass(frozen=True, slots=True)
class FolderStore:
    """A folder of a file system, which machines may share."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def below(self, name: str) -> FolderStore:
        return FolderStore(self.path / name)

    def names(self) -> list[str]:
        with disk_errors(self.path):
            paths = self.path.iterdir() if self.path.is_dir() else ()
            return [path.name for path in paths]

    def find(self, pattern: str) -> list[str]:
        return sorted(path.relative_to(self.path).as_posix() for path in self.path.glob(pattern))

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def create(self, name: str, content: bytes) -> bool:
        return write_new(self.path / name, content)

    def write(self, name: str, content: bytes) -> None:
        write_atomic(self.path / name, lambda part: part.write_bytes(content))

    def renew(self, name: str, content: bytes) -> None:
        handle = os.open(self.path / name, os.O_WRONLY)
        try:
            os.pwrite(handle, content, 0)
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, name: str) -> None:
        with disk_errors(self.path / name):
            (self.path / name).unlink(missing_ok=True)

    def written(self, name: str) -> float:
        return (self.path / name).stat().st_mtime


@dataclass(frozen=True, slots=True)
class UrlStore:
    """A prefix of an object store; `path` is what one of fsspec's file systems makes of `url`."""

    files: Any
    url: str
    path: str

    def __str__(self) -> str:
        return self.url

    def below(self, name: str) -> UrlStore:
        return UrlStore(self.files, f"{self.url}/{name}", f"{self.path}/{name}")

    def names(self) -> list[str]:
        def listed() -> list[str]:
            self.files.invalidate_cache(self.path)
            entries = self.files.ls(self.path, detail=True)
            return [e["name"].rpartition("/")[2] for e in entries if e["type"] == "file"]

        with suppress(FileNotFoundError):
            return self._asked(listed)
        return []

    def find(self, pattern: str) -> list[str]:
        def matching() -> list[str]:
            self.files.invalidate_cache(self.path)
            return sorted(self.files.glob(f"{self.path}/{pattern}"))

        with suppress(FileNotFoundError):
            return [path.removeprefix(f"{self.path}/") for path in self._asked(matching)]
        return []

    def read(self, name: str) -> bytes:
        return self._asked(partial(self._content, name))

    def create(self, name: str, content: bytes) -> bool:
        def created() -> bool:
            try:
                self.files.pipe_file(f"{self.path}/{name}", content, mode="create")
            except Exception as error:
                # It may be there by an earlier attempt of this call, whose answer was lost.
                with suppress(FileNotFoundError):
                    return self._content(name) == content
                if isinstance(error, FileExistsError):
                    return False
                raise
            return True

        return self._asked(created)

    def write(self, name: str, content: bytes) -> None:
        self._asked(lambda: self.files.pipe_file(f"{self.path}/{name}", content))

    def renew(self, name: str, content: bytes) -> None:
        self._asked(lambda: self.files.pipe_file(f"{self.path}/{name}", content), again=False)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._asked(lambda: self.files.rm_file(f"{self.path}/{name}"))

    def written(self, name: str) -> float:
        def modified() -> float:
            self.files.invalidate_cache(self.path)
            return float(self.files.modified(f"{self.path}/{name}").timestamp())

        return self._asked(modified)

    def upload(self, name: str, file: Path) -> None:
        """Write a file of this machine; it appears whole."""
        self._asked(lambda: self.files.put_file(str(file), f"{self.path}/{name}"))

    def download(self, name: str, file: Path) -> None:
        """Write a file here; FileNotFoundError: it is not there."""
        with disk_errors(file):
            self._asked(lambda: self.files.get_file(f"{self.path}/{name}", str(file)))

    def _content(self, name: str) -> bytes:
        # Of a part only, s3fs does not ask for the size before, nor lists what is not there.
        return bytes(self.files.cat_file(f"{self.path}/{name}", start=0, end=LARGEST))

    def _asked(self, request: Callable[[], T], *, again: bool = True) -> T:
        """What a request gives; tried again where that may help."""
        waits: tuple[float | None, ...] = (*WAITS, None) if again else (None,)
        for wait in waits:
            try:
                return request()
            except FileNotFoundError:
                raise
            except Exception as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise  # of this machine's disk
                known = isinstance(error, NOT_TRANSIENT) or "Credentials" in type(error).__name__
                if wait is None or known:
                    first, _, _ = str(error).partition("\n")
                    raise StoreError(
                        f"{self} cannot be read or written ({type(error).__name__}: {first}); "
                        "what was computed stays; the same command continues"
                    ) from error
                time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")


def open_url(url: str) -> UrlStore:
    """A store at a URL; credentials are taken from where its library finds them.

    InputError: a protocol without exclusive creation, a library that is missing, or no place.
    """
    protocol, _, path = url.partition("://")
    if protocol not in EXCLUSIVE:
        raise InputError(
            f"{url}: processes cannot share results there: it is not known to create a file that "
            "only one process can be the author of; allowed: a folder that machines share, or an "
            f"address with {', '.join(f'{name}://' for name in EXCLUSIVE)}"
        )
    bucket, *parts = path.rstrip("/").split("/")
    if ":" in bucket:
        raise InputError(
            f"{protocol}://…: a colon before the first slash; allowed: credentials in the "
            "environment or a profile, not in the address"
        )
    if not bucket or ".." in parts or "" in parts or any(sign in path for sign in "*?[]"):
        raise InputError(f"{url}: allowed: {protocol}://BUCKET/FOLDER, without .. and *?[]")
    try:
        from fsspec.core import url_to_fs

        url = url.rstrip("/")
        files, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        package = EXCLUSIVE[protocol]
        raise InputError(f"{url}: needs a library; pip install '{package}'") from error
    except Exception as error:  # of the library, which reads settings and credentials
        raise InputError(f"{url}: cannot be opened: {type(error).__name__}: {error}") from error
    return UrlStore(files, url, path.rstrip("/"))


def store_of(place: str | Path) -> Store:
    """The store at a URL or in a folder (see `open_url`)."""
    url = address_of(place)
    return FolderStore(Path(place)) if url is None else open_url(url)


def check_exclusive(store: Store) -> None:
    """Have a file created several times at once; `InputError` unless one of them is its author."""
    name = f".check-{os.urandom(8).hex()}"

    def create(number: int) -> bool:
        return store.create(name, f"{number}".encode())

    try:
        with ThreadPoolExecutor(TOGETHER) as pool:
            authors = sum(pool.map(create, range(TOGETHER)))
        authors += store.create(name, b"afterwards")
    except FileNotFoundError as error:
        raise InputError(f"{store}: no such bucket, or it may not be written to") from error
    finally:
        with suppress(RunError):
            store.remove(name)
    if authors != 1:
        raise InputError(
            f"{store}: of {TOGETHER + 1} attempts to create one file {authors} were told that they "
            "did: this server does not check the condition, so that processes cannot share a run "
            "there; allowed: a server that does, or a folder that machines share"
        )
