"""A causal LM ready to be steered: weights, tokenizer, anatomy, and where it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol

import torch

from oocr.data.chat_template import FIXED_DAY, settle
from oocr.data.check_rows import check_tokenizer
from oocr.errors import InputError
from oocr.models.anatomy import Anatomy, anatomy
from oocr.models.check_anatomy import check_anatomy

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Fields of a config that say nothing about what the model computes.
CONFIG_NOISE = ("_name_or_path", "transformers_version", "architectures", "dtype", "use_cache")


class Steering(Protocol):
    """A vector or an adapter: can be put on a model and scaled."""

    def on(self, model: LanguageModel) -> AbstractContextManager[None]:
        """Act on the model inside the block."""

    def __mul__(self, factor: float) -> Steering: ...


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A frozen causal LM in eval mode. Make one with `load_model` or `LanguageModel.of`.

    Attributes:
        name: what the user called it.
        hf: the Hugging Face model; no parameter requires a gradient.
        tokenizer: always has a pad token.
        source: kind ("bundled", "gguf", "folder", "hub", "memory") and what is known of path or id,
            revision, sha256, licence.
        fingerprint: the same for the same weights, config, dtype and tokenizer, wherever they lie.
        replays: its blocks can be run apart from it, from recorded inputs (`oocr.engine.selftest`
            finds out); if not, the engine always runs the whole model.
        reuses_keys: replays can also begin at a later token, from the keys and values of those
            before it; not where blocks keep a state instead (linear attention, state spaces).
        calls_ahead: what blocks are called with beside the stream is known before they run.
    """

    name: str
    hf: PreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    anatomy: Anatomy = field(repr=False)
    source: Mapping[str, str]
    fingerprint: str
    replays: bool = True
    reuses_keys: bool = True
    calls_ahead: bool = True

    @classmethod
    def of(
        cls,
        hf: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        source: Mapping[str, str] | None = None,
        day: date = FIXED_DAY,
    ) -> LanguageModel:
        """Freeze a Hugging Face model, check its anatomy on random tokens, and wrap it.

        Its chat template is settled (see `oocr.data.chat_template`): where it writes the day, that
        is `day`.

        Raises:
            InputError: the model's family is not understood, the tokenizer doesn't fit it, or
                weights are not on a device.
        """
        hf.eval()
        hf.requires_grad_(False)
        parts = anatomy(hf)
        _check_in_memory(hf, name)
        check_anatomy(hf)
        check_tokenizer(tokenizer, name, int(parts.embed_weight.shape[0]))
        settle(tokenizer, day)
        if tokenizer.pad_token is None:
            # Padding is always masked, so any token will do.
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
        return cls(
            name=name,
            hf=hf,
            tokenizer=tokenizer,
            anatomy=parts,
            source=dict(source or {"kind": "memory"}),
            fingerprint=_fingerprint(hf, tokenizer),
        )

    def steered(self, steering: Steering, scale: float = 1.0) -> AbstractContextManager[None]:
        """Put a vector or an adapter, times a factor, on this model: `with model.steered(v): …`."""
        return (steering if scale == 1.0 else steering * scale).on(self)

    @property
    def n_blocks(self) -> int:
        """Number of blocks; layers run from 0 to n_blocks - 1."""
        return len(self.anatomy.blocks)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.anatomy.d_model

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.hf.parameters())

    @property
    def device(self) -> torch.device:
        """Where token ids go: the embedding's device."""
        return self.anatomy.embed_weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        dtype = self.hf.dtype
        assert isinstance(dtype, torch.dtype)
        return dtype

    @property
    def pad_id(self) -> int:
        """The token that fills padding; it is always masked."""
        token = int(self.tokenizer.pad_token_id or 0)
        return token if token < len(self.anatomy.embed_weight) else 0

    @property
    def has_chat_template(self) -> bool:
        """Whether chat messages can be rendered for this model."""
        return bool(self.tokenizer.chat_template)

    @property
    def about(self) -> dict[str, str]:
        """Facts about the model for the metadata of its files; strings only."""
        source = self.source
        known = {
            "model": self.name,
            "model_id": source.get("id") or source.get("origin"),
            "model_revision": source.get("revision"),
            "model_sha256": source.get("sha256"),
            "model_fingerprint": self.fingerprint,
            "model_dtype": str(self.dtype).removeprefix("torch."),
            "model_type": str(self.hf.config.get_text_config().model_type),
        }
        return {key: text for key, text in known.items() if text}

    def differs_from(self, about: Mapping[str, str]) -> str | None:
        """Why this is not the model that a file's `about` names; None: it is, or none is named.

        Fingerprints of one model in different dtypes differ, and are not compared.
        """
        there, here = about.get("model_id", about.get("model")), self.about
        known = about.get("model_fingerprint")
        if there is None and "model_type" in about:  # "gemma3" and "gemma3_text" are one family
            short, long = sorted((about["model_type"], here["model_type"]), key=len)
            if not long.startswith(short):
                return f"is for a {about['model_type']}, this is a {here['model_type']}"
        if there is None or known == self.fingerprint:
            return None
        if there not in (here.get("model_id"), self.name):
            return f"was made on {there}, this is {here.get('model_id', self.name)}"
        for key, what in (("model_revision", "revision"), ("model_sha256", "SHA-256")):
            if key in about and here.get(key, about[key]) != about[key]:
                return f"was made on {there} with {what} {about[key]}, this is {here[key]}"
        if known is None or about.get("model_dtype") != here["model_dtype"]:
            return None
        return (
            f"was made on another {there}: its weights, settings or tokenizer have the fingerprint "
            f"{known}, here {self.fingerprint}"
        )


