"""The swap: replace a LoRA by its mean difference (paper, sections 4.2 and 4.3).

m_span = mean of d_t over the span's tokens of the training prompts, added at the span;
m_all = half the mean of d_t over the training prompts' tokens plus half its mean over unrelated
text, added at every token, unconditionally (in and out of distribution weigh the same, as in the
paper). Both means are signed and uncentred, their scale is what was measured, and no
probe has a part in them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from oocr.errors import InputError
from oocr.explain.differences import Texts
from oocr.steering.adapters import Adapter
from oocr.steering.positions import FROM, spans_of
from oocr.steering.vectors import Vector

SKIP = 1
"""Tokens left out at the start of a sequence: in many models the first one carries a huge norm."""


def mean_vectors(
    adapter: Adapter,
    training: Texts,
    unrelated: Texts,
    positions: str,
) -> tuple[Vector, Vector]:
    """The LoRA's mean difference, at the span (or chosen position) and everywhere.

    Args:
        adapter: a one-layer LoRA.
        training: the training prompts.
        unrelated: text that has nothing to do with the task.
        positions: a selector, but not "answer": where the first vector is measured and added; of
            joined spans each at its own tokens.

    Raises:
        InputError: positions that no training prompt has.
    """
    layer = adapter.layers[-1]
    at_training, at_text = training.differences(adapter), unrelated.differences(adapter)

    def mean_at(selector: str) -> Tensor:
        some = [d[where(training, index, selector)] for index, d in enumerate(at_training)]
        here = torch.cat(some)
        if not len(here):
            raise InputError(f"positions {selector!r} select no token of the training prompts")
        return here.mean(dim=0)

    spans = spans_of(positions)
    mean = torch.stack([mean_at(one) for one in spans]) if len(spans) > 1 else mean_at(positions)
    halves = [torch.cat([d[SKIP:] for d in some]).mean(dim=0) for some in (at_training, at_text)]
    about = {**adapter.about, "from": "mean difference of a LoRA"}
    span = Vector(layer, positions, mean, spans=adapter.spans, about=about)
    return span, Vector(layer, "all", (halves[0] + halves[1]) / 2, spans=adapter.spans, about=about)


def where(texts: Texts, index: int, positions: str) -> Tensor:
    """True at the tokens of a prompt at which a vector with these positions acts."""
    size = len(texts.lines[index].ids)
    spans = spans_of(positions)
    if positions in ("last", f"{FROM}last"):
        chosen = torch.zeros(size, dtype=torch.bool)
        chosen[-1] = True
        return chosen
    if positions in ("all", "prompt"):
        chosen = torch.ones(size, dtype=torch.bool)
        chosen[:SKIP] = False
        return chosen
    if positions.startswith(FROM):
        return texts.in_span(index, spans[0]).cumsum(dim=0) > 0
    return torch.stack([texts.in_span(index, one) for one in spans or (positions,)]).any(dim=0)
