"""Finished runs of one task as input of analyses, and directions that no run trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import polars as pl

from oocr.data.examples import Prompt
from oocr.errors import InputError
from oocr.evals.scores import Scoring
from oocr.explain.constancy import TaskTexts
from oocr.explain.differences import READ_PROMPTS, Texts
from oocr.explain.geometry import naive_vector
from oocr.explain.llm_judge import Judge
from oocr.explain.lora_vectors import natural_vectors
from oocr.explain.neutral import READ
from oocr.families.registry import family_of
from oocr.models.language_model import LanguageModel
from oocr.runs.arms import load_intervention
from oocr.runs.context import RunContext
from oocr.runs.explain_stage import swap_positions
from oocr.runs.folder import RunFolder
from oocr.runs.records import ArmRecord
from oocr.runs.resolve import ResolvedRun, resolve, with_own_answers
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task, TaskSet

Unit = tuple[str, int]  # member and seed

SENTENCES = 8  # sentences of a naive vector, as in the paper
NO_NAMES = "its codenames stand for nothing that has a name in text, so there is no naive vector"

SpecT = TypeVar("SpecT", LowRankAdapter, SteeringVector)


@dataclass(frozen=True, slots=True)
class TrainedAs(Generic[SpecT]):
    """Hyperparameters of a finished run's arms, reused for follow-up training."""

    spec: SpecT
    rate: float  # as for `fit`
    steps: int  # where the reported arm was stopped
    batch_lines: int


class FinishedRun(RunFolder):
    """The folder of a finished run, read once per process; only its path is pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return FinishedRun, (self.folder,)

    @cached_property
    def rows(self) -> pl.DataFrame:
        """rows.parquet: one row per item scored."""
        rows = super().rows
        if rows is None:
            raise InputError(
                f"{self.folder / 'rows.parquet'} is missing or empty; do the run again"
            )
        return rows

    @cached_property
    def resolved(self) -> ResolvedRun:
        """The run's configuration and tasks as trained, without its model's own answers."""
        return resolve(self.config, self.folder)

    def reported(self, method: str) -> list[ArmRecord]:
        """The reported arms of a method, without controls and sweeps."""
        return [arm for arm in self.arms if arm.method == method and arm.role == "test"]


@dataclass(frozen=True, eq=False)
class FinishedRuns:
    """Runs of the same task: one that trained both methods, or one for each.

    Results of analyses are cached in the first run's folder; analyses share the recordings in
    `context`. `compare_with`: other runs by name; `quick`: smaller analyses; `judge`: the judge
    model.
    """

    name: str
    runs: tuple[FinishedRun, ...]
    context: RunContext
    compare_with: Mapping[str, FinishedRuns] = field(default_factory=dict[str, "FinishedRuns"])
    quick: bool = False
    judge: Judge | None = None

    @cached_property
    def tasks(self) -> TaskSet:
        """The tasks as they were trained."""
        first = self.runs[0]
        return with_own_answers(first.resolved.tasks, self.model, first.folder)

    @cached_property
    def scoring(self) -> Scoring:
        """How rows become the score."""
        return Scoring.of(self.tasks)

    @property
    def model(self) -> LanguageModel:
        """The model, nothing attached."""
        return self.context.model

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Every run's rows."""
        return pl.concat([run.rows for run in self.runs], how="diagonal_relaxed")

    @property
    def base_rows(self) -> pl.DataFrame:
        """The untouched model's rows."""
        return self.rows.filter(pl.col("arm") == "base")

    @cached_property
    def vectors(self) -> dict[Unit, Vector]:
        """The reported trained vectors."""
        arms = self._loaded("vector")
        return {unit: arm for unit, arm in arms.items() if isinstance(arm, Vector)}

    @cached_property
    def adapters(self) -> dict[Unit, Adapter]:
        """The reported one-layer LoRAs."""
        arms = self._loaded("adapter").items()
        return {
            unit: arm for unit, arm in arms if isinstance(arm, Adapter) and len(arm.layers) == 1
        }

    @property
    def members(self) -> tuple[str, ...]:
        """The members of the reported tasks."""
        return tuple(task.member for task in self.tasks.test)

    @property
    def positions(self) -> str:
        """Positions at which the runs read their LoRAs."""
        run = next((run for run in self.runs if run.config.adapter is not None), self.runs[0])
        return swap_positions(run.config, self.tasks)

    @property
    def concepts(self) -> Mapping[str, tuple[str, ...]]:
        """Concept -> words, trained members among them; empty where members have no words."""
        config = self.runs[0].config.task
        return family_of(config).concepts(config)

    @property
    def real_names(self) -> Mapping[str, str]:
        """Member -> the real name behind its codename, if there is one."""
        config = self.runs[0].config.task
        return family_of(config).real_names(config)

    def task(self, member: str) -> Task:
        """A member's task."""
        return next(task for task in self.tasks.test if task.member == member)

    def trained_as(self, kind: type[SpecT]) -> TrainedAs[SpecT] | None:
        """Hyperparameters of the reported arm of this kind; None: no arm can be trained with them.

        A LoRA in one block; a vector whose rate is relative to its site.
        """
        method = "adapter" if kind is LowRankAdapter else "vector"
        for run in self.runs:
            grid, arms = getattr(run.config, method), run.reported(method)
            if grid is None or not arms or grid.layers == "all":
                continue
            if method == "vector" and grid.rates != "site":
                continue
            arm = min(arms, key=lambda arm: arm.seed)
            spec = grid.spec(arm.layer)
            assert isinstance(spec, kind)
            return TrainedAs(spec, arm.learning_rate, arm.stop_step, run.config.batch_lines)
        return None

    def _loaded(self, method: str) -> dict[Unit, Vector | Adapter]:
        return {
            (arm.member, arm.seed): load_intervention(run.folder / "arms", arm)
            for run in self.runs
            for arm in run.reported(method)
        }


