"""Arms: planned, trained, scored along training, and written each to its own folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import polars as pl
import torch

from oocr.engine.trainable import PLAIN, ArmSpec, Schedule, Spec
from oocr.engine.training import Trained, fit_all
from oocr.errors import InputError, RunError
from oocr.io import is_kept, keep, key_of, write_text
from oocr.runs.context import RunContext, items_hash
from oocr.runs.records import ArmRecord, Role
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task

NO_ROWS = {"arm": pl.String, "part": pl.String, "step": pl.Int64, "final": pl.Boolean}
"""Columns of the table of an arm whose items are no choices."""


@dataclass(frozen=True, slots=True)
class ArmPlan:
    """One thing to train.

    Attributes:
        task: the data.
        spec: what is trained.
        learning_rate: as `fit` takes it.
        steps: numbers of steps after which the arm is scored.
        stop: the number of steps that counts; None: the one with the lowest loss on stop items.
        seed: of the start point and order.
        schedule: how its steps are made.
        control: "" or the control's name.
        role: "test" (reported), "control", "sweep" (another layer than the chosen one; scored
            only) or "selection" (on validation tasks; scored only).
        along: score at each of `steps`, not only where it counts.
    """

    task: Task
    spec: Spec
    learning_rate: float
    steps: tuple[int, ...]
    stop: int | None
    seed: int
    schedule: Schedule = PLAIN
    control: str = ""
    role: Role = "test"
    along: bool = True

    @property
    def method(self) -> Literal["vector", "adapter"]:
        """What kind of thing is trained."""
        return "vector" if isinstance(self.spec, SteeringVector) else "adapter"

    @property
    def layer(self) -> int:
        """The block at whose output the arm acts, or the adapter's lowest block."""
        if isinstance(self.spec, SteeringVector):
            return self.spec.layer
        return 0 if self.spec.layers == "all" else min(self.spec.layers)

    @property
    def fit(self) -> ArmSpec:
        """What is to be trained."""
        last = self.steps[-1] if self.along or self.stop is None else self.stop
        return ArmSpec(
            self.task, self.spec, self.learning_rate, last, self.seed, self.steps, self.schedule
        )

    def key(self, lab: RunContext) -> str:
        """Hash of everything the arm's numbers depend on."""
        parts = {
            "model": lab.model.fingerprint,
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
            "batch_lines": lab.batch_lines,
            "train": items_hash(self.task.train),
            "asked": [items_hash(p) for p in (self.task.stop, *self.task.scored.values())],
            "loss": self.task.loss,
            "spec": asdict(self.spec),
            "schedule": asdict(self.schedule),
            "plan": [self.learning_rate, self.steps, self.stop, self.seed, self.role, self.along],
        }
        return key_of(parts)


def arm_id(plan: ArmPlan) -> str:
    """A folder name that says what is inside; unique within a run."""
    words = [plan.role, plan.control, plan.method, f"L{plan.layer}", f"lr{plan.learning_rate:g}"]
    name = "-".join(word for word in words if word)
    member = "".join(c if c.isalnum() else "_" for c in plan.task.member)
    return f"{name}-{member}-s{plan.seed}"


def run_arms(lab: RunContext, plans: Sequence[ArmPlan], folder: Path) -> list[ArmRecord]:
    """Train arms side by side and score them, unless their folders already hold these very arms.

    Each folder appears whole or not at all.
    """
    keys = _keys(lab, plans)
    targets = [folder / arm_id(plan) for plan in plans]
    done = [_finished(target, key) for target, key in zip(targets, keys, strict=True)]
    if all(done):
        return [arm for arm in done if arm is not None]
    trained = fit_all(
        lab.model, [plan.fit for plan in plans], lab.prepared([plan.task for plan in plans])
    )
    return [
        _keep(lab, plan, one, key, target) if arm is None else arm
        for plan, one, key, target, arm in zip(plans, trained, keys, targets, done, strict=True)
    ]


def _keys(lab: RunContext, plans: Sequence[ArmPlan]) -> list[str]:
    """Each arm's key; arms trained side by side share a rounding, so it names them all."""
    own = [plan.key(lab) for plan in plans]
    return [key_of(key, own) for key in own]


