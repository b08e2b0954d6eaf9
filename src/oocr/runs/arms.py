"""Arms: planned, trained, scored along training, and written each to its own folder."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from oocr.engine.forward import start_block
from oocr.engine.trainable import ArmSpec, Schedule, Spec
from oocr.engine.training import Trained, arm_groups, arm_key, fit_all
from oocr.errors import InputError, RunError
from oocr.evals.probes import arm_columns
from oocr.io import is_kept, keep, key_of, write_text
from oocr.models.machine import release_memory
from oocr.models.out_of_memory import is_out_of_memory
from oocr.runs.context import RunContext, TrainingTokens, computed_with
from oocr.runs.folder import read_table, redo_if_broken
from oocr.runs.records import ArmRecord, Method, Role
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import SteeringVector, Vector

MOST_TOGETHER = 4
"""Most arms trained side by side. A larger group gains little, is lost as a whole when a run is
killed, and leaves cores idle where there are few arms."""

NO_ROWS = {"arm": pl.String, "part": pl.String, "step": pl.Int64, "final": pl.Boolean}
"""Columns of an arm's table if its items are not multiple choice."""

Snapshots = Mapping[int, Vector | Adapter]
"""Training step -> the arm after it."""


@dataclass(frozen=True, slots=True)
class ArmPlan(ArmSpec):
    """An arm of a run: what is trained, and its purpose. Scored after the steps in `snapshots`.

    Attributes:
        early_stop: the number of steps that counts; None: that with the lowest loss on stop items.
        control: "" or the control's name.
        role: "test" (reported), "control", "sweep" (another layer than the chosen one; scored
            only) or "selection" (on validation tasks; scored only).
        score_every_step: score at each of `snapshots`, not only where it counts.
    """

    learning_rate: float
    early_stop: int | None = None
    control: str = ""
    role: Role = "test"
    score_every_step: bool = True

    @property
    def id(self) -> str:
        """The name of the arm's folder; unique within a run."""
        words = [self.role, self.control, self.method, f"L{self.layer}"]
        name = "-".join(word for word in words if word)
        member = "".join(c if c.isalnum() else "_" for c in self.task.member)
        return f"{name}-lr{self.learning_rate:g}-{member}-s{self.seed}"

    @property
    def method(self) -> Method:
        """What is trained: a vector or an adapter."""
        return "vector" if isinstance(self.spec, SteeringVector) else "adapter"

    @property
    def layer(self) -> int:
        """The block at whose output the arm acts, or the adapter's lowest block."""
        if isinstance(self.spec, SteeringVector):
            return self.spec.layer
        return 0 if self.spec.layers == "all" else min(self.spec.layers)

    @property
    def start(self) -> int:
        """The first block that its forward passes run."""
        return start_block(self.spec) if isinstance(self.spec, SteeringVector) else self.layer

    @property
    def batches_trained(self) -> int:
        """The number of batches that it is trained on."""
        return self.steps * self.schedule.accumulate

    @property
    def scored_steps(self) -> int:
        """The training steps after which it is scored."""
        return len(self.snapshots) if self.score_every_step else 1

    def key(self, computed: Mapping[str, object], batch_lines: int) -> str:
        """Hash of everything the arm's numbers depend on (`computed`: see `computed_with`)."""
        counts = [self.learning_rate, self.snapshots, self.early_stop, self.seed, self.role]
        parts = {
            **computed,
            "batch_lines": batch_lines,
            "train": self.task.train_hash,
            "asked": self.task.asked_hash,
            "spec": _fields(self.spec),
            "schedule": _fields(self.schedule),
            "plan": counts,
            "every step": self.score_every_step,
        }
        return key_of(parts)


