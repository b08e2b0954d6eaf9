"""A check that a model computes with the parts that were found in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from oocr.errors import InputError
from oocr.models.anatomy import anatomy
from oocr.models.out_of_memory import is_out_of_memory
from oocr.words import first_line


@torch.no_grad()
def check_anatomy(hf_model: nn.Module) -> None:
    """Run a few random tokens and verify that the parts found are what the model really uses.

    Every block must run once, in order, on the output of the block before it, and the last
    block's output through `Anatomy.readout` must be the model's own logits.

    Raises:
        InputError: they are not; steering this model would be wrong without a warning.
    """
    parts = anatomy(hf_model)
    kind = type(hf_model).__name__
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def record(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        inputs.append(args[0] if args else kwargs["hidden_states"])
        outputs.append(output[0] if isinstance(output, tuple | list) else output)

    generator = torch.Generator().manual_seed(0)
    weight = parts.embed_weight
    rows = min(parts.vocab, int(weight.shape[0]))
    ids = torch.randint(0, rows, (1, 8), generator=generator).to(weight.device)
    handles = [block.register_forward_hook(record, with_kwargs=True) for block in parts.blocks]
    try:
        logits = hf_model(
            input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
        ).logits
    except Exception as trouble:  # any exception of the family's code
        if is_out_of_memory(trouble):
            raise
        line = first_line(trouble)
        raise InputError(
            f"{kind}: a forward pass over 8 tokens fails: {type(trouble).__name__}: {line}"
        ) from trouble
    finally:
        for handle in handles:
            handle.remove()

    def must(holds: bool, fault: str) -> None:
        if not holds:
            raise InputError(f"{kind}: {fault}")

    called = f"{len(parts.blocks)} blocks found, {len(outputs)} block calls in one forward"
    must(len(outputs) == len(parts.blocks), called)
    for i, (before, after) in enumerate(zip(outputs, inputs[1:], strict=False)):
        must(
            before.shape == after.shape and torch.equal(before.cpu(), after.cpu()),
            f"the output of block {i} is not the input of block {i + 1}; "
            "this family has no single residual stream to steer",
        )
    shape, expected_shape = tuple(outputs[-1].shape), (1, 8, parts.d_model)
    must(
        shape == expected_shape,
        f"block outputs have shape {shape}, expected {expected_shape}: "
        "one residual stream for each token",
    )
    computed = parts.readout(outputs[-1][0]).float().cpu()
    expected = logits[0].float().cpu()
    shapes = tuple(expected.shape), tuple(computed.shape)
    must(shapes[0] == shapes[1], f"logits have shape {shapes[0]}, the readout's {shapes[1]}")
    allowed = 1e-4 if logits.dtype == torch.float32 else 3e-2
    error = ((computed - expected).abs().max() / expected.abs().max().clamp_min(1e-9)).item()
    must(
        error <= allowed,  # not true for NaN
        "final norm, LM head and logit scaling as found do not give the model's "
        f"logits (relative error {error:.1e}, allowed {allowed:.0e})",
    )
