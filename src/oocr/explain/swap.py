"""The swap: replace a LoRA by its mean difference (paper, sections 4.2 and 4.3).

m_span = mean of d_t over the span's tokens of the training prompts, added at the span;
m_all = half the mean of d_t over the training prompts' tokens plus half its mean over unrelated
text, added at every token, unconditionally (in and out of distribution weigh the same, as in the
paper). Both means are signed and uncentred, their scale is what was measured, and no probe has a
part in them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from oocr import html
from oocr.errors import InputError
from oocr.explain.differences import Texts, joined
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.positions import spans_of
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task


class Swap(NamedTuple):
    """The two vectors that may take a LoRA's place.

    Attributes:
        at_span: the mean at the span, to be added there.
        everywhere: the mean over training prompts and unrelated text, to be added at every token.
    """

    at_span: Vector
    everywhere: Vector

    def _repr_html_(self) -> str:
        rows = [
            (name, vector.layer, vector.positions, f"{vector.norm:.3g}")
            for name, vector in zip(("at the span", "everywhere"), self, strict=True)
        ]
        return html.table(("mean difference", "block", "positions", "norm"), rows, "Swap")


def default_positions(task: Task) -> str:
    """Where a LoRA on a task is read, if nothing else is said: its first span, or the last token.

    The same rule as for a vector with positions "auto".
    """
    return task.positions[0] if task.positions else "last"


def swap(model: LanguageModel, adapter: Adapter, task: Task, positions: str | None = None) -> Swap:
    """The vectors that may take a one-layer LoRA's place: its mean difference.

    Args:
        model: the model, nothing attached.
        adapter: the LoRA.
        task: whose training prompts are read; its probes are not.
        positions: where the first vector is measured and added; None: `default_positions`.

    Raises:
        InputError: positions that no training prompt has.
    """
    training = Texts.of(model, task.train, adapter.layers)
    unrelated = Texts.unrelated(model, adapter.layers)
    return mean_vectors(adapter, training, unrelated, positions or default_positions(task))


def mean_vectors(adapter: Adapter, training: Texts, unrelated: Texts, positions: str) -> Swap:
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
    differences = training.differences(adapter)

    def mean_at(selector: str) -> Tensor:
        here = torch.cat([d[training.at(i, selector)] for i, d in enumerate(differences)])
        if not len(here):
            raise InputError(f"positions {selector!r} select no token of the training prompts")
        return here.mean(dim=0)

    spans = spans_of(positions)
    mean = torch.stack([mean_at(name) for name in spans]) if len(spans) > 1 else mean_at(positions)
    halves = [joined([texts], adapter).mean(dim=0) for texts in (training, unrelated)]
    about = {**adapter.about, "from": "mean difference of a LoRA"}
    return Swap(
        Vector(layer, positions, mean, spans=adapter.spans, about=about),
        Vector(layer, "all", (halves[0] + halves[1]) / 2, spans=adapter.spans, about=about),
    )
