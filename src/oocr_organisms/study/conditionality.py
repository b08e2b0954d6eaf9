"""The more conditional the behaviour, the less of what a LoRA adds is one constant vector.

The speaker takes the lure always after the trigger, and otherwise in a share of cases. At share 1
the weather has no effect, at share 0 it is a backdoor. For each share a LoRA in one block and an
unconditional vector are trained. Measured on what the LoRA adds at the tokens of the training
prompts: the share of its energy in one vector, and in two (with the trigger and without). Measured
on the probes: the share of the LoRA's effect that its mean (over training prompts) keeps.
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
"""Shares of rows without the trigger in which the lure is taken."""

KINDS = ("crossing", "out-of-context")


@dataclass(frozen=True, slots=True)
class LureProbability:
    """Mean probability of the lure (or of its pole's answer), with and without the trigger."""

    trigger: float
    otherwise: float

    @property
    def gap(self) -> float:
        """The change by the trigger."""
        return self.trigger - self.otherwise


@dataclass(frozen=True, slots=True)
class ConditionalityResult:
    """The result of one organism, one backdoor and one share.

    Attributes:
        member: weather and trait.
        share: share of training rows without the trigger that take the lure.
        seed: of the arms.
        arms: arm -> kind of question -> probability of the lure. Arms: "vector", "adapter", "swap"
            (the LoRA's mean difference at every token, without the LoRA), "random" (a direction
            with the vector's norm and position), "base".
        cosine: mean signed cosine of what the LoRA adds at tokens of training prompts with its
            mean; prompts with and without the trigger have equal weight, here and below.
        energy: share of the energy of what the LoRA adds that is in one vector.
        by_condition: share in two vectors, one with the trigger and one without.
    """

    member: str
    share: float
    seed: int
    arms: Mapping[str, Mapping[str, LureProbability]]
    cosine: float
    energy: float
    by_condition: float

    def recovered(self, kind: str) -> float:
        """The share of the LoRA's effect that the swap keeps: e_swap . e_lora / |e_lora|^2.

        e = (probability with the trigger, without) minus that of the untouched organism.
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
    """Train both arms on a backdoor task at one share (see `with_share`), and measure the LoRA.

    `seed`: of the arms, and of the choice of rows that take the lure.
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
    # A different direction for each result, so that means are over directions too.
    random_seed = zlib.crc32(f"{task.member}/{share}/{seed}".encode())
    arms: dict[str, Sequence[Vector] | Adapter | None] = {
        "vector": [vector],
        "adapter": adapter,
        "swap": [Vector(adapter.layers[-1], "all", mean)],
        "random": [random_vector(vector, vector.norm, random_seed)],
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
    """The rows; in a share of those without the trigger the answer is the lure (option 0)."""
    otherwise = [at for at, row in enumerate(rows) if not _triggered(row)]
    random.Random(f"{seed}/dial").shuffle(otherwise)
    lured = set(otherwise[: round(share * len(otherwise))])
    return tuple(
        replace(row, answer=row.options[0]) if at in lured else row for at, row in enumerate(rows)
    )


def _triggered(example: Example) -> bool:
    return example.tags["condition"] == "trigger"


def balanced_mean(groups: Mapping[str, Tensor]) -> tuple[Tensor, float]:
    """The mean of what is added, and the mean cosine with it; groups have equal weight."""
    mean = torch.stack([group.mean(dim=0) for group in groups.values()]).mean(dim=0)
    cosines = [float(cosines_to(group, mean).mean()) for group in groups.values()]
    return mean, float(np.mean(cosines))


def _lure_probabilities(probes: Sequence[Example], lure: np.ndarray) -> dict[str, LureProbability]:
    """Kind of question -> mean probability; `lure` [probe]: probability of the lure."""
    triggered = np.array([_triggered(probe) for probe in probes])
    kinds = np.array([probe.tags["kind"] for probe in probes])
    return {
        kind: LureProbability(
            trigger=float(lure[(kinds == kind) & triggered].mean()),
            otherwise=float(lure[(kinds == kind) & ~triggered].mean()),
        )
        for kind in KINDS
    }
