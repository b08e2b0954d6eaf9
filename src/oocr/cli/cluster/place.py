"""Where runs are shared: a folder, or an address with a folder of this machine's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from oocr.errors import InputError
from oocr.io import cache_folder, write_atomic
from oocr.output_checks import address_of, check_output
from oocr.stores import FolderStore, Store, UrlStore, check_exclusive, open_url
from oocr.work.mirror import Mirror

MIRRORS, CONFIG = "mirrors", "config.yaml"


@dataclass(frozen=True, slots=True)
class SharedPlace:
    """Of runs that processes share: their folder here, and the URL where they meet, if any."""

    folder: Path
    url: UrlStore | None = None

    @staticmethod
    def of(out: str | Path, local: Path | None = None) -> SharedPlace:
        """A folder, or an address with the folder here that `--local` names (default: a cache's).

        InputError: an address where processes cannot share a run; `local` without an address.
        """
        if (address := address_of(out)) is None:
            if local is not None:
                raise InputError(f"--local {local}: {out} is a folder; allowed: with an address")
            return SharedPlace(Path(out))
        url = open_url(address)
        protocol, _, path = address.partition("://")
        here = cache_folder() / MIRRORS / protocol / path.strip("/")
        return SharedPlace(local or here, url)

    @property
    def store(self) -> Store:
        """Where the processes meet."""
        return self.url or FolderStore(self.folder)

    def check(self) -> None:
        """Refuse (`InputError`) a place that cannot be written, or not by one process at a time."""
        check_output(self.folder, option="--local" if self.url else "--out", folder=True)
        if self.url is not None:
            check_exclusive(self.url)

    def config_of(self, name: str) -> Path:
        """The configuration of a run, downloaded if it is at a URL; `InputError`: it is no run."""
        file = self.folder / name / CONFIG
        if self.url is not None:
            url = self.url.below(name)
            try:
                write_atomic(file, partial(url.download, CONFIG))
            except FileNotFoundError as error:
                raise InputError(f"{url} is not a run: it holds no {CONFIG}") from error
        return file

    def fetch(self, name: str) -> Path:
        """A run's folder here, with all that is at its URL; `InputError`: it is no run."""
        folder = self.config_of(name).parent
        if self.url is not None:
            Mirror(folder, self.url.below(name)).pull(("*",))
        return folder


def place_of_run(run: str, local: Path | None = None) -> tuple[SharedPlace, str]:
    """Where a run lies whose folder or address is given (see `SharedPlace.of`), and its name."""
    if address_of(run) is None:
        folder = Path(os.path.realpath(run))  # of "." and of links; a loop of links stays as it is
        return SharedPlace.of(folder.parent, local), folder.name
    out, _, name = run.rstrip("/").rpartition("/")
    return SharedPlace.of(out, local), name


def fetched(run: str, local: Path | None = None) -> Path:
    """The folder of a run, which is downloaded if it is an address."""
    place, name = place_of_run(run, local)
    return place.fetch(name) if place.url else Path(run)