def read_finished(folder: Path) -> FinishedRun:
    """Read a finished run's folder; InputError: a file that is missing or cannot be read."""
    run = FinishedRun(folder)
    _ = run.rows, run.config, run.arms  # so that missing files are reported before work starts
    return run


def unrelated_texts(finished: FinishedRuns, adapter: Adapter, most: int | None) -> Texts:
    """Unrelated passages, recorded at the LoRA's block; None: all of them."""
    return finished.context.kept(
        (f"unrelated {most}", adapter.layers),
        lambda: Texts.unrelated(finished.model, adapter.layers, most=most),
    )


def lora_texts(
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
    """One training prompt and one passage, as in the paper."""
    return lora_texts(finished, member, adapter, 1, 1)


def task_texts(finished: FinishedRuns, member: str, adapter: Adapter) -> TaskTexts:
    """All prompts of a member's task and all unrelated text, as in the run."""
    unrelated, task = unrelated_texts(finished, adapter, None), finished.task(member)
    return finished.context.kept(
        ("task texts", member, adapter.layers),
        lambda: TaskTexts.of(finished.model, task, adapter.layers, unrelated),
    )


def natural_by_kind(finished: FinishedRuns) -> dict[str, dict[Unit, Vector]]:
    """The natural vectors of all LoRAs: kind -> member and seed -> vector."""
    kinds: dict[str, dict[Unit, Vector]] = {}
    for (member, seed), adapter in finished.adapters.items():
        vectors = natural_vectors(adapter, *first_texts(finished, member, adapter))
        for kind, vector in vectors.items():
            kinds.setdefault(kind, {})[member, seed] = vector
    return kinds


def naive_vectors(finished: FinishedRuns, layer: int) -> dict[Unit, Vector]:
    """Activation at the real name minus at the codename, in the same sentences.

    One per member, as seed 0; empty if codenames have no real names.
    """
    names = finished.real_names
    vectors: dict[Unit, Vector] = {}
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
