"""A run's folder on this machine, and the URL where processes put what they finish.

Finished parts (arms and what is asked beside them: folders with a key, see `oocr.io.keep`) are one
object each, `arms/NAME.KEY.zip`, that appears whole; other results are objects of their own names.
Jobs write into the folder as always. What a job made is uploaded before its marker is created; what
others made is downloaded when a stage is whole. Two processes may upload the same.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from oocr.errors import RunError
from oocr.io import KEY, disk_errors, keep, write_atomic
from oocr.runs.folder import MADE_WITH, THREADS
from oocr.stores import TOGETHER, FolderStore, Store, UrlStore
from oocr.work.logs import log_name

ARMS, LAST = "arms", "run.json"
_ARCHIVE = re.compile(r"[^.].*\.[0-9a-f]{16}\.zip")


@dataclass
class Mirror:
    """A run's folder, and its URL; None: the folder itself is shared, and nothing is to be moved.

    `there` are the archives that this process knows to be at the URL, `sent` its files there.
    """

    folder: Path
    url: UrlStore | None
    there: set[str] = field(default_factory=set[str])
    sent: set[str] = field(default_factory=set[str])
    _read: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])

    @property
    def store(self) -> Store:
        """Where claims, markers and failures are."""
        return self.url or FolderStore(self.folder)

    def begin(self) -> None:
        """Make both equal before the first job; `threads` and `made_with.json` are the URL's."""
        if self.url is not None:
            config = "config.yaml"
            self.url.create(config, (self.folder / config).read_bytes())
            self.exchange((THREADS, MADE_WITH))

    def push(self, files: Sequence[str] = ()) -> None:
        """Upload finished parts that are not there, and these files of the run.

        "*" are all files of the run, run.json being the last.
        """
        if self.url is None:
            return
        self._send(self.url, [n for n in self._archives().values() if n not in self.there])
        for name in _files(files, [p.name for p in self.folder.glob("*") if p.is_file()]):
            if (self.folder / name).is_file():
                self.url.upload(name, self.folder / name)
                self.sent.add(name)

    def pull(self, files: Sequence[str] = ()) -> None:
        """Download finished parts that are only there, and these files of the run.

        A part that is here with another key is replaced.
        """
        if self.url is None:
            return
        self.there = set(filter(_ARCHIVE.fullmatch, self.url.below(ARMS).names()))
        here = set(self._archives().values())
        kept = {part_of(name) for name in here & self.there}
        wanted = {part_of(name): name for name in sorted(self.there)}
        missing = [name for part, name in wanted.items() if part not in kept]
        _each(partial(self._download, self.url), missing)
        for name in _files(files, self.url.names() if "*" in files else []):
            if name not in self.sent:
                with suppress(FileNotFoundError):
                    write_atomic(self.folder / name, partial(self.url.download, name))

    def exchange(self, files: Sequence[str] = ()) -> None:
        """Download what is only there (see `pull`), upload parts only here, and the log."""
        self.pull(files)
        self.push()
        if self.url is not None and (self.folder / log_name()).is_file():
            self.url.upload(log_name(), self.folder / log_name())

    def _archives(self) -> dict[str, str]:
        """Each finished part of the folder, and the name of its archive.

        A part's key is read again only when its folder has changed.
        """
        read: dict[str, tuple[int, str]] = {}
        with suppress(FileNotFoundError), os.scandir(self.folder / ARMS) as entries:
            for entry in entries:
                changed, known = entry.stat().st_mtime_ns, self._read.get(entry.name)
                if known is not None and known[0] == changed:
                    read[entry.name] = known
                elif not entry.name.startswith("."):
                    with suppress(OSError):
                        key = Path(entry.path, KEY).read_text(encoding="ascii")
                        read[entry.name] = changed, f"{entry.name}.{key}.zip"
        self._read = read
        return {part: name for part, (_, name) in read.items()}

    def _send(self, url: UrlStore, names: Sequence[str]) -> None:
        """Upload parts; those of the same name and another key are of data that have changed."""
        _each(partial(self._upload, url), names)
        parts = {part_of(name) for name in names}
        for name in [n for n in self.there if part_of(n) in parts and n not in names]:
            url.remove(f"{ARMS}/{name}")
            self.there.discard(name)
        self.there.update(names)

    def _upload(self, url: UrlStore, name: str) -> None:
        part = self.folder / ARMS / part_of(name)
        with tempfile.TemporaryDirectory(prefix=".up.", dir=self.folder) as folder:
            archive = Path(folder) / "part.zip"
            with disk_errors(archive), ZipFile(archive, "w") as file:
                for path in sorted(part.rglob("*")):
                    file.write(path, path.relative_to(part))
            url.upload(f"{ARMS}/{name}", archive)

    def _download(self, url: UrlStore, name: str) -> None:
        def unpack(part: Path) -> None:
            archive = part / ".zip"
            url.download(f"{ARMS}/{name}", archive)
            try:
                with ZipFile(archive) as file:
                    file.extractall(part)
            except BadZipFile as error:
                raise RunError(f"{url}/{ARMS}/{name}: no zip archive; remove it") from error
            archive.unlink()

        with suppress(FileNotFoundError):  # removed since it was listed
            keep(self.folder / ARMS / part_of(name), name.rsplit(".", 2)[1], unpack)


def part_of(archive: str) -> str:
    """The part in "NAME.KEY.zip"."""
    return archive.rsplit(".", 2)[0]


def _files(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """The files that are asked for, of those that are known where "*" is."""
    names = [name for name in known if not name.startswith(".")] if "*" in asked else asked
    return sorted(names, key=lambda name: (name == LAST, name))


def _each(do: Callable[[str], object], names: Sequence[str]) -> None:
    """Do it for all of them, several at a time."""
    if names:
        with ThreadPoolExecutor(TOGETHER) as pool:
            list(pool.map(do, names))
