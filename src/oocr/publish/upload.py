"""Upload a folder to the Hub: one commit, private unless told, checked before work starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from oocr.errors import InputError, RunError
from oocr.publish.folder import ALLOWED

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9]([\w.-]{0,94}[A-Za-z0-9])?")


def check_repository(repository: str) -> None:
    """Refuse a name that no repository can have."""
    if not _NAME.fullmatch(repository) or ".." in repository or "--" in repository:
        raise InputError(
            f"{repository}: allowed: an account and a name on the Hub, as someone/japan (letters, "
            "digits, single '.', '_' and '-')"
        )


def check_access(repository: str, *, public: bool) -> None:
    """Refuse, before anything is written, what the Hub would refuse or show to everybody.

    Raises:
        InputError: offline, not logged in, or a repository that is public (private) though it was
            not asked for.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
    )

    if constants.HF_HUB_OFFLINE:
        raise InputError("HF_HUB_OFFLINE is set: nothing can be uploaded; --dry-run works offline")
    api = HfApi()
    try:
        api.whoami()
        private = bool(api.model_info(repository).private)
    except LocalTokenNotFoundError as error:
        raise InputError("not logged in to Hugging Face: hf auth login") from error
    except RepositoryNotFoundError:
        return
    except Exception as error:  # refusals by the Hub, and the HTTP library's errors
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
            raise InputError("Hugging Face does not take the token: hf auth login") from error
        raise InputError(f"Hugging Face cannot be reached ({error})") from error
    if private and public:
        raise InputError(
            f"--public: {repository} is there and private; make it public on its page first, or "
            "leave --public out"
        )
    if not private and not public:
        raise InputError(f"{repository} is there and public; give --public to add to it")


def upload(folder: Path, repository: str, *, public: bool) -> str:
    """Upload a folder's allowed files as one commit; returns its address.

    RunError: the Hub refuses, or cannot be reached any more.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        commit: Any = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(ALLOWED),
            commit_message="Upload by oocr",
        )
    except Exception as error:  # refusals by the Hub, and the HTTP library's errors
        raise RunError(f"{repository}: not uploaded: {error}") from error
    return str(commit.commit_url)
