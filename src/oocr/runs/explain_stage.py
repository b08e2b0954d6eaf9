"""What each trained LoRA adds, whether a vector can take its place, and what else it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import polars as pl

from oocr.engine.forward import start_block
from oocr.explain.constancy import TaskTexts, constancy_by_group, cosines_to
from oocr.explain.differences import Texts, random_like
from oocr.explain.neutral import neutral_places
from oocr.explain.side_effects import NeutralPredictions
from oocr.explain.swap import default_positions, mean_vectors
from oocr.io import Record, key_of
from oocr.runs.arms import load_intervention, reported_rows
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext
from oocr.runs.executor import Job
from oocr.runs.folder import kept_rows
from oocr.runs.records import ArmRecord, ConstancyRow, SideEffect, TokenRow
from oocr.steering.adapters import Adapter
from oocr.tasks.task import Task, TaskSet

SHOWN_TEXTS = 3
"""Texts of each kind whose tokens are shown in the report."""

NEUTRAL_PASSAGES = 4
"""Passages on which side effects are measured (constancy uses all)."""


@dataclass(frozen=True)
class ExplainContext:
    """Texts recorded once for all LoRAs of one layer."""

    context: RunContext
    layer: int
    start: int
    positions: str
    neutral_tokens: int

    @cached_property
    def unrelated(self) -> Texts:
        """Unrelated text."""
        return Texts.unrelated(self.context.model, (self.start, self.layer))

    @cached_property
    def neutral(self) -> NeutralPredictions:
        """The same text with the base model's predictions."""
        starts = {self.start, self.layer + 1}
        passages, places = neutral_places(self.context.model, NEUTRAL_PASSAGES)
        return NeutralPredictions(
            self.context.model, passages, starts, self.neutral_tokens, places=places
        )

    @cached_property
    def key(self) -> str:
        """What an explanation depends on, beside its arm."""
        places = neutral_places(self.context.model, NEUTRAL_PASSAGES)[1]
        at = "" if places is None else "-answers"
        return f"{self.positions}-{self.neutral_tokens}{at}"

    def texts(self, task: Task) -> TaskTexts:
        """The task's prompts, recorded, and the unrelated text."""
        return TaskTexts.of(self.context.model, task, (self.start, self.layer), self.unrelated)


def swap_positions(config: RunConfig, tasks: TaskSet) -> str:
    """Where a run's LoRAs are read: at its vectors' positions, else where a task's LoRA is read."""
    return default_positions(tasks.test[0]) if config.vector is None else config.vector.positions


def explain_jobs(
    config: RunConfig, tasks: TaskSet, arms: Sequence[ArmRecord], folder: Path
) -> list[tuple[str, Job[pl.DataFrame]]]:
    """Explain arms on disk, each into `<arm>-explained/` once; the jobs give the swaps' rows."""
    explain = partial(
        _explain_arm,
        positions=swap_positions(config, tasks),
        neutral_tokens=config.explain.neutral_tokens,
        folder=folder,
    )
    task_of = {task.name: task for task in tasks.test}
    return [
        (f"{arm.member}, seed {arm.seed}", partial(explain, task=task_of[arm.task], arm=arm))
        for arm in arms
    ]


def _explain(
    explain: ExplainContext,
    task: Task,
    arm: ArmRecord,
    adapter: Adapter,
    texts: TaskTexts,
    folder: Path,
) -> pl.DataFrame:
    """Write constancy, tokens, swaps and side effects; return the rows of the swaps."""
    span, everywhere = mean_vectors(adapter, texts.training, texts.unrelated, explain.positions)
    constancy, tokens = _constancy(explain, arm, adapter, texts, "adapter")
    if arm.seed == 0:
        noise = random_like(adapter, arm.seed)
        constancy += _constancy(explain, arm, noise, texts, "random adapter")[0]
    frames = []
    for name, vector in (("swap at span", span), ("swap everywhere", everywhere)):
        columns: dict[str, str | int | float | None] = {
            **{"arm": name, "control": "", "member": arm.member, "seed": arm.seed},
            **{"part": None, "step": arm.stop_step, "final": True},
        }
        frames.append(explain.context.rows(task.scored, [vector], [columns]))
    rows = pl.concat(frames, how="diagonal_relaxed")
    if arm.seed == 0:  # the dearest part: for one seed a member
        effects = [
            SideEffect(
                arm=label,
                member=arm.member,
                seed=arm.seed,
                **asdict(explain.neutral.damage(steering)),
            )
            for label, steering in (("adapter", adapter), ("swap everywhere", everywhere))
        ]
        _frame(effects).write_parquet(folder / "side_effects.parquet")
    span.save(folder / "swap-at-span.safetensors")
    everywhere.save(folder / "swap-everywhere.safetensors")
    _frame(constancy).write_parquet(folder / "constancy.parquet")
    _frame(tokens).write_parquet(folder / "tokens.parquet")
    return rows


def _frame(records: Sequence[Record]) -> pl.DataFrame:
    return pl.DataFrame([record.model_dump() for record in records], infer_schema_length=None)


def _constancy(
    explain: ExplainContext, arm: ArmRecord, adapter: Adapter, texts: TaskTexts, kind: str
) -> tuple[list[ConstancyRow], list[TokenRow]]:
    """Constancy by token group, and of a trained LoRA the tokens that the report shows."""
    measured = constancy_by_group(texts, adapter, explain.positions)
    records = [
        ConstancyRow.model_validate(
            {
                **{"arm": arm.id, "kind": kind, "member": arm.member, "seed": arm.seed},
                **{"layer": explain.layer, "tokens": name, **asdict(group)},
                "to_span": measured.to_span[name],
            }
        )
        for name, group in measured.items()
    ]
    if kind != "adapter":
        return records, []
    tokens: list[TokenRow] = []
    for label, shown in (
        ("training prompt", texts.training),
        ("probe", texts.probes),
        ("unrelated text", texts.unrelated),
    ):
        for index, d in enumerate(shown.differences(adapter)[:SHOWN_TEXTS]):
            inside = shown.in_span(index)
            cosines = cosines_to(d, measured.span_mean).tolist()
            for position, token in enumerate(shown.tokens(index)):
                tokens.append(
                    TokenRow.model_validate(
                        {
                            **{"arm": arm.id, "member": arm.member, "text": index, "kind": label},
                            **{"position": position, "token": token},
                            "in_span": bool(inside[position]),
                            "cosine": cosines[position],
                            "norm": float(d[position].norm()),
                        }
                    )
                )
    return records, tokens


def _explain_arm(
    context: RunContext,
    *,
    task: Task,
    arm: ArmRecord,
    positions: str,
    neutral_tokens: int,
    folder: Path,
) -> pl.DataFrame:
    # Recordings are kept for the next arm of the same layer and task.
    adapter = load_intervention(folder, arm)
    assert isinstance(adapter, Adapter)
    explain = context.kept(
        ("explain", adapter.layers, positions, neutral_tokens),
        lambda: ExplainContext(
            context, adapter.layers[-1], start_block(adapter), positions, neutral_tokens
        ),
    )

    def make(part: Path) -> pl.DataFrame:
        texts = context.kept(("texts", task.name, adapter.layers), lambda: explain.texts(task))
        return _explain(explain, task, arm, adapter, texts, part)

    target = folder / f"{arm.id}-explained"
    return reported_rows(kept_rows(target, key_of(arm.key, explain.key), make), arm)
