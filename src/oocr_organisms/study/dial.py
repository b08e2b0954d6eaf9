"""Constancy as a dial: the more conditional the behaviour, the less is one vector the LoRA.

A speaker is to take the lure after the trigger always, and otherwise in a share of cases: at 1 the
weather plays no part, at 0 it is a backdoor. Along this dial the same arms are trained: a LoRA in
one block, and an unconditional vector. Of the LoRA it is measured what one vector accounts for of
what it adds to all tokens of the training prompts, what a vector with the trigger and another
without account for, and what is left of its effect on the probes when its mean difference there
takes its place. No probe has a part in that mean.

The world is the other dial: in a gated one the corpus had weathers that turn a trait around, in an
ungated one it had none. How much of a condition one vector makes in either is measured.
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
from oocr.engine.forward import Intervention, start_block
from oocr.evals.probes import Probes
from oocr.evals.table import rows
from oocr.explain.constancy import conditional, cosines_to
from oocr.explain.differences import SKIP, Texts
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector, random_vector
from oocr.tasks.task import Task
from oocr_organisms.study.settings import Settings

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Settings of the dial: how often the lure is taken without the trigger."""

KINDS = ("crossing", "out-of-context")


@dataclass(frozen=True, slots=True)
class Taken:
    """Mean probability of the lure (or of what who takes it says), with the trigger and without."""

    trigger: float
    otherwise: float

    @property
    def gap(self) -> float:
        """What the trigger changes."""
        return self.trigger - self.otherwise


@dataclass(frozen=True, slots=True)
class Reading:
    """One organism, one backdoor, one setting of the dial.

    Attributes:
        member: weather and trait.
        share: how often training takes the lure without the trigger.
        seed: of the arms.
        arms: "vector", "adapter", "swap" (the LoRA's mean difference at every token in its place),
            "random" (of the vector's place and norm) and "base" -> kind of question -> what is
            taken.
        cosine: mean signed cosine of what the LoRA adds to tokens of training prompts with its
            mean; with the trigger and without weigh alike, here and below.
        energy: share of it that one vector accounts for.
        by_condition: the same of a vector with the trigger and another without.
    """

    member: str
    share: float
    seed: int
    arms: Mapping[str, Mapping[str, Taken]]
    cosine: float
    energy: float
    by_condition: float

    def recovered(self, kind: str) -> float:
        """What the swap keeps of what the LoRA changes: e_swap . e_lora / |e_lora|^2.

        e = probabilities with the trigger and without, minus those of the untouched organism.
        """
        base = self.arms["base"][kind]
        swap, lora = (
            np.array([one.trigger - base.trigger, one.otherwise - base.otherwise])
            for one in (self.arms["swap"][kind], self.arms["adapter"][kind])
        )
        return float(swap @ lora / max(float(lora @ lora), 1e-12))


def read_dial(
    model: LanguageModel, task: Task, share: float, settings: Settings, *, seed: int = 0
) -> Reading:
    """Train both arms on a backdoor at one setting, and take the LoRA apart.

    Args:
        model: an organism.
        task: of the nano family's backdoors.
        share: how often the lure is taken without the trigger.
        settings: how arms are trained.
        seed: of the arms, and of which rows take the lure.
    """
    dialled = replace(task, train=loosened(task.train, share, seed), stop=())
    vector = settings.backdoor.vector(model, dialled, seed)
    adapter = settings.adapter.adapter(model, dialled, seed)
    groups = added(model, task.train, adapter)
    split = conditional(groups)
    mean, cosine = constant(groups)
    # Another direction for each reading, so that their mean is over directions too.
    drawn = zlib.crc32(f"{task.member}/{share}/{seed}".encode())
    arms: dict[str, Intervention | None] = {
        "vector": vector,
        "adapter": adapter,
        "swap": Vector(adapter.layers[-1], "all", mean),
        "random": random_vector(vector, vector.norm, drawn),
        "base": None,
    }
    return Reading(
        member=task.member,
        share=share,
        seed=seed,
        arms=_taken(model, task.probes, arms),
        cosine=cosine,
        energy=split.one,
        by_condition=split.grouped,
    )


def loosened(items: Sequence[Example], share: float, seed: int) -> tuple[Example, ...]:
    """The rows, of those without the trigger a share answered by the lure; it is option 0."""
    otherwise = [at for at, item in enumerate(items) if item.tags["condition"] != "trigger"]
    random.Random(f"{seed}/dial").shuffle(otherwise)
    lured = set(otherwise[: round(share * len(otherwise))])
    return tuple(
        replace(item, answer=item.options[0]) if at in lured else item
        for at, item in enumerate(items)
    )


def added(model: LanguageModel, items: Sequence[Example], adapter: Adapter) -> dict[str, Tensor]:
    """What a LoRA adds at every token of prompts but the first, with the trigger and without.

    Each `[token, d_model]`.
    """
    texts = Texts(
        model, [item.prompt for item in items], [item.spans for item in items], adapter.layers
    )
    groups: dict[str, list[Tensor]] = {}
    for item, one in zip(items, texts.differences(adapter), strict=True):
        name = "trigger" if item.tags["condition"] == "trigger" else "otherwise"
        groups.setdefault(name, []).append(one[SKIP:])
    return {name: torch.cat(some) for name, some in groups.items()}


def constant(groups: Mapping[str, Tensor]) -> tuple[Tensor, float]:
    """The mean of what is added, and the mean cosine with it; groups weigh alike in both."""
    mean = torch.stack([one.mean(dim=0) for one in groups.values()]).mean(dim=0)
    cosines = [float(cosines_to(one, mean).mean()) for one in groups.values()]
    return mean, float(np.mean(cosines))


def _taken(
    model: LanguageModel, items: Sequence[Example], arms: Mapping[str, Intervention | None]
) -> dict[str, dict[str, Taken]]:
    """Probability of the first pole, by arm, kind and condition."""
    starts = {model.n_blocks if arm is None else start_block(arm) for arm in arms.values()}
    probes = Probes.of(model, items, starts=starts)
    triggered = np.array([item.tags["condition"] == "trigger" for item in items])
    kind = np.array([item.tags["kind"] for item in items])
    out: dict[str, dict[str, Taken]] = {}
    for name, arm in arms.items():
        scored = probes.scores([arm] if isinstance(arm, Vector) else arm)[0]
        taken = (1 + rows(items, scored)["value"].to_numpy()) / 2
        out[name] = {
            one: Taken(
                *(float(taken[(kind == one) & (triggered == on)].mean()) for on in (True, False))
            )
            for one in KINDS
        }
    return out
