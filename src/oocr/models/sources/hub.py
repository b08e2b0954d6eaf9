"""Repositories on Hugging Face: what the local cache has, and one short request for the rest."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from oocr.errors import InputError
from oocr.hub_files import is_file_name
from oocr.io import command_line
from oocr.models.checkpoint import INDEX, WHOLE, files_of_index
from oocr.models.quiet import quiet
from oocr.models.sources.bundled import BUNDLED, named_models


def is_path(name: str) -> bool:
    """Whether a name can only be a path: no bundled model or Hugging Face id is written so."""
    return (
        name.startswith(("/", ".", "~"))
        or name.count("/") > 1
        or bool({"\\", " "} & set(name))
        or is_file_name(name)
    )


def with_revision(name: str, revision: str | None = None) -> tuple[str, str | None]:
    """A name and its revision, which may be said apart or as `id@revision`; files are no ids.

    Raises:
        InputError: an @ without a revision, or two revisions.
    """
    if name.startswith(("https://", "http://")):
        raise InputError(f"{name}: an address; allowed: an id, as google/gemma-2-2b, or a folder")
    id, at, tag = name.partition("@")
    if not at or Path(name).expanduser().exists() or is_path(id) or tag.endswith(".gguf"):
        return name, revision
    if not tag.strip():
        raise InputError(f"{name!r}: found no revision after @; allowed: a branch, tag or commit")
    if revision not in (None, tag):
        raise InputError(f"revision: found {revision!r} beside {name!r}; allowed: one of them")
    return id, tag


def cached(
    name: str, *, revision: str | None = None, files: Sequence[str] | None = None, hint: str = ""
) -> Path | None:
    """The cache's folder of a repository, named after its commit; None: it has none.

    With `files` only these are wanted; `hint` says in the error what the user may have meant.

    Raises:
        InputError: no repository can have this name.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    wanted = None if files is None else list(files)
    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=wanted, local_files_only=True
        )
    except HFValidationError as error:
        raise InputError(f"{name!r}: not a model name.{hint} ({error})") from error
    except (OSError, ValueError):
        return None
    return Path(folder)


def ask(
    name: str, *, revision: str | None = None, hint: str = "", here: str = "is not"
) -> tuple[str, set[str]]:
    """The commit and the file names of a repository, before anything of it is downloaded.

    Errors say with `hint` what the user may have meant, and with `here` what was looked for before
    ("is no file or folder and not").

    Raises:
        InputError: offline, no network, no such repository or revision, or no access to it.
    """
    from huggingface_hub import HfApi, constants, errors

    at = ["--revision", revision] if revision else []
    command = command_line(["hf", "download", name, *at])
    get = f"Get it with: {command} (or give the folder of a copy)"
    missing = f"{name!r} {here} in the local Hugging Face cache, and"
    if constants.HF_HUB_OFFLINE:
        raise InputError(f"{missing} HF_HUB_OFFLINE is set.{hint} {get}")
    try:
        with quiet():
            info = HfApi().model_info(name, revision=revision, timeout=10)
    except Exception as error:
        texts = {
            errors.GatedRepoError: f"{name!r} is gated: accept its licence at "
            f"https://huggingface.co/{name} and log in with: hf auth login",
            errors.RepositoryNotFoundError: f"{name!r}: no such model on Hugging Face "
            f"(or it is private: hf auth login).{hint}",
            errors.RevisionNotFoundError: f"{name!r} has no revision {revision!r}",
            # The HTTP library's errors: no network, timeout, proxy, …
            Exception: f"{missing} Hugging Face cannot be reached "
            f"({type(error).__name__}: {error}).{hint} {get}",
        }
        text = next(text for kind, text in texts.items() if isinstance(error, kind))
        raise InputError(text) from error
    return str(info.sha), {file.rfilename for file in info.siblings or ()}


def find_model(name: str, revision: str | None) -> tuple[str, Path | None]:
    """The commit of a model, and its folder in the local cache if that has all of it."""
    names = (*BUNDLED, *named_models())
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    hint = f"{meant} Models with a name: {', '.join(names)}."
    folder = cached(name, revision=revision, hint=hint)
    if folder is not None and _has_weights(folder):
        return folder.name, folder
    commit, files = ask(name, revision=revision, hint=hint)
    if "config.json" not in files:
        what = "a PEFT adapter" if "adapter_config.json" in files else "without config.json"
        raise InputError(f"{name!r} on Hugging Face is {what}, not a model that can be loaded")
    if not any(file.endswith(".safetensors") for file in files):
        raise InputError(
            f"{name!r} on Hugging Face has no weights in safetensors files; pickles, which can run "
            "code, are not read"
        )
    return commit, None


def _has_weights(folder: Path) -> bool:
    """Whether a cached snapshot has its config and every safetensors file."""
    index = folder / INDEX
    names = files_of_index(index) if index.is_file() else [WHOLE]
    return all((folder / name).is_file() for name in ("config.json", *names))
