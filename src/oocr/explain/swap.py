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
from oocr.interventions.adapters import Adapter
from oocr.interventions.positions import FROM, span_of
from oocr.interventions.vectors import Vector

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
        positions: a selector, but not "answer": where the first vector is measured and added.

    Raises:
        InputError: positions that no training prompt has.
    """
    layer = adapter.layers[-1]
    at_training, at_text = training.differences(adapter), unrelated.differences(adapter)
    here = torch.cat([d[where(training, index, positions)] for index, d in enumerate(at_training)])
    if not len(here):
        raise InputError(f"positions {positions!r} select no token of the training prompts")
    halves = [torch.cat([d[SKIP:] for d in some]).mean(dim=0) for some in (at_training, at_text)]
    about = {**adapter.about, "from": "mean difference of a LoRA"}
    span = Vector(layer, positions, here.mean(dim=0), spans=adapter.spans, about=about)
    return span, Vector(layer, "all", (halves[0] + halves[1]) / 2, spans=adapter.spans, about=about)


def where(texts: Texts, index: int, positions: str) -> Tensor:
    """True at the tokens of a prompt at which a vector with these positions acts."""
    size = len(texts.lines[index].ids)
    span = span_of(positions)
    if positions in ("last", f"{FROM}last"):
        chosen = torch.zeros(size, dtype=torch.bool)
        chosen[-1] = True
        return chosen
    if positions in ("all", "prompt"):
        chosen = torch.ones(size, dtype=torch.bool)
        chosen[:SKIP] = False
        return chosen
    if span is None or span == positions:
        return texts.in_span(index, positions)
    return texts.in_span(index, span).cumsum(dim=0) > 0
