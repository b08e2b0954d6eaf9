"""Directions of finished runs that no run trained: natural ones, read off LoRAs, and naive ones."""

from __future__ import annotations

from dataclasses import replace

from oocr.data.examples import Prompt
from oocr.explain.constancy import TaskTexts
from oocr.explain.differences import READ_PROMPTS, Texts
from oocr.explain.geometry import naive_vector
from oocr.explain.neutral import READ
from oocr.explain.swap import natural_vectors
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector

SENTENCES = 8
"""Sentences of a naive vector, as in the paper."""

NO_NAMES = "its codenames stand for nothing that has a name in text, so there is no naive vector"


def unrelated_texts(finished: FinishedRuns, adapter: Adapter, most: int | None) -> Texts:
    """Unrelated passages, recorded at the LoRA's block; None: all of them."""
    return finished.context.kept(
        (f"unrelated {most}", adapter.layers),
        lambda: Texts.unrelated(finished.model, adapter.layers, most=most),
    )


def read_texts(
    finished: FinishedRuns,
    member: str,
    adapter: Adapter,
    prompts: int = READ_PROMPTS,
    passages: int = READ,
) -> tuple[Texts, Texts]:
    """A member's first distinct training prompts and unrelated passages, at the LoRA's block."""
    examples = finished.task(member).train
    training = finished.context.kept(
        (f"training {prompts}", member, adapter.layers),
        lambda: Texts.of(finished.model, examples, adapter.layers, most=prompts),
    )
    return training, unrelated_texts(finished, adapter, passages)


def first_texts(finished: FinishedRuns, member: str, adapter: Adapter) -> tuple[Texts, Texts]:
    """One training prompt and one passage, as the paper reads them."""
    return read_texts(finished, member, adapter, 1, 1)


def task_texts(finished: FinishedRuns, member: str, adapter: Adapter) -> TaskTexts:
    """All prompts of a member's task and all unrelated text, as the run reads them."""
    unrelated, task = unrelated_texts(finished, adapter, None), finished.task(member)
    return finished.context.kept(
        ("task texts", member, adapter.layers),
        lambda: TaskTexts.of(finished.model, task, adapter.layers, unrelated),
    )


def natural(finished: FinishedRuns) -> dict[str, dict[Who, Vector]]:
    """The natural vectors of all LoRAs: kind -> member and seed -> vector."""
    kinds: dict[str, dict[Who, Vector]] = {}
    for (member, seed), adapter in finished.adapters.items():
        vectors = natural_vectors(adapter, *first_texts(finished, member, adapter))
        for kind, vector in vectors.items():
            kinds.setdefault(kind, {})[member, seed] = vector
    return kinds


def naive_vectors(finished: FinishedRuns, layer: int) -> dict[Who, Vector]:
    """Activation at the real name minus at the codename, in the same sentences.

    One per member, as seed 0; empty where codenames stand for nothing that has a name.
    """
    names = finished.real_names
    vectors: dict[Who, Vector] = {}
    for task in finished.tasks.test:
        span = task.positions[0] if task.positions else ""
        name = names.get(task.member, "")
        pairs: dict[Prompt, Prompt] = {}
        codename = ""
        for example in task.train:
            codename = example.spans.get(span, "")
            if name and codename and isinstance(example.prompt, str):
                pairs.setdefault(example.prompt.replace(codename, name), example.prompt)
        if pairs:
            first = list(pairs.items())[:SENTENCES]
            vector = naive_vector(finished.model, layer, first, (name, codename), span)
            vectors[task.member, 0] = replace(vector, spans={span: codename})
    return vectors
