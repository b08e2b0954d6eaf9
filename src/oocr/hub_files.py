"""Files in Hugging Face repositories, accepted wherever a file's path is.

    someone/japan                              the vector or LoRA of a repository
    someone/japan@v1                           at a branch, tag or commit
    hf://someone/japan@v1/vector.safetensors   a file of it
    hf://datasets/someone/rows/train.jsonl     a file of a data set

A local file or folder has priority. Downloads are in Hugging Face's own cache.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

from oocr.errors import InputError
from oocr.io import command_line
from oocr.words import short_list

_NAME = r"[A-Za-z0-9][\w.-]*"
_ADDRESS = re.compile(  # pathlib makes one slash of two
    rf"hf:/{{1,2}}(?P<kind>datasets/|models/)?(?P<id>{_NAME}/{_NAME})"
    r"(?:@(?P<revision>[^/]+))?(?:/(?P<path>.+))?"
)
_ID = re.compile(rf"(?P<id>{_NAME}/{_NAME})(?:@(?P<revision>\S+))?")
_ENDINGS = re.compile(
    r"\.(safetensors|gguf|pt|pth|bin|npy|npz|jsonl?|ndjson|csv|tsv|parquet|ya?ml|txt|md|gz|bz2|xz)$"
)
"""Names that end so are files: one that is missing is no repository."""

VECTOR = "vector.safetensors"
"""The name of a vector's file in a repository."""


HUB_FILE = "hub_file"
"""Where a vector's or LoRA's `about` keeps its address, with the commit."""


def is_file_name(name: str) -> bool:
    """Whether a name ends as files do, and as no repository's does."""
    return bool(_ENDINGS.search(name.lower()))


@dataclass(frozen=True, slots=True)
class HubPath:
    """A repository, and a file or folder of it; `str` gives its address."""

    id: str
    kind: Literal["model", "dataset"] = "model"
    revision: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        kind = "datasets/" if self.kind == "dataset" else ""
        at = f"@{quote(self.revision, safe='')}" if self.revision else ""
        return f"hf://{kind}{self.id}{at}" + (f"/{self.path}" if self.path else "")

    @property
    def command(self) -> str:
        """The command that downloads it."""
        words = ["hf", "download", self.id, *([self.path] if self.path else [])]
        words += ["--repo-type", "dataset"] if self.kind == "dataset" else []
        return command_line([*words, *(["--revision", self.revision] if self.revision else [])])


def hub_path(given: str | os.PathLike[str], *, ids: bool = True) -> HubPath | None:
    """The Hub address that a path means; None: it is a local path.

    `ids`: "someone/japan" is a repository, if there is no such file here.

    InputError: an address that is none.
    """
    text = os.fspath(given)
    if text.startswith("hf:/"):
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise InputError(
                f"{text}: allowed: hf://someone/name/file, hf://datasets/someone/name/file, each "
                "with @revision after the name or without"
            )
        revision = match["revision"]
        return HubPath(
            match["id"],
            "dataset" if match["kind"] == "datasets/" else "model",
            None if revision is None else unquote(revision),
            match["path"],
        )
    match = _ID.fullmatch(text) if ids else None
    if match is None or is_file_name(text) or Path(text).exists():
        return None
    return HubPath(match["id"], revision=match["revision"])


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file that was downloaded, and its address with the commit in place of a branch."""

    local: Path
    address: HubPath


def located(given: str | os.PathLike[str]) -> Path:
    """The path of a data file: itself, or where it was downloaded to."""
    address = hub_path(given, ids=False)
    return Path(given) if address is None else fetch(address).local


def pinned(given: Path) -> Path:
    """An address with its commit, so that it means the same file for ever; other paths as is."""
    address = hub_path(given, ids=False)
    return given if address is None else Path(str(fetch(address).address))


def spelled(path: Path) -> str:
    """A path as it is written: an address with both slashes."""
    return str(hub_path(path, ids=False) or path)


def fetch(address: HubPath) -> HubFile:
    """Download a file, unless the cache has it.

    InputError: offline, no network, no such repository, revision or file, or no access to it.
    """
    from huggingface_hub import hf_hub_download

    if address.path is None:
        raise InputError(f"{address}: allowed: the address of a file, {address}/FILE")
    kind, revision = address.kind, address.revision
    try:
        local = Path(hf_hub_download(address.id, address.path, repo_type=kind, revision=revision))
    except Exception as error:
        raise refusal(address, error) from error
    return HubFile(local, replace(address, revision=commit_of(local)))


def fetch_vector(address: HubPath) -> HubFile:
    """The file of an address, or of a repository its vector: `VECTOR`, or the only one there."""
    if address.path is not None:
        return fetch(address)
    try:
        return fetch(replace(address, path=VECTOR))
    except InputError as error:
        if not is_missing_entry(error.__cause__):
            raise
        names = [name for name in _files(address) if name.endswith((".safetensors", ".gguf"))]
        vectors = [name for name in names if "adapter_model" not in name]
        if len(vectors) != 1:
            fault = (
                f"found no {VECTOR}, but {short_list(vectors)}" if vectors else "found no vector"
            )
            raise InputError(
                f"{address}: {fault}; allowed: the address of one, {address}/FILE"
            ) from error
        return fetch(replace(address, path=vectors[0]))


def is_missing_entry(error: BaseException | None) -> bool:
    """Whether a repository exists, but not the requested file."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    # The latter, a kind of the former, is what no network is called.
    return isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)


def _files(address: HubPath) -> Sequence[str]:
    from huggingface_hub import HfApi

    try:
        return HfApi().list_repo_files(
            address.id, repo_type=address.kind, revision=address.revision
        )
    except Exception as error:
        raise refusal(address, error) from error


def commit_of(local: Path) -> str:
    """The commit of a file in Hugging Face's cache (…/snapshots/COMMIT/file)."""
    parts = local.parts
    return parts[len(parts) - parts[::-1].index("snapshots")]


def refusal(address: HubPath, error: Exception) -> InputError:
    """One sentence for what huggingface_hub or its HTTP library raised."""
    from huggingface_hub import constants, errors

    what = "data set" if address.kind == "dataset" else "repository"
    page = f"https://huggingface.co/{'datasets/' * (address.kind == 'dataset')}{address.id}"
    if constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE is set"
    else:
        why = f"Hugging Face cannot be reached ({type(error).__name__}: {error})"
    missing = f"{address}: is not here nor in the local Hugging Face cache, and {why}"
    texts: dict[type[Exception], str] = {
        errors.GatedRepoError: f"{address}: it is gated: accept its licence at {page} and log in "
        "with: hf auth login",
        errors.RepositoryNotFoundError: f"{address}: is not here, and Hugging Face has no such "
        f"{what} (or it is private: hf auth login)",
        errors.RevisionNotFoundError: f"{address}: it has no revision {address.revision!r}",
        errors.LocalEntryNotFoundError: f"{missing}. Get it with: {address.command}",
        errors.EntryNotFoundError: f"{address}: the {what} has no file {address.path!r}",
        errors.HFValidationError: f"{address}: not a name that a {what} can have ({error})",
        Exception: f"{missing}. Get it with: {address.command}",
    }
    return InputError(next(text for kind, text in texts.items() if isinstance(error, kind)))
