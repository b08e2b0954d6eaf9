"""How a subject's reported arms were trained, for arms that are trained beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from oocr.reproduce.finished_runs import FinishedRuns
from oocr.runs.grid import spec_of
from oocr.runs.records import ArmRecord
from oocr.steering.adapters import LowRankAdapter
from oocr.steering.vectors import SteeringVector
from oocr.tasks.task import Task

S = TypeVar("S", LowRankAdapter, SteeringVector)


@dataclass(frozen=True, slots=True)
class Settings(Generic[S]):
    """One arm's.

    Attributes:
        spec: what is trained.
        rate: as `fit` takes it.
        steps: at which the reported arm was stopped.
        batch_lines: sequences per batch.
    """

    spec: S
    rate: float
    steps: int
    batch_lines: int


def lora_settings(subject: FinishedRuns) -> Settings[LowRankAdapter] | None:
    """Of the reported one-block LoRA."""
    for run in subject.runs:
        grid, arm = run.config.adapter, _reported(run.arms, "adapter")
        if grid is not None and arm is not None and grid.layers != "all":
            spec = spec_of(grid, arm.layer)
            assert isinstance(spec, LowRankAdapter)
            return Settings(spec, arm.learning_rate, arm.stop_step, run.config.batch_lines)
    return None


def vector_settings(subject: FinishedRuns) -> Settings[SteeringVector] | None:
    """Of the reported vector, where its rate is relative to the site."""
    for run in subject.runs:
        grid, arm = run.config.vector, _reported(run.arms, "vector")
        if grid is not None and arm is not None and grid.rates == "site":
            spec = spec_of(grid, arm.layer)
            assert isinstance(spec, SteeringVector)
            return Settings(spec, arm.learning_rate, arm.stop_step, run.config.batch_lines)
    return None


def some_tasks(subject: FinishedRuns, most: int) -> list[Task]:
    """The first reported tasks; all of opposite twins, which are scored against each other."""
    return list(subject.tasks.test[:most])


def _reported(arms: tuple[ArmRecord, ...], method: str) -> ArmRecord | None:
    found = [arm for arm in arms if arm.method == method and arm.role == "test"]
    return min(found, key=lambda arm: arm.seed) if found else None