def grouped(
    plans: Sequence[ArmPlan], tokens: TrainingTokens, batch_lines: int, most_tokens: int
) -> list[list[ArmPlan]]:
    """Plans in groups that `run_arms` takes; a pass over a group has at most `most_tokens`.

    Depends on the plans only, not on cores or finished arms, so that a resumed run has the same
    groups.
    """
    keys: list[object] = []
    for plan in plans:
        sequences, content = tokens.of(plan.task)
        keys.append(arm_key(plan, content, -(-len(sequences) // batch_lines)))

    def most_arms(index: int) -> int:
        spec, (sequences, _) = plans[index].spec, tokens.of(plans[index].task)
        if isinstance(spec, SteeringVector) and spec.positions == "last":
            return MOST_TOGETHER  # scoring runs one token per sequence
        longest = max(len(sequence.ids) for sequence in sequences)
        tokens_of_arm = longest * min(len(sequences), batch_lines)
        return max(1, min(MOST_TOGETHER, most_tokens // tokens_of_arm))

    return [[plans[i] for i in group] for group in arm_groups(keys, most_arms, least=2)]


def _fields(settings: Spec | Schedule) -> dict[str, Any]:
    """The same as `asdict`, without its deep copies: the fields are plain values."""
    return {field.name: getattr(settings, field.name) for field in fields(settings)}


def keys_of(
    plans: Sequence[ArmPlan], computed: Mapping[str, object], batch_lines: int
) -> list[str]:
    """Keys of arms trained side by side; a key depends on the whole group, as rounding does."""
    keys = [plan.key(computed, batch_lines) for plan in plans]
    return [key_of(key, keys) for key in keys]


class ScoredArm(NamedTuple):
    """A trained arm and its rows."""

    record: ArmRecord
    rows: pl.DataFrame


def run_arms(context: RunContext, plans: Sequence[ArmPlan], folder: Path) -> list[ScoredArm]:
    """Train arms side by side and score them, unless their folders hold arms with the same keys.

    Each folder appears whole or not at all. Where memory does not suffice for all side by side,
    half of them are trained after the other half.
    """
    try:
        return _run_together(context, plans, folder)
    except Exception as error:
        if len(plans) < 2 or not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # release their memory
    release_memory()
    half = len(plans) // 2
    warnings.warn(f"no memory for {len(plans)} arms side by side: {half} at a time", stacklevel=2)
    return [arm for part in (plans[:half], plans[half:]) for arm in run_arms(context, part, folder)]


def _run_together(context: RunContext, plans: Sequence[ArmPlan], folder: Path) -> list[ScoredArm]:
    keys = keys_of(plans, computed_with(context.model), context.batch_lines)
    targets = [folder / plan.id for plan in plans]
    arms = [_finished(target, key) for target, key in zip(targets, keys, strict=True)]
    if None in arms:
        batches = context.prepared([plan.task for plan in plans])
        trained = fit_all(context.model, plans, batches)
        arms = [
            arm or _keep(context, plan, result, key, target)
            for arm, plan, result, key, target in zip(
                arms, plans, trained, keys, targets, strict=True
            )
        ]
    return [arm for arm in arms if arm is not None]


def _keep(
    context: RunContext, plan: ArmPlan, trained: Trained, key: str, target: Path
) -> ScoredArm:
    """Score a trained arm and write its folder."""
    task, snapshots = plan.task, trained.snapshots
    stop_losses: dict[int, float] = {}
    for steps, arms in _stacked(snapshots) if task.stop else ():
        stop_losses.update(zip(steps, context.stop_losses(task, arms), strict=True))
    stop = plan.early_stop
    if stop is None:
        stop = min(stop_losses, key=stop_losses.__getitem__) if stop_losses else max(snapshots)
    chosen = snapshots[stop]
    rows = _rows(context, plan, snapshots if plan.score_every_step else {stop: chosen}, stop)
    record = ArmRecord(
        id=target.name,
        method=plan.method,
        role=plan.role,
        control=plan.control,
        task=task.name,
        member=task.member,
        seed=plan.seed,
        layer=plan.layer,
        positions=plan.spec.positions if isinstance(plan.spec, SteeringVector) else "",
        learning_rate=plan.learning_rate,
        learning_rate_absolute=trained.learning_rate,
        stop_step=stop,
        steps=len(trained.losses),
        norm=chosen.norm if isinstance(chosen, Vector) else _adapter_norm(chosen),
        losses=trained.losses,
        stop_losses=stop_losses,
        seconds=trained.seconds,
        key=key,
    )

    def write(part: Path) -> None:
        rows.write_parquet(part / "rows.parquet")
        if plan.role in ("test", "control"):
            chosen.save(part / ("vector.safetensors" if plan.method == "vector" else "adapter"))
        write_text(part / "arm.json", record.model_dump_json(indent=1) + "\n")

    keep(target, key, write)
    return ScoredArm(record, rows)


def _stacked(arms: Snapshots) -> list[tuple[list[int], list[Vector] | Adapter]]:
    """Snapshots by step, as they are scored: vectors in one pass, each adapter in its own."""
    vectors = {step: arm for step, arm in arms.items() if isinstance(arm, Vector)}
    stacks: list[tuple[list[int], list[Vector] | Adapter]] = []
    if vectors:
        stacks.append((list(vectors), list(vectors.values())))
    return stacks + [([step], arm) for step, arm in arms.items() if isinstance(arm, Adapter)]


def _rows(context: RunContext, plan: ArmPlan, snapshots: Snapshots, stop: int) -> pl.DataFrame:
    """One row per snapshot and scored item."""
    # Held-out training rows that are no choice are left out: their loss says how well it goes.
    parts = {
        part: items
        for part, items in plan.task.scored.items()
        if all(len(example.options) > 1 for example in items)
    }
    if not parts:
        return pl.DataFrame(schema=NO_ROWS)
    columns_at = partial(
        arm_columns, plan.method, plan.task.member, plan.seed, control=plan.control
    )
    frames: list[pl.DataFrame] = []
    for steps, arms in _stacked(snapshots):
        columns = [columns_at(step=step, final=step == stop) for step in steps]
        frames.append(context.rows(parts, arms, columns))
    return pl.concat(frames, how="diagonal_relaxed")


def load_intervention(folder: Path, arm: ArmRecord) -> Vector | Adapter:
    """The trained vector or adapter of a test or control arm; a `RunError` if it cannot be read."""
    target = folder / arm.id
    try:
        if arm.method == "vector":
            return Vector.load(target / "vector.safetensors")
        return Adapter.load(target / "adapter")
    except (InputError, OSError) as error:
        raise RunError(f"{error}; delete {target} and run again") from error


def reported_rows(arms: Sequence[ScoredArm]) -> list[pl.DataFrame]:
    """All arms' rows in order, with their layers; arms of sweeps get names of their own.

    Consecutive arms of a layer are joined first: there may be thousands of arms.
    """

    def alike(arm: ScoredArm) -> tuple[object, ...]:
        return arm.record.layer, arm.record.role == "sweep", *arm.rows.schema.items()

    tables: list[pl.DataFrame] = []
    for (layer, sweep, *_), same in groupby(arms, alike):
        rows = pl.concat([arm.rows for arm in same])
        if sweep:
            rows = rows.with_columns(arm=pl.col("arm") + " sweep")
        tables.append(rows.select("arm", pl.lit(layer).alias("layer"), pl.exclude("arm")))
    return tables


def _finished(target: Path, key: str) -> ScoredArm | None:
    """The arm, if its folder is there with this key."""
    if not is_kept(target, key):
        return None
    path = target / "arm.json"
    with redo_if_broken(path):
        record = ArmRecord.model_validate_json(path.read_text(encoding="utf-8"))
    return ScoredArm(record, read_table(target / "rows.parquet"))


def _adapter_norm(adapter: Adapter) -> float:
    """Frobenius norm over all of B A."""
    total = 0.0
    for name, down in adapter.tensors.items():
        if ".lora_A." in name:
            up = adapter.tensors[name.replace(".lora_A.", ".lora_B.")]
            total += float((up.double() @ down.double()).norm() ** 2)
    return float(total**0.5)