def _keep(lab: RunContext, plan: ArmPlan, trained: Trained, key: str, target: Path) -> ArmRecord:
    """Score a trained arm and write its folder."""
    task = plan.task
    kept = trained.snapshots
    stop_losses: dict[int, float] = {}
    vectors = [one for one in kept.values() if isinstance(one, Vector)]
    if task.stop:
        losses = (
            lab.stop_losses(task, vectors)
            if vectors
            else [
                lab.stop_losses(task, one)[0] for one in kept.values() if isinstance(one, Adapter)
            ]
        )
        stop_losses = dict(zip(kept, losses, strict=True))
    stop = plan.stop
    if stop is None:
        stop = min(stop_losses, key=lambda step: stop_losses[step]) if stop_losses else max(kept)
    shown = list(kept) if plan.along else [stop]
    base: dict[str, str | int | float | None] = {
        **{"arm": plan.method, "control": plan.control, "member": task.member},
        **{"seed": plan.seed, "part": None},
    }
    columns = [{**base, "step": step, "final": step == stop} for step in shown]
    # Held-out training rows that are no choice are left out: their loss says how well it goes.
    parts = {
        part: items
        for part, items in task.scored.items()
        if all(len(item.options) > 1 for item in items)
    }
    table = pl.DataFrame(schema=NO_ROWS)
    if parts:
        some = [kept[step] for step in shown]
        stacked = [one for one in some if isinstance(one, Vector)]
        frames = [lab.rows(parts, stacked, columns)] if stacked else []
        for one, extra in zip(some, columns, strict=True):
            if isinstance(one, Adapter):
                frames.append(lab.rows(parts, one, [extra]))
        table = pl.concat(frames, how="diagonal_relaxed")
    chosen = kept[stop]
    arm = ArmRecord(
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
        table.write_parquet(part / "rows.parquet")
        if plan.role in ("test", "control"):
            chosen.save(part / ("vector.safetensors" if plan.method == "vector" else "adapter"))
        write_text(part / "arm.json", arm.model_dump_json(indent=1) + "\n")

    keep(target, key, write)
    return arm


def load_intervention(folder: Path, arm: ArmRecord) -> Vector | Adapter:
    """What `run_arms` kept of a test or control arm.

    Raises:
        RunError: it cannot be read.
    """
    target = folder / arm.id
    try:
        if arm.method == "vector":
            return Vector.load(target / "vector.safetensors")
        return Adapter.load(target / "adapter")
    except (InputError, OSError) as error:
        raise RunError(f"{error}; delete {target} and run again") from error


def load_rows(folder: Path, arm: ArmRecord, part: str = "") -> pl.DataFrame:
    """The rows of an arm, or of another folder named after it (`part`), with the arm's layer.

    Raises:
        RunError: the file cannot be read.
    """
    frame = read_table(folder / f"{arm.id}{part}" / "rows.parquet")
    if arm.role == "sweep":  # never to be mistaken for the arm that is reported
        frame = frame.with_columns(arm=pl.col("arm") + " sweep")
    return frame.insert_column(1, pl.lit(arm.layer).alias("layer"))


def read_table(path: Path) -> pl.DataFrame:
    """Read a Parquet file of a run folder.

    Raises:
        RunError: the file cannot be read.
    """
    try:
        return pl.read_parquet(path)
    except Exception as error:  # polars' errors are of many types
        raise RunError(
            f"{path} cannot be read ({error}); delete {path.parent} and run again"
        ) from error


def _finished(target: Path, key: str) -> ArmRecord | None:
    """The arm's record, if its folder is there with this key.

    Raises:
        RunError: the folder is there, but the record cannot be read.
    """
    if not is_kept(target, key):
        return None
    path = target / "arm.json"
    try:
        return ArmRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise RunError(f"{path} cannot be read ({first}); delete {target} and run again") from error


def _adapter_norm(adapter: Adapter) -> float:
    """Frobenius norm over all of B A."""
    total = 0.0
    for name, down in adapter.tensors.items():
        if ".lora_A." in name:
            up = adapter.tensors[name.replace(".lora_A.", ".lora_B.")]
            total += float((up.double() @ down.double()).norm() ** 2)
    return float(total**0.5)
