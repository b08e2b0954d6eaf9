"""A model's tokenizer without its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oocr.errors import InputError
from oocr.models import gguf
from oocr.models.load import find_folder
from oocr.models.outline import has_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(
    name: str, *, revision: str | None = None, say: Callable[[str], None] | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of what `load_model` would load: from here, else from Hugging Face.

    Args:
        name: a bundled or plug-in model's name, a local folder, a .gguf file, or a Hugging
            Face id.
        revision: branch, tag or commit; only for a Hugging Face id.
        say: told in a few words what takes time.

    Raises:
        InputError: no such model, or its tokenizer cannot be had here.
    """
    from huggingface_hub import constants
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    from oocr.models.quiet import quiet

    path = Path(name).expanduser()
    try:
        if path.is_file() and path.suffix.lower() == ".gguf":  # not worth converting its weights
            with quiet():
                return PreTrainedTokenizerFast.from_pretrained(path.parent, gguf_file=path.name)
        where, converted = find_folder(name, say)
        if converted:
            tokenizer: Any = gguf.load_tokenizer(Path(where))
            return tokenizer
        here = has_tokenizer(where, revision)
        if not here and (Path(where).is_dir() or constants.HF_HUB_OFFLINE):
            # Without its files transformers may make an empty one.
            raise InputError(f"{name}: its tokenizer is not here")
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                where, revision=revision, local_files_only=here
            )
    except InputError:
        raise
    except Exception as error:  # transformers and the HTTP library have many
        first = str(error).strip().splitlines()[:1]
        told = first[0] if first else type(error).__name__
        raise InputError(f"{name}: its tokenizer cannot be loaded: {told}") from error
    return tokenizer