def _check_in_memory(hf: PreTrainedModel, name: str) -> None:
    """Refuse weights offloaded by device_map, which are fetched for each pass."""
    away = [key for key, parameter in hf.named_parameters() if parameter.is_meta]
    if away:
        total = sum(1 for _ in hf.parameters())
        raise InputError(
            f"{name}: {len(away)} of {total} weights are not on a device (first: {away[0]}): "
            "device_map left them on the CPU or the disk, to be fetched at each pass. Allowed: "
            "devices with room for all weights, dtype bfloat16, a smaller model, or the CPU alone"
        )


def _fingerprint(hf: Any, tokenizer: Any) -> str:
    """Hash of config, tokenizer and weights."""
    digest = hashlib.sha256()
    config = {k: v for k, v in hf.config.to_diff_dict().items() if k not in CONFIG_NOISE}
    sample = "The 4821st café, 東京: “Hello,\n  World!” <|x|>"
    tokens = [len(tokenizer), tokenizer(sample)["input_ids"], tokenizer.chat_template]
    digest.update(json.dumps([config, tokens], sort_keys=True, default=str).encode())
    seen: set[tuple[int, torch.Size]] = set()
    for name, parameter in hf.state_dict().items():
        key = (parameter.data_ptr(), parameter.shape)
        if key in seen:  # tied weights
            continue
        seen.add(key)
        integers = _as_integers(parameter)
        step = max(1, integers.numel() // 64)
        values = [int(integers.sum(dtype=torch.int64)), *integers[::step][:64].tolist()]
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype} {values}".encode())
    return digest.hexdigest()[:32]


def _as_integers(parameter: torch.Tensor) -> torch.Tensor:
    """The bits of a tensor as the widest integers that fit it; int64 is ten times faster to sum."""
    flat = parameter.detach().contiguous().reshape(-1)
    size = flat.element_size()
    for wide, integer in ((8, torch.int64), (4, torch.int32), (2, torch.int16)):
        if flat.numel() * size % wide == 0 and flat.storage_offset() * size % wide == 0:
            return flat.view(integer)
    return flat.view(torch.int8)
