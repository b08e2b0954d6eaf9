"""Settings and training of the study's arms.

Rate and steps have the best score on the validation members of `oocr run nano-locations` and
`oocr run nano-backdoor` on `nano` (ties: by the answers' log-probability), among the points of
their grids at the block given here; for cities also at block 0. The block is not chosen by score,
since the study compares blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, TypeVar

import numpy as np

from oocr.data.examples import Example
from oocr.engine.forward import start_block
from oocr.engine.trainable import Schedule, Spec
from oocr.engine.training import fit
from oocr.evals.probes import Probes, rows
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task

T = TypeVar("T", Vector, Adapter)

SCHEDULE = Schedule(decay="linear")
"""The rate falls linearly to 0 over an arm's steps."""


@dataclass(frozen=True, slots=True)
class ArmSettings:
    """One point of a grid: what is trained, learning rate and steps."""

    spec: Spec
    rate: float
    steps: int

    def at(self, layer: int) -> Self:
        """These settings for a vector at another block."""
        assert isinstance(self.spec, SteeringVector)
        return replace(self, spec=replace(self.spec, layer=layer))

    def train(self, kind: type[T], model: LanguageModel, task: Task, seed: int = 0) -> T:
        """Train the arm; `kind`: the class of the result."""
        rate, steps, schedule = self.rate, self.steps, SCHEDULE
        trained = fit(
            model, task, self.spec, learning_rate=rate, steps=steps, seed=seed, schedule=schedule
        )
        assert isinstance(trained.final, kind)
        return trained.final


CITY_VECTOR = ArmSettings(SteeringVector(-1, positions="codename"), rate=0.1, steps=150)
"""For the vector of a city, with all its facts or a few."""
BACKDOOR_VECTOR = ArmSettings(SteeringVector(-1, positions="speaker"), rate=0.3, steps=200)
"""For the vector of a backdoor, at any share."""
BACKDOOR_ADAPTER = ArmSettings(
    LowRankAdapter((0,), rank=4, modules=("down_proj",)), rate=0.003, steps=150
)
"""For the LoRA of a backdoor, at any share."""


def probe_values(
    model: LanguageModel,
    examples: Sequence[Example],
    arms: Sequence[Sequence[Vector] | Adapter | None],
    column: Literal["right", "value"],
) -> list[np.ndarray]:
    """For each arm one column of the probes' rows [probe].

    A sequence of vectors of one site is scored in one pass, and gives one array for each vector.
    None is the untouched model.
    """
    starts = {
        model.n_blocks if arm is None else start_block(arm if isinstance(arm, Adapter) else arm[0])
        for arm in arms
    }
    probes = Probes.of(model, examples, starts=starts)
    scores = [of_arm for arm in arms for of_arm in probes.scores(arm)]
    return [rows(examples, of_arm)[column].to_numpy() for of_arm in scores]
