"""Constancy as a dial: the more conditional the behaviour, the less of the LoRA is one vector.

A speaker is to take the lure always after the trigger, and otherwise in a share of cases: at 1 the
weather plays no part, at 0 it is a backdoor. At each share a LoRA in one block and an unconditional
vector are trained. Measured on what the LoRA adds at the tokens of the training prompts: the share
of its energy in one vector, and in two (with the trigger and without). Measured on the probes: the
share of the LoRA's effect that its mean (over training prompts only) keeps.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from oocr.data.examples import Example
from oocr.explain.constancy import conditional, cosines_to
from oocr.explain.differences import Texts, joined
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector, random_vector
from oocr.tasks.task import Task
from oocr_organisms.study.arms import BACKDOOR_ADAPTER, BACKDOOR_VECTOR, ArmSettings, probe_values

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""How often the lure is taken without the trigger."""

KINDS = ("crossing", "out-of-context")


@dataclass(frozen=True, slots=True)
class LureProbability:
    """Mean probability of the lure (or of what its pole says), with the trigger and without."""

    trigger: float
    otherwise: float

    @property
    def gap(self) -> float:
        """What the trigger changes."""
        return self.trigger - self.otherwise


@dataclass(frozen=True, slots=True)
class ConditionalityResult:
    """One organism, one backdoor, one share.

    Attributes:
        arms: "vector", "adapter", "swap" (the LoRA's mean difference at every token in its place),
            "random" (of the vector's place and norm) and "base" -> kind of question ->
            probability of the lure.
        cosine: mean signed cosine of what the LoRA adds to tokens of training prompts with its
            mean; with the trigger and without weigh alike, here and below.
    """

    member: str  # weather and trait
    share: float  # how often training takes the lure without the trigger
    seed: int  # of the arms
    arms: Mapping[str, Mapping[str, LureProbability]]
    cosine: float
    energy: float  # share of it that one vector accounts for
    by_condition: float  # share that a vector with the trigger and another without account for

    def recovered(self, kind: str) -> float:
        """What the swap keeps of what the LoRA changes: e_swap . e_lora / |e_lora|^2.

        e = probabilities with the trigger and without, minus those of the untouched organism.
        """
        base, swap, lora = (
            np.array([self.arms[arm][kind].trigger, self.arms[arm][kind].otherwise])
            for arm in ("base", "swap", "adapter")
        )
        effect = lora - base
        return float((swap - base) @ effect / max(float(effect @ effect), 1e-12))


def measure_share(
    model: LanguageModel,
    task: Task,
    share: float,
    *,
    seed: int = 0,
    vector_arm: ArmSettings = BACKDOOR_VECTOR,
    adapter_arm: ArmSettings = BACKDOOR_ADAPTER,
) -> ConditionalityResult:
    """Train both arms on a backdoor task at one share (see `with_share`), and take the LoRA apart.

    `seed` is that of the arms, and of which rows take the lure.
    """
    diluted = replace(task, train=with_share(task.train, share, seed), stop=())
    vector = vector_arm.train(Vector, model, diluted, seed)
    adapter = adapter_arm.train(Adapter, model, diluted, seed)
    groups: dict[str, Tensor] = {}
    for name in ("trigger", "otherwise"):
        prompts = [row for row in task.train if _triggered(row) == (name == "trigger")]
        groups[name] = joined([Texts.of(model, prompts, adapter.layers)], adapter)
    energies = conditional(groups)
    mean, cosine = balanced_mean(groups)
    # Another direction for each result, so that their mean is over directions too.
    drawn = zlib.crc32(f"{task.member}/{share}/{seed}".encode())
    arms: dict[str, Sequence[Vector] | Adapter | None] = {
        "vector": [vector],
        "adapter": adapter,
        "swap": [Vector(adapter.layers[-1], "all", mean)],
        "random": [random_vector(vector, vector.norm, drawn)],
        "base": None,
    }
    values = probe_values(model, task.probes, list(arms.values()), "value")
    return ConditionalityResult(
        member=task.member,
        share=share,
        seed=seed,
        arms={
            name: _lure_probabilities(task.probes, (1 + value) / 2)
            for name, value in zip(arms, values, strict=True)
        },
        cosine=cosine,
        energy=energies.common,
        by_condition=energies.grouped,
    )


def with_share(rows: Sequence[Example], share: float, seed: int) -> tuple[Example, ...]:
    """The rows; of those without the trigger a share is answered by the lure, which is option 0."""
    otherwise = [at for at, row in enumerate(rows) if not _triggered(row)]
    random.Random(f"{seed}/dial").shuffle(otherwise)
    lured = set(otherwise[: round(share * len(otherwise))])
    return tuple(
        replace(row, answer=row.options[0]) if at in lured else row for at, row in enumerate(rows)
    )


def _triggered(example: Example) -> bool:
    return example.tags["condition"] == "trigger"


def balanced_mean(groups: Mapping[str, Tensor]) -> tuple[Tensor, float]:
    """The mean of what is added and the mean cosine with it; groups weigh alike in both."""
    mean = torch.stack([group.mean(dim=0) for group in groups.values()]).mean(dim=0)
    cosines = [float(cosines_to(group, mean).mean()) for group in groups.values()]
    return mean, float(np.mean(cosines))


def _lure_probabilities(asked: Sequence[Example], lure: np.ndarray) -> dict[str, LureProbability]:
    """By kind of question; `lure`: the probability in each."""
    triggered = np.array([_triggered(probe) for probe in asked])
    kinds = np.array([probe.tags["kind"] for probe in asked])
    return {
        kind: LureProbability(
            trigger=float(lure[(kinds == kind) & triggered].mean()),
            otherwise=float(lure[(kinds == kind) & ~triggered].mean()),
        )
        for kind in KINDS
    }
