"""A vector as a PEFT adapter: a LoRA of zeros whose bias is the vector.

The bias is added to the output of the Linear that ends the block's MLP: the vector at the block's
output, unless a norm comes first (Gemma, OLMo-2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from oocr.errors import InputError
from oocr.models.branches import mlp_of
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, linear_shape
from oocr.steering.hooks import hidden_of, hooked, site_module
from oocr.steering.vectors import Vector, check_everywhere, check_fits

TOLERANCE = {torch.float32: 1e-3}
"""Allowed deviation, as a share of the push, besides the rounding of what it is added to."""

LOOSE = 0.06
"""The same in types of 16 bits."""

TOKENS = 8


def peft_adapter(model: LanguageModel, vector: Vector, *, everywhere: bool = False) -> Adapter:
    """The adapter that adds the vector; `.save(folder)` writes it for `PeftModel.from_pretrained`.

    It is tried on the model: the site must move by the vector and nothing else. PEFT cannot merge
    it where that Linear has no bias of its own; vLLM reads no biases of LoRAs. `everywhere` accepts
    positions other than "all": PEFT will add the vector to every token.

    Raises:
        InputError: positions, a site or a layer that an adapter cannot express on this model.
    """
    check_fits(model, vector)
    check_everywhere(vector, "a PEFT adapter", everywhere=everywhere)
    if vector.layer < 0:
        raise InputError(
            "layer: found -1; a bias is added in a block, after what block 0 reads; "
            "allowed: blocks from 0 on"
        )
    mlp = mlp_of(model, vector.layer)
    block, prefix = model.anatomy.blocks[vector.layer], model.anatomy.block_names[vector.layer]
    where = f"block {vector.layer} of {model.name}"
    if vector.site == "block" and mlp.norm is not None:
        raise InputError(
            f"site: found 'block'; in {where} a norm ({type(mlp.norm).__name__}) follows the MLP, "
            "so no bias is a constant at the block's output; allowed: a vector at site 'mlp'"
        )
    factor = mlp.factor if vector.site == "block" else 1.0
    named = {id(module): name for name, module in block.named_modules()}
    for linear in reversed(list(mlp.module.modules())):
        # The last one ends the MLP, unless what follows has a gate.
        shape = linear_shape(linear)
        if shape and shape[1] == model.d_model and _moves_alone(model, vector, linear, factor):
            return _adapter(model, vector, linear, f"{prefix}.{named[id(linear)]}", factor)
    kinds = sorted({type(module).__name__ for module in mlp.module.modules()} - {"ModuleList"})
    raise InputError(
        f"the MLP of {where} ends in no Linear whose bias is a constant at site {vector.site!r} "
        f"(it has {', '.join(kinds)}); allowed: a vector file or another export"
    )


def _adapter(
    model: LanguageModel, vector: Vector, linear: nn.Module, name: str, factor: float
) -> Adapter:
    config = {
        "r": 1,
        "lora_alpha": 1,
        "lora_dropout": 0.0,
        "lora_bias": True,
        "target_modules": [name],
        "fan_in_fan_out": type(linear).__name__ == "Conv1D",
    }
    bias = vector.direction.detach().float().cpu() / factor
    inputs, _ = linear_shape(linear) or (0, 0)
    key = f"base_model.model.{name}"
    tensors = {
        f"{key}.lora_A.weight": torch.zeros(1, inputs),
        f"{key}.lora_B.weight": torch.zeros(len(bias), 1),
        f"{key}.lora_B.bias": bias,
    }
    about = {**vector.about, **model.about, "from": f"a vector at {vector.positions!r}"}
    return Adapter((vector.layer,), config, tensors, spans=vector.spans, about=about)


@torch.no_grad()
def _moves_alone(model: LanguageModel, vector: Vector, linear: nn.Module, factor: float) -> bool:
    """Whether a bias at the Linear moves the site by itself times the factor, at every token."""
    site = site_module(model, vector.layer, vector.site)
    generator = torch.Generator().manual_seed(0)
    rows = min(model.anatomy.vocab, int(model.anatomy.embed_weight.shape[0]))
    ids = torch.randint(0, rows, (1, TOKENS), generator=generator).to(model.device)
    before = _output(model, site, ids)
    push = torch.randn(model.d_model, generator=generator) * before.square().mean().sqrt()

    def add(_module: object, _args: object, output: Tensor) -> Tensor:
        return output + (push / factor).to(output)

    with hooked(linear.register_forward_hook(add)):
        moved = _output(model, site, ids) - before
    share, unit = TOLERANCE.get(model.dtype, LOOSE), torch.finfo(model.dtype).eps
    allowed = share * push.abs().max() + 2 * unit * (before.abs() + push.abs())
    return bool(((moved - push).abs() <= allowed).all())


def _output(model: LanguageModel, site: nn.Module, ids: Tensor) -> Tensor:
    """[token, d_model] of fp32 on the CPU: what the site gives for one sequence."""
    seen: list[Tensor] = []

    def look(_module: object, _args: object, output: Any) -> None:
        seen.append(hidden_of(output))

    with hooked(site.register_forward_hook(look)):
        model.hf(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return seen[0].reshape(-1, model.d_model).float().cpu()
