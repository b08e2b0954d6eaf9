"""The explain stage: what a LoRA adds, whether a vector can replace it, and side effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor

from oocr.evals.probes import arm_columns
from oocr.explain.constancy import GroupConstancy, TaskTexts, constancy_by_group, cosines_to
from oocr.explain.differences import Texts, random_like
from oocr.explain.lora_vectors import default_positions, mean_vectors
from oocr.explain.neutral import neutral_places
from oocr.explain.side_effects import NeutralPredictions
from oocr.io import key_of
from oocr.runs.arms import ScoredArm, load_intervention, reported_rows
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext
from oocr.runs.folder import kept_rows
from oocr.runs.processes.executor import Job
from oocr.runs.records import ArmRecord
from oocr.steering.adapters import Adapter
from oocr.tasks.task import Task, TaskSet

SHOWN_TEXTS = 3
"""Texts of each kind whose tokens the report shows."""

NEUTRAL_PASSAGES = 4
"""Number of passages for side effects (constancy uses all passages)."""


def swap_positions(config: RunConfig, tasks: TaskSet) -> str:
    """Positions where LoRAs are read: those of the run's vectors, else the task's default."""
    return default_positions(tasks.test[0]) if config.vector is None else config.vector.positions


def explain_jobs(
    config: RunConfig, tasks: TaskSet, arms: Sequence[ArmRecord], folder: Path
) -> list[tuple[str, Job[pl.DataFrame]]]:
    """Jobs that explain arms into `<arm>-explained/`; they return the rows of the swaps."""
    read = (swap_positions(config, tasks), config.explain.neutral_tokens)
    explain = partial(_explain_once, read=read, folder=folder)
    task_of = {task.name: task for task in tasks.test}
    return [
        (f"{arm.member}, seed {arm.seed}", partial(explain, task=task_of[arm.task], arm=arm))
        for arm in arms
    ]


def _explain_once(
    context: RunContext, *, task: Task, arm: ArmRecord, read: tuple[str, int], folder: Path
) -> pl.DataFrame:
    adapter = load_intervention(folder, arm)
    assert isinstance(adapter, Adapter)
    (layer,) = adapter.layers
    # Recordings are cached for the next arm of the same layer and task.
    explain = context.kept(("explain", layer, *read), lambda: ExplainContext(context, layer, *read))

    def make(part: Path) -> pl.DataFrame:
        texts = context.kept(("texts", task.name, layer), lambda: explain.texts(task))
        return explain.explained(task, arm, adapter, texts, part)

    target = folder / f"{arm.id}-explained"
    rows = kept_rows(target, key_of(arm.key, explain.key), make)
    return reported_rows([ScoredArm(arm, rows)])[0]


@dataclass(frozen=True)
class ExplainContext:
    """Texts recorded once for all LoRAs of one layer."""

    context: RunContext
    layer: int
    positions: str
    neutral_tokens: int

    @cached_property
    def unrelated(self) -> Texts:
        """Unrelated text."""
        return Texts.unrelated(self.context.model, (self.layer,))

    @cached_property
    def neutral(self) -> NeutralPredictions:
        """The same text with the base model's predictions."""
        passages, places = neutral_places(self.context.model, NEUTRAL_PASSAGES)
        starts = {self.layer, self.layer + 1}
        return NeutralPredictions(
            self.context.model, passages, starts, self.neutral_tokens, places=places
        )

    @cached_property
    def key(self) -> str:
        """What an explanation depends on, apart from its arm."""
        places = neutral_places(self.context.model, NEUTRAL_PASSAGES)[1]
        at = "" if places is None else "-answers"
        return f"{self.positions}-{self.neutral_tokens}{at}"

    def texts(self, task: Task) -> TaskTexts:
        """Recordings of the task's prompts and of the unrelated text."""
        return TaskTexts.of(self.context.model, task, (self.layer,), self.unrelated)

    def explained(
        self, task: Task, arm: ArmRecord, adapter: Adapter, texts: TaskTexts, folder: Path
    ) -> pl.DataFrame:
        """Write constancy, tokens, swaps and side effects; return the rows of the swaps."""
        span, everywhere = mean_vectors(adapter, texts.training, texts.unrelated, self.positions)
        measured = constancy_by_group(texts, adapter, self.positions)
        tables = {
            "constancy": self._groups(arm, "adapter", measured),
            "tokens": _tokens(arm, adapter, texts, measured.span_mean),
        }
        if arm.seed == 0:  # the most expensive parts: only for one seed of each member
            noise = constancy_by_group(texts, random_like(adapter, arm.seed), self.positions)
            tables["constancy"] += self._groups(arm, "random adapter", noise)
            tables["side_effects"] = [
                {
                    **{"arm": label, "member": arm.member, "seed": arm.seed},
                    **asdict(self.neutral.damage(steering)),
                }
                for label, steering in (("adapter", adapter), ("swap everywhere", everywhere))
            ]
        for name, records in tables.items():
            table = pl.DataFrame(records, infer_schema_length=None)
            table.write_parquet(folder / f"{name}.parquet")
        frames: list[pl.DataFrame] = []
        for name, vector in (("swap at span", span), ("swap everywhere", everywhere)):
            vector.save(folder / f"{name.replace(' ', '-')}.safetensors")
            columns = arm_columns(name, arm.member, arm.seed, step=arm.stop_step)
            frames.append(self.context.rows(task.scored, [vector], [columns]))
        return pl.concat(frames, how="diagonal_relaxed")

    def _groups(self, arm: ArmRecord, kind: str, measured: GroupConstancy) -> list[dict[str, Any]]:
        """Constancy by token group."""
        groups: list[dict[str, Any]] = []
        for name, group in measured.items():
            numbers = asdict(group)
            numbers["to_span"], numbers["held_out"] = (
                measured.to_span[name],
                numbers.pop("held_out"),
            )
            about = {"arm": arm.id, "kind": kind, "member": arm.member, "seed": arm.seed}
            groups.append({**about, "layer": self.layer, "tokens": name, **numbers})
        return groups


def _tokens(
    arm: ArmRecord, adapter: Adapter, texts: TaskTexts, span_mean: Tensor
) -> list[dict[str, Any]]:
    """The tokens that the report shows, with what the LoRA adds at each."""
    shown = {"training prompt": texts.training, "probe": texts.probes}
    tokens: list[dict[str, Any]] = []
    for kind, read in {**shown, "unrelated text": texts.unrelated}.items():
        for index, d in enumerate(read.differences(adapter)[:SHOWN_TEXTS]):
            inside = read.in_span(index).tolist()
            cosines = cosines_to(d, span_mean).tolist()
            tokens += [
                {
                    **{"arm": arm.id, "member": arm.member, "text": index, "kind": kind},
                    **{"position": position, "token": token, "in_span": inside[position]},
                    **{"cosine": cosines[position], "norm": float(d[position].norm())},
                }
                for position, token in enumerate(read.tokens(index))
            ]
    return tokens
