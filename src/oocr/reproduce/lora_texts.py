"""Texts that a subject's LoRAs are read on: training prompts and unrelated passages."""

from __future__ import annotations

from collections.abc import Mapping

from oocr.engine.forward import start_block
from oocr.explain.constancy import TaskTexts
from oocr.explain.differences import Texts
from oocr.explain.natural import natural_vectors
from oocr.explain.neutral import READ
from oocr.reproduce.finished_runs import FinishedRuns
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector

MOST_PROMPTS = 16
"""Prompts that are read: a task may have thousands."""


def training_texts(
    subject: FinishedRuns, member: str, adapter: Adapter, most: int = MOST_PROMPTS
) -> Texts:
    """A member's first distinct training prompts, recorded at the LoRA's block."""
    return subject.lab.kept(
        (f"training {most}", member, adapter.layers),
        lambda: Texts.of(subject.model, subject.task(member).train, _blocks(adapter), most=most),
    )


def unrelated_texts(subject: FinishedRuns, adapter: Adapter, most: int | None = READ) -> Texts:
    """Unrelated passages, recorded at the LoRA's block; None: all of them."""
    return subject.lab.kept(
        (f"unrelated {most}", adapter.layers),
        lambda: Texts.unrelated(subject.model, _blocks(adapter), most=most),
    )


def task_texts(subject: FinishedRuns, member: str, adapter: Adapter) -> TaskTexts:
    """All prompts of a member's task and all unrelated text, as the run reads them."""
    unrelated = unrelated_texts(subject, adapter, None)
    return subject.lab.kept(
        ("task texts", member, adapter.layers),
        lambda: TaskTexts.of(subject.model, subject.task(member), _blocks(adapter), unrelated),
    )


def _blocks(adapter: Adapter) -> tuple[int, int]:
    return start_block(adapter), adapter.layers[-1]


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
