"""What every decoder family calls its parts: blocks, final norm, embedding, LM head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oocr.errors import InputError
from oocr.models.vocabulary import token_logps

if TYPE_CHECKING:
    from oocr.models.language_model import LanguageModel

# Where families keep their decoder, the most nested first: a multimodal model's `model` has a
# `language_model` inside, a text model's does not.
DECODERS = (
    "model.language_model",  # Gemma-3 with vision, Llava, Mistral-3, Qwen-VL
    "language_model.model",  # Llama-4
    "model.decoder",  # OPT
    "model",  # Llama, Mistral, Qwen, Gemma, Phi, OLMo, Cohere, Granite, Mixtral, …
    "backbone",  # Mamba, Falcon-Mamba
    "transformer",  # GPT-2, GPT-J, Falcon, BLOOM, MPT
    "gpt_neox",
)
BLOCKS = ("layers", "h", "blocks")
FINAL_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "norm_f")


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of a causal LM that steering needs.

    Attributes:
        blocks: the decoder blocks, in order.
        block_names: their dotted names in the causal LM ("model.layers.0").
        final_norm: what the last block's output goes through before the LM head.
        embed: the token embedding, including any scaling the family applies in it.
        lm_head: d_model -> vocab.
        d_model: width of the residual stream.
        vocab: number of logits; may exceed the tokenizer's length.
        logit_scale: what the family multiplies its logits by (Cohere, Granite).
        logit_softcap: c in c * tanh(logits / c) (Gemma-2), or None.
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

    @property
    def embed_weight(self) -> Tensor:
        """The embedding matrix, [rows, d_model]; where it lies is where token ids go."""
        weight = self.embed.weight
        assert isinstance(weight, Tensor)
        return weight

    def readout(self, hidden: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Logits of residual streams taken at the last block's output.

        Args:
            hidden: [n, d_model] (2-D: a 3-D LM-head backward is slow on a CPU).
            tokens: [k] token ids; only their logits are computed.

        Returns:
            [n, vocab] or [n, k], as the model itself would give them.
        """
        weight = self.lm_head.weight
        assert isinstance(weight, Tensor)
        normed = self.final_norm(hidden.to(weight.dtype))
        logits: Tensor
        if tokens is None:
            logits = self.lm_head(normed)
        else:
            bias = getattr(self.lm_head, "bias", None)
            logits = F.linear(normed, weight[tokens], None if bias is None else bias[tokens])
        if self.logit_scale != 1.0:
            logits = logits * self.logit_scale
        if self.logit_softcap is not None:
            logits = torch.tanh(logits / self.logit_softcap) * self.logit_softcap
        return logits

    def token_logps(self, hidden: Tensor, at: Tensor, ids: Tensor) -> Tensor:
        """Log-probabilities [k] of tokens `ids` [k] at rows `at` [k] of `hidden` [n, d_model].

        The same as `readout(hidden).log_softmax(-1)[at, ids]`; on a CPU in one pass over the head.
        """
        weight = self.lm_head.weight
        assert isinstance(weight, Tensor)
        if weight.device.type != "cpu":
            logps: Tensor = self.readout(hidden).float().log_softmax(dim=-1)[at, ids]
            return logps
        return token_logps(
            self.final_norm(hidden.to(weight.dtype)),
            weight,
            getattr(self.lm_head, "bias", None),
            at,
            ids,
            scale=self.logit_scale,
            softcap=self.logit_softcap,
        )


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
    norm = next((getattr(decoder, one) for one in FINAL_NORMS if hasattr(decoder, one)), None)
    text = config.get_text_config()
    return Anatomy(
        blocks=blocks,
        block_names=tuple(f"{name}.{i}" for i in range(len(blocks))),
        final_norm=nn.Identity() if norm is None else norm,
        embed=hf_model.get_input_embeddings(),  # type: ignore[operator]
        lm_head=head,
        d_model=int(text.hidden_size),
        vocab=int(head.weight.shape[0]),
        logit_scale=_logit_scale(text),
        logit_softcap=getattr(text, "final_logit_softcapping", None),
    )


