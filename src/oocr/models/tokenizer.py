"""A model's tokenizer, without the model, and the messages of transformers' errors."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oocr.data.chat_template import FIXED_DAY, settle
from oocr.data.check_rows import check_tokenizer
from oocr.errors import InputError
from oocr.models.gguf import conversion
from oocr.models.gguf.model import model_parts
from oocr.models.quiet import quiet
from oocr.models.sources import hub
from oocr.models.sources.files import ModelFiles, Say, find_files, source_kind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
"""Files of which a tokenizer has at least one."""

FOREIGN_CODE = (
    "it needs code from its own repository (auto_map), and no foreign code is run here; allowed: "
    "architectures and tokenizers that transformers itself has"
)


def reason_of(error: Exception) -> str:
    """The message of an error of transformers; ours if it advises to run foreign code."""
    if isinstance(error, InputError):
        return str(error)
    text = str(error).strip()
    if "trust_remote_code" in text:
        return FOREIGN_CODE
    known = isinstance(error, OSError | ValueError | KeyError | ImportError | RuntimeError)
    return text if known and text else f"{type(error).__name__}: {text}"


def read_tokenizer(
    files: ModelFiles, day: date = FIXED_DAY, **of_hub: Any
) -> PreTrainedTokenizerBase:
    """A tokenizer, its chat template settled; errors are those of transformers."""
    from transformers import AutoTokenizer

    if Path(files.where).is_dir() and not has_tokenizer(files, None):
        raise InputError(f"{files.where}: its tokenizer is not here")
    tokenizer: PreTrainedTokenizerBase
    with quiet():
        if files.converted:
            tokenizer = conversion.converted_tokenizer(Path(files.where))
        else:
            tokenizer = AutoTokenizer.from_pretrained(
                files.where, trust_remote_code=False, **of_hub
            )
    settle(tokenizer, day)
    return tokenizer


def load_tokenizer(
    name: str, *, revision: str | None = None, say: Say | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of what `load_model` would load: from here, else from Hugging Face.

    Raises:
        InputError: no such model, or its tokenizer cannot be had here.
    """
    from huggingface_hub import constants
    from transformers import PreTrainedTokenizerFast

    name, revision = hub.with_revision(name, revision)
    try:
        if source_kind(name) == "gguf":  # not worth converting its weights
            first = model_parts(Path(name).expanduser())[0]
            with quiet():
                fast = PreTrainedTokenizerFast.from_pretrained(first.parent, gguf_file=first.name)
            settle(fast, FIXED_DAY)
            tokenizer: PreTrainedTokenizerBase = fast
        else:
            files = find_files(name, say)
            here = has_tokenizer(files, revision)
            if not here and constants.HF_HUB_OFFLINE:
                raise InputError(f"{name}: its tokenizer is not here")
            tokenizer = read_tokenizer(files, revision=revision, local_files_only=here)
    except InputError:
        raise
    except Exception as error:  # transformers and the HTTP library have many
        reason, *_ = reason_of(error).splitlines()
        raise InputError(f"{name}: its tokenizer cannot be loaded: {reason}") from error
    check_tokenizer(tokenizer, name, None)
    return tokenizer


def has_tokenizer(files: ModelFiles, revision: str | None) -> bool:
    """Whether a tokenizer's files are here; without them transformers may make an empty one."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(files.where)

    def find(name: str) -> Path | None:
        if folder.is_dir():
            return folder / name if (folder / name).is_file() else None
        path = try_to_load_from_cache(files.where, name, revision=revision)
        return Path(path) if isinstance(path, str) else None

    settings = find("tokenizer_config.json")
    return any(map(find, TOKENIZER_FILES)) or (settings is not None and _no_files(settings))


def _no_files(settings: Path) -> bool:
    """Whether the class that a tokenizer_config.json names reads no other file (ByT5's)."""
    import transformers

    try:
        name = json.loads(settings.read_text(encoding="utf-8")).get("tokenizer_class")
    except (OSError, ValueError, AttributeError):
        return False
    tokenizer = getattr(transformers, str(name), None)
    return tokenizer is not None and not getattr(tokenizer, "vocab_files_names", None)
