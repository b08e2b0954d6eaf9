"""Texts that a subject's LoRAs are read on: training prompts and unrelated passages."""

from __future__ import annotations

from collections.abc import Mapping

from oocr.engine.forward import start_block
from oocr.explain.differences import Texts
from oocr.explain.natural import natural_vectors
from oocr.explain.neutral import READ, neutral_passages
from oocr.reproduce.finished_runs import FinishedRuns
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector

MOST_PROMPTS = 16
"""Prompts that are read: a task may have thousands."""


def training_texts(
    subject: FinishedRuns, member: str, adapter: Adapter, most: int = MOST_PROMPTS
) -> Texts:
    """A member's first distinct training prompts, recorded at the LoRA's block."""
    key = (f"training {most}", member, adapter.layers)

    def make() -> Texts:
        distinct = {item.prompt: dict(item.spans) for item in subject.task(member).train}
        some = dict(list(distinct.items())[:most])
        where = (start_block(adapter), adapter.layers[-1])
        return Texts(subject.model, list(some), list(some.values()), where)

    return subject.lab.kept(key, make)


def unrelated_texts(subject: FinishedRuns, adapter: Adapter, most: int = READ) -> Texts:
    """Unrelated passages, recorded at the LoRA's block."""
    key = (f"unrelated {most}", adapter.layers)

    def make() -> Texts:
        passages = neutral_passages(subject.model)[:most]
        where = (start_block(adapter), adapter.layers[-1])
        return Texts(subject.model, passages, [{} for _ in passages], where)

    return subject.lab.kept(key, make)


def first_texts(subject: FinishedRuns, member: str, adapter: Adapter) -> tuple[Texts, Texts]:
    """One training prompt and one passage, as the paper reads them."""
    return training_texts(subject, member, adapter, 1), unrelated_texts(subject, adapter, 1)


def natural(subject: FinishedRuns) -> dict[str, dict[tuple[str, int], Vector]]:
    """The natural vectors of all LoRAs: kind -> member and seed -> vector."""
    found: dict[str, dict[tuple[str, int], Vector]] = {}
    for (member, seed), adapter in subject.adapters.items():
        some: Mapping[str, Vector] = natural_vectors(
            adapter, *first_texts(subject, member, adapter)
        )
        for kind, one in some.items():
            found.setdefault(kind, {})[member, seed] = one
    return found
