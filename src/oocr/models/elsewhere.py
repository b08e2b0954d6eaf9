"""What can be known of a model that is not here: its configuration, and how long its texts are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from oocr.errors import InputError
from oocr.models.bundled import BUNDLED

OURS = {"google/gemma-3-12b-it": "gemma-3-12b-it.yaml"}
"""Models whose sizes we ship: gated ones that configurations of ours name."""

ASK_SECONDS = 5
"""How long the hub may take to answer."""

GEMMA_TURNS = (
    "{{ bos_token }}{% set ns = namespace(first='') %}{% for m in messages %}"
    "{% if m.role == 'system' %}{% set ns.first = m.content + '\n\n' %}{% else %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ ns.first }}{{ m.content }}<end_of_turn>\n{% set ns.first = '' %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""The turns of Gemma's instruction-tuned models, for a base model's tokenizer; what the system says
stands before the first user's turn."""

_FOLDER = Path(__file__).parent / "outlines"


def fetched_config(name: str, revision: str | None) -> tuple[Any, str]:
    """A configuration that is not in the cache: the sizes that we ship, or the hub's.

    Args:
        name: a Hugging Face id.
        revision: of it.

    Returns:
        The configuration, and where it is from.

    Raises:
        InputError: it is at neither place.
    """
    from huggingface_hub import hf_hub_download
    from transformers import AutoConfig

    if name in OURS and revision is None:  # needs no network, nor leave to see a gated model
        sizes = yaml.safe_load((_FOLDER / OURS[name]).read_text(encoding="utf-8"))
        kind = sizes.pop("model_type")
        told = "sizes that come with oocr (its config.json is not in the cache)"
        return AutoConfig.for_model(kind, **sizes), told
    try:
        path = hf_hub_download(name, "config.json", revision=revision, etag_timeout=ASK_SECONDS)
        return AutoConfig.from_pretrained(Path(path).parent), "its config.json from the hub"
    except Exception as error:  # not there, gated, offline, no network: the libraries have many
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{name}: its configuration cannot be read here: {reason}") from error


def like_tokenizer(config: Any) -> tuple[Any, str] | None:
    """A bundled model's tokenizer with the same vocabulary, and what to say of it."""
    from oocr.models import gguf
    from oocr.models.load import find_folder

    name = "gemma-3-270m"
    if not config.model_type.startswith("gemma3") or not BUNDLED[name].locate():
        return None
    tokenizer = gguf.load_tokenizer(Path(find_folder(name)[0]))
    tokenizer.chat_template = tokenizer.chat_template or GEMMA_TURNS
    return tokenizer, f"lengths by the tokenizer of {name}, the same vocabulary"
