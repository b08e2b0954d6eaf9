"""Names of a decoder's parts in every family: blocks, MLPs, final norm, embedding, LM head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oocr.errors import InputError
from oocr.models.machine import is_cpu
from oocr.models.matmul import float32_product, token_logps

# Paths of the decoder in the families, most nested first: a multimodal model's `model` has a
# `language_model` inside, a text model's does not.
DECODERS = (
    "model.language_model",  # Gemma-3 with vision, Llava, Mistral-3, Qwen-VL
    "language_model.model",  # Llama-4
    "model.decoder",  # OPT, decoders related to BART
    "model",  # Llama, Mistral, Qwen, Gemma, Phi, OLMo, Cohere, Granite, Mixtral, …
    "backbone",  # Mamba, Falcon-Mamba
    "transformer",  # GPT-2, GPT-J, Falcon, BLOOM, MPT
    "gpt_neox",
    "gpt_neox_japanese",
    "biogpt",
    "rwkv",
)
BLOCKS = ("layers", "h", "blocks")
FINAL_NORMS = (
    "norm",
    "final_layernorm",
    "final_layer_norm",
    "final_norm",
    "ln_f",
    "norm_f",
    "embedding_norm",  # LFM2
    "layer_norm",  # XGLM, BioGPT
    "layernorm",  # CTRL
    "out_norm",  # xLSTM
    "ln_out",  # RWKV
)
SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of a causal LM that steering needs.

    Attributes:
        block_names: of the blocks, their dotted names in the causal LM ("model.layers.0").
        final_norm: what the last block's output goes through before the LM head: a norm, and
            OPT-350M's projection to the embedding's width.
        embed: the token embedding, including any scaling the family applies in it.
        lm_head: d_model -> vocab.
        vocab: number of logits; may exceed the tokenizer's length.
        logit_scale: what the family multiplies its logits by (Cohere, Granite).
        logit_softcap: c in c * tanh(logits / c) (Gemma-2), or None.
        project_in: takes embeddings to the blocks' width where these differ (OPT-350M), or None.
    """

    blocks: nn.ModuleList
    block_names: tuple[str, ...]
    final_norm: nn.Module
    embed: nn.Module
    lm_head: nn.Module
    d_model: int
    vocab: int
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    project_in: nn.Module | None = None

    @property
    def head_weight(self) -> Tensor:
        """The matrix of the LM head, [vocab, d_model]."""
        weight = self.lm_head.weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def embed_weight(self) -> Tensor:
        """The embedding matrix, [rows, d_model]; where it lies is where token ids go."""
        weight = self.embed.weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def embedded_tokens(self) -> Tensor:
        """What each token adds to the residual stream before any scaling, [rows, d_model]."""
        if self.project_in is None:
            return self.embed_weight
        rows: Tensor = self.project_in(self.embed_weight)
        return rows

    def readout(self, hidden: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Logits [n, vocab] of residual streams [n, d_model] at the last block's output.

        With token ids `tokens` [k] only their logits, [n, k], are computed. In float32 whatever the
        model's type, and where `hidden` is. 2-D, since a 3-D LM-head backward is slow on a CPU.
        """
        weight, bias = self.head_weight, getattr(self.lm_head, "bias", None)
        normed = self.final_norm(hidden.to(weight.dtype)).to(weight.device)
        logits: Tensor
        if tokens is not None:
            at = tokens.to(weight.device)
            bias = None if bias is None else bias[at].float()
            logits = F.linear(normed.float(), weight[at].float(), bias)
        elif weight.dtype == torch.float32:
            logits = self.lm_head(normed)
        else:
            logits = float32_product(normed, weight, bias)
        if self.logit_scale != 1.0:
            logits = logits * self.logit_scale
        if self.logit_softcap is not None:
            logits = torch.tanh(logits / self.logit_softcap) * self.logit_softcap
        return logits.to(hidden.device)

    def token_logps(self, hidden: Tensor, at: Tensor, ids: Tensor) -> Tensor:
        """Log-probabilities [k] of tokens `ids` [k] at rows `at` [k] of `hidden` [n, d_model].

        The same as `readout(hidden).log_softmax(-1)[at, ids]`, in one pass over the head. In
        float32 but for a model of a smaller type in training on a CPU, where that type is faster.
        """
        weight = self.head_weight
        normed = self.final_norm(hidden.to(weight.dtype)).to(weight.device)
        logps = token_logps(
            normed if is_cpu(weight.device) and normed.requires_grad else normed.float(),
            weight,
            getattr(self.lm_head, "bias", None),
            at.to(weight.device),
            ids.to(weight.device),
            scale=self.logit_scale,
            softcap=self.logit_softcap,
        )
        return logps.to(hidden.device)


def anatomy(hf_model: nn.Module) -> Anatomy:
    """Find the parts of a Hugging Face causal LM.

    Raises:
        InputError: no known layout fits; the message lists what was tried.
    """
    kind = type(hf_model).__name__
    config: Any = hf_model.config
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(f"{kind} is an encoder-decoder; only decoder-only models can be steered")
    head = hf_model.get_output_embeddings()  # type: ignore[operator]
    if head is None:
        raise InputError(f"{kind} has no LM head; load it as a causal LM")
    name, blocks, decoder = _find_blocks(hf_model)
    text = config.get_text_config()
    return Anatomy(
        blocks=blocks,
        block_names=tuple(f"{name}.{i}" for i in range(len(blocks))),
        final_norm=_final_norm(decoder),
        embed=hf_model.get_input_embeddings(),  # type: ignore[operator]
        lm_head=head,
        d_model=int(text.hidden_size),
        vocab=int(head.weight.shape[0]),
        logit_scale=_logit_scale(text),
        logit_softcap=next((cap for key in SOFT_CAPS if (cap := getattr(text, key, None))), None),
        project_in=getattr(decoder, "project_in", None),
    )


def _final_norm(decoder: nn.Module) -> nn.Module:
    names = next(((name,) for name in FINAL_NORMS if getattr(decoder, name, None)), ())
    parts = [getattr(decoder, name, None) for name in (*names, "project_out")]
    modules = [part for part in parts if isinstance(part, nn.Module)]
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


class HasAnatomy(Protocol):
    """A loaded model, or the outline of one."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def hf(self) -> Any: ...  # noqa: D102

    @property
    def anatomy(self) -> Anatomy: ...  # noqa: D102


def _find_blocks(hf_model: nn.Module) -> tuple[str, nn.ModuleList, nn.Module]:
    for decoder_name in DECODERS:
        decoder: Any = hf_model
        for part in decoder_name.split("."):
            decoder = getattr(decoder, part, None)
        for blocks_name in BLOCKS:
            blocks = getattr(decoder, blocks_name, None)
            if isinstance(decoder, nn.Module) and isinstance(blocks, nn.ModuleList) and len(blocks):
                return f"{decoder_name}.{blocks_name}", blocks, decoder
    raise InputError(
        f"{type(hf_model).__name__}: no decoder blocks found; allowed: a decoder-only causal "
        f"LM that keeps them as {', '.join(BLOCKS)} in {', '.join(DECODERS)}"
    )


def _logit_scale(text: Any) -> float:
    """What logits are multiplied by; Granite writes the inverse."""
    for name in ("logit_scale", "lm_head_multiplier", "output_multiplier"):
        value = getattr(text, name, None)
        if isinstance(value, int | float):
            return float(value)
    scaling = getattr(text, "logits_scaling", None)
    if isinstance(scaling, int | float):
        return float(scaling) if text.model_type == "hyperclovax" else 1.0 / float(scaling)
    return 1.0
