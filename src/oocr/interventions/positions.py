"""Position selectors: at which tokens of a sequence a vector is added.

A selector is a word: "all" (every token), "last" (the last prompt token, the one before the
answer), "prompt", "answer" (the answer's tokens), or the name of a span ("codename": each token
of each occurrence). Selection is by absolute position in the sequence, so it means the same under
padding, batching and cached generation.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from oocr.data.batches import Batch
from oocr.errors import InputError

FIXED = ("all", "last", "prompt", "answer")


def select(batch: Batch, positions: str, *, everywhere: bool = True) -> Bool[Tensor, "batch token"]:
    """True at the tokens that the selector names.

    Args:
        batch: the sequences.
        positions: "all", "last", "prompt", "answer" or a span's name.
        everywhere: refuse a sequence in which the selector names no token.

    Raises:
        InputError: an unknown span, or a sequence in which nothing is selected.
    """
    columns = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    if positions == "all":
        chosen = batch.mask
    elif positions == "last":
        chosen = columns == batch.last[:, None]
    elif positions == "prompt":
        chosen = batch.mask & (columns <= batch.last[:, None])
    elif positions == "answer":
        chosen = batch.mask & (columns > batch.last[:, None])
    elif positions in batch.spans:
        chosen = batch.spans[positions]
    elif everywhere:
        raise InputError(
            f"positions {positions!r}: no such span here; "
            f"allowed: {', '.join([*FIXED, *batch.spans])}"
        )
    else:
        chosen = torch.zeros_like(batch.mask)
    if everywhere and positions != "answer":
        empty = (~chosen.any(dim=1)).nonzero().flatten().tolist()
        if empty:
            raise InputError(
                f"positions {positions!r} select no token in {len(empty)} of {batch.size} "
                f"sequences (first: sequence {empty[0]})"
            )
    return chosen
