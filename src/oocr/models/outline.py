"""A model's shape and tokenizer, from its configuration alone: no weight is read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from oocr.data.chat_template import FIXED_DAY, settle
from oocr.data.check_rows import ModelLimits, check_tokenizer
from oocr.errors import InputError
from oocr.models.anatomy import Anatomy, anatomy
from oocr.models.gguf import conversion
from oocr.models.load import DEVICE_MAPS, auto_class, own_dtype, placement
from oocr.models.position_limits import limits_of
from oocr.models.quiet import quiet
from oocr.models.sources import hub
from oocr.models.sources.bundled import BUNDLED
from oocr.models.sources.files import find_files, source_kind
from oocr.models.tokenizer import FOREIGN_CODE, has_tokenizer, read_tokenizer, reason_of
from oocr.words import first_line

if TYPE_CHECKING:
    import torch

CHARACTERS_PER_TOKEN = 4
"""Note for a model without a tokenizer here."""


@dataclass(frozen=True, eq=False)
class Outline:
    """A model's shape before it is loaded, where it would be loaded, and a tokenizer for lengths.

    Attributes:
        hf: the model without its weights.
        counted: whether the tokenizer has the model's vocabulary; else it is a stand-in.
        notes: what replaces something that is not here.
        devices: all that it would be spread over; `device` is the first.
    """

    name: str
    hf: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    anatomy: Anatomy = field(repr=False)
    device: torch.device
    dtype: torch.dtype
    counted: bool
    notes: tuple[str, ...] = ()
    devices: tuple[torch.device, ...] = ()

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.anatomy.blocks)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.anatomy.d_model


def outline(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    device_map: str | None = None,
    revision: str | None = None,
    day: date = FIXED_DAY,
    counted: bool = True,
    on_gpu: bool = False,
) -> Outline:
    """The shape of what `load_model` would load with the same arguments.

    `counted`: use the model's tokenizer if it is here, else a stand-in. `on_gpu`: as on one GPU
    that is not here; the configuration then comes from the cache, from oocr, or from the hub.

    Raises:
        InputError: no such model here, or a configuration that is no causal LM's.
    """
    import torch
    from transformers import AutoConfig

    from oocr.models.machine import GPU, default_device, gpus

    name, revision = hub.with_revision(name, revision)
    dtype = own_dtype(name, dtype)
    if on_gpu:
        half = placement("bfloat16" if dtype == "auto" else dtype, "cpu", None)
        options = {**half, "device_map": GPU}
    else:
        options = placement(dtype, device, device_map)
    files = find_files(name)
    of_hub = {"revision": revision, "local_files_only": True}
    notes: list[str] = []
    try:
        with quiet():
            try:
                config = AutoConfig.from_pretrained(files.where, trust_remote_code=False, **of_hub)
            except OSError:
                if not on_gpu or files.source["kind"] != "hub":
                    raise
                config, note = fetched_config(name, revision)
                notes.append(note)
            hf = _without_weights(config, options["dtype"])
    except InputError:
        raise
    except Exception as error:  # any error caused by wrong values in it
        reason, *_ = reason_of(error).splitlines()
        raise InputError(f"{name}: its configuration cannot be read here: {reason}") from error
    tokenizer: Any = CharCountTokenizer()
    try:
        if counted and (counted := files.converted or has_tokenizer(files, revision)):
            tokenizer = read_tokenizer(files, day, **of_hub)
            check_tokenizer(tokenizer, name, int(anatomy(hf).embed_weight.shape[0]))
    except InputError:
        raise
    except (OSError, ValueError, KeyError, ImportError) as error:
        if reason_of(error) == FOREIGN_CODE:
            raise InputError(f"{name}: its tokenizer cannot be loaded: {FOREIGN_CODE}") from error
        counted = False
    alike = None if counted or not on_gpu else _like_tokenizer(config.get_text_config())
    if alike is not None:
        (tokenizer, note), counted = alike, True
        notes.append(note)
    at = options["device_map"]
    places = tuple(gpus()) or (default_device(),) if at in DEVICE_MAPS else (torch.device(at),)
    if "max_memory" in options:
        places = tuple(torch.device(GPU, index) for index in options["max_memory"])
    parts, kind = anatomy(hf), options["dtype"]
    return Outline(name, hf, tokenizer, parts, places[0], kind, counted, tuple(notes), places)


def _without_weights(config: Any, dtype: torch.dtype) -> Any:
    import torch

    with torch.device("meta"):
        return auto_class(config).from_config(config, dtype=dtype, trust_remote_code=False)


def reading_limits(name: str) -> ModelLimits:
    """The limits of a model's input, from its configuration; a GGUF is not converted for it.

    Raises:
        InputError: no such model here, or a configuration that is no causal LM's.
    """
    import torch

    from oocr.models.gguf.config import config_of
    from oocr.models.gguf.header import read_gguf_header
    from oocr.models.gguf.model import model_parts

    if source_kind(name) != "gguf":
        return limits_of(outline(name, device="cpu", counted=False))
    try:
        with quiet():
            config, _ = config_of(read_gguf_header(model_parts(Path(name).expanduser())[0]))
            hf = _without_weights(config, torch.float32)
    except InputError:
        raise
    except Exception as error:  # gguf and transformers raise whatever a broken file leads to
        raise InputError(f"{name}: its sizes cannot be read: {reason_of(error)}") from error
    place, tokenizer = torch.device("cpu"), CharCountTokenizer()
    return limits_of(Outline(name, hf, tokenizer, anatomy(hf), place, torch.float32, False))


class CharCountTokenizer:
    """Stands in for a tokenizer: a token for every four characters, or shorter word."""

    is_fast = True
    bos_token_id = eos_token_id = None
    pad_token_id = 0
    chat_template = "turns"

    def __call__(self, text: str, **_options: object) -> dict[str, list[Any]]:
        """Token ids of a text, with their places in it."""
        matches = list(re.finditer(rf"\s?\S{{1,{CHARACTERS_PER_TOKEN}}}|\s", text))
        digests = [hashlib.sha256(match.group().encode()).digest() for match in matches]
        return {
            "input_ids": [int.from_bytes(digest[:4]) for digest in digests],
            "offset_mapping": [match.span() for match in matches],
        }

    def __len__(self) -> int:
        return 0

    def apply_chat_template(self, turns: Sequence[Mapping[str, str]], **_options: object) -> str:
        """The turns, one per line."""
        return "".join(f"{turn['role']}: {turn['content']}\n" for turn in turns) + "assistant: "


SHIPPED_CONFIGS = {"google/gemma-3-12b-it": "gemma-3-12b-it.yaml"}
"""Gated models that configurations of ours name: their sizes come with oocr."""

ASK_SECONDS = 5
"""Seconds until the hub must have answered."""

_FOLDER = Path(__file__).parent / "outlines"


def fetched_config(name: str, revision: str | None) -> tuple[Any, str]:
    """A configuration that is not in the cache, and where it is from: shipped sizes, or the hub.

    Raises:
        InputError: it is at neither place.
    """
    from huggingface_hub import hf_hub_download
    from transformers import AutoConfig

    if name in SHIPPED_CONFIGS and revision is None:  # needs no network and no access
        sizes = yaml.safe_load((_FOLDER / SHIPPED_CONFIGS[name]).read_text(encoding="utf-8"))
        kind = sizes.pop("model_type")
        note = "sizes that come with oocr (its config.json is not in the cache)"
        return AutoConfig.for_model(kind, **sizes), note
    try:
        path = hf_hub_download(name, "config.json", revision=revision, etag_timeout=ASK_SECONDS)
        folder = Path(path).parent
        return AutoConfig.from_pretrained(
            folder, trust_remote_code=False
        ), "its config.json from the hub"
    except Exception as error:  # missing, gated, offline, no network: the libraries have many types
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"{name}: its configuration cannot be read here: {reason}") from error


def _like_tokenizer(config: Any) -> tuple[Any, str] | None:
    """A bundled model's tokenizer with the same vocabulary, and what to say of it."""
    name = "gemma-3-270m"
    if not config.model_type.startswith("gemma3") or not BUNDLED[name].locate():
        return None
    tokenizer = conversion.converted_tokenizer(Path(find_files(name).where))
    # The turns of Gemma's instruction-tuned models; what the system says stands before the first
    # user's turn.
    turns = (_FOLDER / "gemma_turns.jinja").read_text(encoding="utf-8")
    tokenizer.chat_template = tokenizer.chat_template or turns
    settle(tokenizer)
    return tokenizer, f"lengths by the tokenizer of {name}, the same vocabulary"
