"""The questions of `explain` asked of one LoRA, for a notebook."""

from __future__ import annotations

import torch

from oocr.explain.constancy import Constancy, constancy_of
from oocr.explain.differences import Texts
from oocr.explain.neutral import neutral_passages
from oocr.explain.swap import SKIP, mean_vectors, where
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task


def constancy(
    model: LanguageModel, adapter: Adapter, task: Task, positions: str | None = None
) -> dict[str, Constancy]:
    """How constant is what a one-layer LoRA adds, at its block's output?

    Args:
        model: the model, nothing attached.
        adapter: the LoRA.
        task: its training prompts and probes are read.
        positions: which tokens make the first group; None: the task's span, or the last token.

    Returns:
        A `Constancy` per token group: "span", "other prompt tokens", "unrelated text".
    """
    at = positions or _first(task)
    distinct = {i.prompt: dict(i.spans) for i in (*task.train, *task.probes)}
    texts = Texts(model, list(distinct), list(distinct.values()), adapter.layers)
    span, other = [], []
    for index, d in enumerate(texts.differences(adapter)):
        chosen = where(texts, index, at)
        span.append(d[chosen])
        chosen = ~chosen
        chosen[:SKIP] = False
        other.append(d[chosen])
    unrelated = _unrelated(model, adapter).differences(adapter)
    return {
        "span": constancy_of(torch.cat(span)),
        "other prompt tokens": constancy_of(torch.cat(other)),
        "unrelated text": constancy_of(torch.cat([d[SKIP:] for d in unrelated])),
    }


def swap(
    model: LanguageModel, adapter: Adapter, task: Task, positions: str | None = None
) -> tuple[Vector, Vector]:
    """The vectors that may take a one-layer LoRA's place: its mean difference.

    Returns:
        The mean at the span (of training prompts), to be added there; and the mean over training
        prompts and unrelated text (half and half), to be added at every token.
    """
    distinct = {item.prompt: dict(item.spans) for item in task.train}
    training = Texts(model, list(distinct), list(distinct.values()), adapter.layers)
    unrelated = _unrelated(model, adapter)
    return mean_vectors(adapter, training, unrelated, positions or _first(task))


def _first(task: Task) -> str:
    return task.positions[0] if task.positions else "last"


def _unrelated(model: LanguageModel, adapter: Adapter) -> Texts:
    passages = neutral_passages(model)
    return Texts(model, passages, [{} for _ in passages], adapter.layers)