def readout(model: LanguageModel | nn.Module, hidden: Tensor) -> Tensor:
    """`Anatomy.readout` of a LanguageModel or of a bare Hugging Face model.

    Args:
        model: whose norm, LM head and logit post-processing to use.
        hidden: [n, d_model], residual streams at the last block's output.

    Returns:
        [n, vocab].
    """
    parts = getattr(model, "anatomy", None)
    if not isinstance(parts, Anatomy):
        assert isinstance(model, nn.Module)
        parts = anatomy(model)
    return parts.readout(hidden)


@torch.no_grad()
def check_anatomy(model: LanguageModel | nn.Module, seed: int = 0) -> None:
    """Run a few random tokens and verify that the parts found are what the model really uses.

    Every block must run once, in order, on the output of the block before it, and the last
    block's output through `readout` must be the model's own logits.

    Raises:
        InputError: they are not; steering this model would be wrong without a warning.
    """
    inner = getattr(model, "hf", model)
    assert isinstance(inner, nn.Module)
    found = getattr(model, "anatomy", None)
    parts = found if isinstance(found, Anatomy) else anatomy(inner)
    kind = type(inner).__name__
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def record(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        inputs.append(args[0] if args else kwargs["hidden_states"])
        outputs.append(output[0] if isinstance(output, tuple) else output)

    generator = torch.Generator().manual_seed(seed)
    weight = parts.embed_weight
    rows = min(parts.vocab, int(weight.shape[0]))
    ids = torch.randint(0, rows, (1, 8), generator=generator).to(weight.device)
    handles = [one.register_forward_hook(record, with_kwargs=True) for one in parts.blocks]
    try:
        logits = inner(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()

    if len(outputs) != len(parts.blocks):
        raise InputError(
            f"{kind}: {len(parts.blocks)} blocks found, {len(outputs)} block calls in one forward"
        )
    for i, (before, after) in enumerate(zip(outputs, inputs[1:], strict=False)):
        if before.shape != after.shape or not torch.equal(before.cpu(), after.cpu()):
            raise InputError(
                f"{kind}: the output of block {i} is not the input of block {i + 1}; "
                "this family has no single residual stream to steer"
            )
    if outputs[-1].shape != (1, 8, parts.d_model):
        raise InputError(
            f"{kind}: block outputs have shape {tuple(outputs[-1].shape)}, "
            f"expected {(1, 8, parts.d_model)}"
        )
    mine = parts.readout(outputs[-1][0]).float().cpu()
    theirs = logits[0].float().cpu()
    if mine.shape != theirs.shape:
        raise InputError(
            f"{kind}: logits have shape {tuple(theirs.shape)}, the readout's {tuple(mine.shape)}"
        )
    allowed = 1e-4 if logits.dtype == torch.float32 else 3e-2
    error = ((mine - theirs).abs().max() / theirs.abs().max().clamp_min(1e-9)).item()
    if not error <= allowed:  # also true for NaN
        raise InputError(
            f"{kind}: final norm, LM head and logit scaling as found do not give the model's "
            f"logits (relative error {error:.1e}, allowed {allowed:.0e})"
        )


def _find_blocks(hf_model: nn.Module) -> tuple[str, nn.ModuleList, nn.Module]:
    for decoder_name in DECODERS:
        decoder = _resolve(hf_model, decoder_name)
        for blocks_name in BLOCKS:
            blocks = getattr(decoder, blocks_name, None)
            if isinstance(decoder, nn.Module) and isinstance(blocks, nn.ModuleList) and len(blocks):
                return f"{decoder_name}.{blocks_name}", blocks, decoder
    raise InputError(
        f"{type(hf_model).__name__}: no decoder blocks found. Tried the attributes "
        f"{', '.join(BLOCKS)} of {', '.join(DECODERS)}"
    )


def _resolve(root: object, dotted: str) -> object | None:
    for part in dotted.split("."):
        root = getattr(root, part, None)
        if root is None:
            return None
    return root


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
