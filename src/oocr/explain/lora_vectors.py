"""Vectors that may replace a LoRA (paper, sections 4.2 and 4.3).

d_t is what a one-layer LoRA adds at its block's output; all means of it are signed and uncentred
(centring takes away the very mean that is sought), and no probe has a part in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from oocr import html
from oocr.errors import InputError
from oocr.explain.differences import SKIP, Texts, joined
from oocr.explain.geometry import pair_cosines, units_of
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.positions import spans_of
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task


class Swap(NamedTuple):
    """The vectors that may replace a LoRA: the mean at the span, and the mean for every token."""

    at_span: Vector
    everywhere: Vector

    def _repr_html_(self) -> str:
        rows = [
            (name, vector.layer, vector.positions, f"{vector.norm:.3g}")
            for name, vector in zip(("at the span", "everywhere"), self, strict=True)
        ]
        return html.table(("mean difference", "block", "positions", "norm"), rows, "Swap")


def default_positions(task: Task) -> str:
    """Where a LoRA on a task is read: its first span, or the last token (as "auto")."""
    return task.positions[0] if task.positions else "last"


def swap(model: LanguageModel, adapter: Adapter, task: Task, positions: str | None = None) -> Swap:
    """The vectors that may replace a one-layer LoRA: its mean difference.

    At the span: the mean of d_t over its tokens of the task's training prompts (`positions`;
    default: `default_positions`). Everywhere: half the mean over all tokens of these, plus half of
    that over unrelated text (in and out of distribution weigh the same, as in the paper).

    InputError: positions that no training prompt has.
    """
    training = Texts.of(model, task.train, adapter.layers)
    unrelated = Texts.unrelated(model, adapter.layers)
    return mean_vectors(adapter, training, unrelated, positions or default_positions(task))


def mean_vectors(adapter: Adapter, training: Texts, unrelated: Texts, positions: str) -> Swap:
    """`swap` on recorded training prompts and unrelated text.

    `positions`: a selector, but not "answer"; of joined spans each is read at its own tokens.
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


PASSAGES = 6
"""Neutral passages on which a LoRA without a task is read."""


def mean_on_unrelated(model: LanguageModel, adapter: Adapter, passages: int = PASSAGES) -> Vector:
    """What a LoRA adds to the stream at its last block's output, on average over unrelated text.

    For a LoRA in several blocks, the sum of what all blocks add.
    """
    texts = Texts.unrelated(model, adapter.layers, most=passages)
    about = {**adapter.about, "from": "mean difference of a LoRA on unrelated text"}
    return Vector(adapter.layers[-1], "all", joined([texts], adapter).mean(dim=0), about=about)


TOKENS = 20
"""Last tokens of each text, as in the paper: the first ones carry spikes of the norm."""


@dataclass(frozen=True, slots=True)
class PairCosines:
    """Signed cosines of all `n` pairs, their mean, and mean |cos| (the paper's measure)."""

    n: int
    absolute: float
    signed: float
    values: tuple[float, ...]


def natural_vectors(
    adapter: Adapter, trained: Texts, unrelated: Texts, tokens: int = TOKENS
) -> dict[str, Vector]:
    """Three directions of a one-layer LoRA, to be added at every token.

    Of d_t at the last tokens of a training prompt and of an unrelated passage: their "mean", their
    "first direction" (right singular vector, uncentred), and the "unit mean" (of d_t / |d_t|); the
    latter two are units u, scaled by mean_t d_t . u.
    """
    d = last_differences(adapter, trained, unrelated, tokens)
    mean = d.mean(dim=0)
    first = torch.linalg.svd(d, full_matrices=False).Vh[0]
    about = {**adapter.about, "from": f"natural vector of a LoRA, {len(d)} tokens"}

    def scaled(u: Tensor) -> Tensor:
        u = u / u.norm().clamp_min(1e-300)
        return (d @ u).mean() * u  # the sign of u cancels with the sign of the projection

    unit_mean = scaled(units_of(d).mean(dim=0))
    kinds = {"mean": mean, "first direction": scaled(first), "unit mean": unit_mean}
    return {
        name: Vector(
            adapter.layers[-1], "all", v.float(), spans=adapter.spans, about={**about, "how": name}
        )
        for name, v in kinds.items()
    }


def last_differences(
    adapter: Adapter, trained: Texts, unrelated: Texts, tokens: int = TOKENS
) -> Float[Tensor, "token d_model"]:
    """d_t at the last tokens of the first text of each, in fp64.

    InputError: no token is asked for.
    """
    if tokens < 1:
        raise InputError(f"tokens: found {tokens}; allowed: 1 or more")
    last = [texts.differences(adapter)[0][SKIP:][-tokens:] for texts in (trained, unrelated)]
    return torch.cat(last).double()


def pairs_of(differences: Float[Tensor, "token d_model"]) -> PairCosines:
    """Cosines of all pairs of tokens; InputError: fewer than two tokens."""
    if len(differences) < 2:
        raise InputError(f"differences: found {len(differences)} tokens; allowed: 2 or more")
    cosines = pair_cosines(differences.double())
    absolute, signed = float(cosines.abs().mean()), float(cosines.mean())
    return PairCosines(len(cosines), absolute, signed, tuple(cosines.tolist()))
