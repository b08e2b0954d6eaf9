"""What training does along the way, and what a vector moves besides its own task."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from oocr import stats
from oocr.experiments.judging import estimate_of
from oocr.experiments.records import Null
from oocr.experiments.reproduce.made import Made
from oocr.experiments.reproduce.records import Finding
from oocr.experiments.reproduce.scoring import measured
from oocr.experiments.reproduce.subject import Subject, Who
from oocr.explain.dynamics import along_training, peak
from oocr.explain.transfer import transfer
from oocr.interventions.vectors import SteeringVector, Vector
from oocr.tasks.task import Task

STEPS = (1, 2, 3, 4, 6, 8, 10, 15, 20, 30)
QUICK_STEPS = (1, 2, 4, 8, 15, 30)


def dynamics(subject: Subject) -> Made:
    """Whether the out-of-context score is highest before the training loss is lowest."""
    grid = next((run.config.vector for run in subject.runs if run.config.vector), None)
    arms = [arm for run in subject.runs for arm in run.arms if arm.method == "vector"]
    arms = [arm for arm in arms if arm.role == "test"]
    if grid is None or not arms:
        return Made(missing="no run of this subject trained a vector")
    arm = arms[0]
    spec = SteeringVector(arm.layer, arm.positions, site=grid.site, init_norm=grid.init_norm)
    ahead: dict[Who, float] = {}
    fall: dict[Who, float] = {}
    table: list[dict[str, Any]] = []
    steps = QUICK_STEPS if subject.quick else STEPS
    for task in subject.tasks.test[: 2 if subject.quick else 4]:
        moments = along_training(
            subject.model,
            task,
            spec,
            steps,
            learning_rate=arm.learning_rate if grid.rates == "site" else None,
            batch_lines=subject.runs[0].config.batch_lines,
        )
        best, least = peak(moments), min(moments, key=lambda one: (one.loss, one.step))
        ahead[task.member, 0] = float(np.log2(least.step / best.step))
        fall[task.member, 0] = best.right - least.right
        table += [
            {"member": task.member, "step": one.step, "loss": one.loss, "right": one.right}
            | {"log_odds": one.log_odds, "norm": one.norm, "to_last": one.to_last}
            for one in moments
        ]
    return Made(
        (
            measured(
                "ahead",
                "how much earlier the best out-of-context score comes than the lowest training "
                "loss, in doublings of the number of steps",
                ahead,
            ),
            measured(
                "lost",
                "share of probes right at the best moment minus at the lowest loss (never below 0)",
                fall,
            ),
        ),
        pl.DataFrame(table),
    )


def specificity(subject: Subject) -> Made:
    """Every member's vector on every member's probes, or on the probes of other subjects' tasks."""
    vectors: dict[str, Vector] = {}
    tasks: dict[str, Task] = {}
    for one in (subject, *[subject.beside[name] for name in sorted(subject.beside)]):
        if one.name.startswith("all ") or one.model is not subject.model:
            continue
        several = bool(subject.beside)
        members = one.members[:1] if several else one.members[: 4 if subject.quick else 8]
        for member in members:
            if (member, 0) in one.vectors:
                vectors[member], tasks[member] = one.vectors[member, 0], one.task(member)
    if len(vectors) < 2:
        return Made(missing="fewer than two vectors on the same model to compare")
    found = transfer(subject.model, vectors, tasks)
    others: list[float] = []
    nulls: list[float] = []
    for i in range(len(found.vectors)):
        for j in range(len(found.tasks)):
            if i == j:
                nulls.append(found.null[i][j])
            else:
                others.append(found.change[i][j])
    gaps = [
        found.change[i][i]
        - float(np.mean([found.change[i][j] for j in range(len(found.tasks)) if j != i]))
        for i in range(len(found.vectors))
    ]
    random = Null(
        name="random directions on the own task, 95th centile", value=float(np.mean(nulls))
    )
    n = f"{len(found.vectors)} vectors × {len(found.tasks)} tasks"
    return Made(
        (
            Finding(
                id="own-minus-others",
                measure="log-odds that a vector adds on its own task's probes, minus what it adds "
                "on the others', nats",
                found=estimate_of(stats.mean_interval(gaps), n),
                base=0.0,
                nulls=(random,),
                units=len(found.vectors),
            ),
            Finding(
                id="others",
                measure="log-odds that a vector adds on other tasks' probes, nats",
                found=estimate_of(stats.mean_interval(others), n),
                base=0.0,
                nulls=(random,),
                units=len(found.vectors),
            ),
        ),
        found.table(),
    )
