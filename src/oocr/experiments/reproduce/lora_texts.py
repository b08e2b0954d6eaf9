"""Texts that a subject's LoRAs are read on: training prompts and unrelated passages."""

from __future__ import annotations

from collections.abc import Mapping

from oocr.engine.forward import start_block
from oocr.experiments.reproduce.subject import Subject
from oocr.explain.differences import Texts
from oocr.explain.natural import natural_vectors
from oocr.explain.neutral import neutral_passages
from oocr.interventions.adapters import Adapter
from oocr.interventions.vectors import Vector

MOST_TEXTS = 24
"""Training prompts that are read: a task may have thousands."""


def training_texts(subject: Subject, member: str, adapter: Adapter) -> Texts:
    """A member's training prompts, recorded at the LoRA's block."""
    key = ("reproduce training", subject.name, member, adapter.layers)

    def make() -> Texts:
        distinct = {item.prompt: dict(item.spans) for item in subject.task(member).train}
        some = dict(list(distinct.items())[:MOST_TEXTS])
        where = (start_block(adapter), adapter.layers[-1])
        return Texts(subject.model, list(some), list(some.values()), where)

    return subject.lab.kept(key, make)


def unrelated_texts(subject: Subject, adapter: Adapter) -> Texts:
    """Unrelated passages, recorded at the LoRA's block."""
    key = ("reproduce unrelated", subject.name, adapter.layers)

    def make() -> Texts:
        passages = neutral_passages()
        where = (start_block(adapter), adapter.layers[-1])
        return Texts(subject.model, passages, [{} for _ in passages], where)

    return subject.lab.kept(key, make)


def natural(subject: Subject) -> dict[str, dict[tuple[str, int], Vector]]:
    """The natural vectors of all LoRAs: kind -> member and seed -> vector."""
    found: dict[str, dict[tuple[str, int], Vector]] = {}
    for (member, seed), adapter in subject.adapters.items():
        some: Mapping[str, Vector] = natural_vectors(
            adapter, training_texts(subject, member, adapter), unrelated_texts(subject, adapter)
        )
        for kind, one in some.items():
            found.setdefault(kind, {})[member, seed] = one
    return found
