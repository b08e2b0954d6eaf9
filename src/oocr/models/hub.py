"""Hugging Face ids: from the local cache if they are there, else found on the hub."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

from oocr.errors import InputError
from oocr.models.bundled import BUNDLED, named_models


def find_on_hub(name: str, revision: str | None) -> tuple[str, bool]:
    """The commit of a model, and whether the local cache has all of it.

    A cached commit is taken as it is; `hf download` fetches a newer one.

    Raises:
        InputError: no such model, or it is not cached and cannot be reached.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError

    at = f" --revision {revision}" if revision else ""
    get = f"Get it with: hf download {name}{at} (or give the folder of a copy)"
    try:
        cached = snapshot_download(name, revision=revision, local_files_only=True)
    except HFValidationError as error:
        raise InputError(f"{name!r}: not a model name.{_suggest(name)} ({error})") from error
    except (OSError, ValueError):
        cached = None
    if cached is not None and _has_weights(Path(cached)):
        return Path(cached).name, True  # a snapshot's folder is named after its commit
    if constants.HF_HUB_OFFLINE:
        raise InputError(
            f"{name!r} is not in the local Hugging Face cache, and HF_HUB_OFFLINE is set."
            f"{_suggest(name)} {get}"
        )
    return _ask_hub(name, revision, get), False


def _has_weights(folder: Path) -> bool:
    """Whether a cached snapshot has its config and every safetensors file."""
    if not (folder / "config.json").is_file():
        return False
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return all((folder / one).is_file() for one in names)
    return (folder / "model.safetensors").is_file()


def _ask_hub(name: str, revision: str | None, get: str) -> str:
    """One short request before anything is downloaded; returns the commit."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(name, revision=revision, timeout=10)
    except GatedRepoError as error:
        raise InputError(
            f"{name!r} is gated: accept its licence at https://huggingface.co/{name} "
            "and log in with: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{name!r}: no such model on Hugging Face (or it is private: hf auth login)."
            f"{_suggest(name)}"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(f"{name!r} has no revision {revision!r}") from error
    except Exception as error:  # the HTTP library's errors: no network, timeout, proxy, …
        raise InputError(
            f"{name!r} is not in the local Hugging Face cache, and Hugging Face cannot be reached "
            f"({type(error).__name__}: {error}).{_suggest(name)} {get}"
        ) from error
    files = {one.rfilename for one in info.siblings or ()}
    if "config.json" not in files:
        what = "a PEFT adapter" if "adapter_config.json" in files else "without config.json"
        raise InputError(f"{name!r} on Hugging Face is {what}, not a model that can be loaded")
    return str(info.sha)


def _suggest(name: str) -> str:
    here = (*BUNDLED, *named_models())
    close = difflib.get_close_matches(name.lower(), here, n=1, cutoff=0.6)
    known = f" Did you mean {close[0]!r}?" if close else ""
    return f"{known} Bundled models: {', '.join(here)}."
