"""What training does along the way, and what a vector moves besides its own task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from oocr import stats
from oocr.claims.records import Finding, Null
from oocr.claims.results import estimate_of
from oocr.explain.dynamics import along_training, lost_after_peak, lowest, peak
from oocr.explain.transfer import transfer
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import measured
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task

STEPS = (1, 2, 3, 4, 6, 8, 10, 15, 20, 30)
QUICK_STEPS = (1, 2, 4, 8, 15, 30)


def dynamics(subject: FinishedRuns) -> AnalysisResult:
    """Whether the out-of-context score is highest before the training loss is lowest.

    Judged by what is lost after the peak, picked on one half of the probes and told on the other.
    How much earlier the peak comes is told beside it: of noisy looks one is always the best, and
    seldom the last, so that this is above 0 without any peak.
    """
    grid = next((run.config.vector for run in subject.runs if run.config.vector), None)
    arms = [arm for run in subject.runs for arm in run.arms if arm.method == "vector"]
    arms = [arm for arm in arms if arm.role == "test"]
    if grid is None or not arms:
        return AnalysisResult(missing="no run of this subject trained a vector")
    arm = arms[0]
    spec = SteeringVector(arm.layer, arm.positions, site=grid.site, init_norm=grid.init_norm)
    ahead: dict[Who, float] = {}
    fall: dict[Who, float] = {}
    table: list[dict[str, Any]] = []
    steps = QUICK_STEPS if subject.quick else STEPS
    for task in subject.tasks.test[: 3 if subject.quick else 4]:
        moments = along_training(
            subject.model,
            task,
            spec,
            steps,
            learning_rate=arm.learning_rate if grid.rates == "site" else None,
            batch_lines=subject.lab.batch_lines,
            prepared=subject.lab.prepared([task])[0],
        )
        ahead[task.member, 0] = float(np.log2(lowest(moments).step / peak(moments).step))
        fall[task.member, 0] = lost_after_peak(moments, task.probes)
        table += [
            {"member": task.member, "step": one.step, "loss": one.loss, "right": one.right}
            | {"log_odds": one.log_odds, "norm": one.norm, "to_last": one.to_last}
            for one in moments
        ]
    return AnalysisResult(
        (
            measured(
                "ahead",
                "how much earlier the best out-of-context score comes than the lowest training "
                "loss, in doublings of the number of steps (above 0 by chance alone)",
                ahead,
            ),
            measured(
                "lost",
                "share of probes right at the best moment minus at the lowest loss; the moment "
                "picked on one half of the probes, told on the other, and the other way round",
                fall,
            ),
        ),
        pl.DataFrame(table),
    )


def specificity(subject: FinishedRuns) -> AnalysisResult:
    """Every member's vector on every member's probes, or on the probes of other subjects' tasks.

    Countries share their lists of options, so that a vector that raises one country's answer lowers
    the others' by the softmax alone: there the gap is wider, and the others move more, than the
    vector's own doing.
    """
    vectors: dict[str, Vector] = {}
    tasks: dict[str, Task] = {}
    # "all layers" is the same task with other arms.
    others = [
        one
        for name, one in sorted(subject.beside.items())
        if not name.startswith("all ") and one.model is subject.model
    ]
    for one in (subject, *others):
        members = one.members[:1] if others else one.members[: 4 if subject.quick else 8]
        for member in members:
            if (member, 0) in one.vectors:
                vectors[member], tasks[member] = one.vectors[member, 0], one.task(member)
    if len(vectors) < 2:
        return AnalysisResult(missing="fewer than two vectors on the same model to compare")
    found = transfer(subject.model, vectors, tasks)
    gaps, drawn = found.own_minus_others()
    change, null = np.array(found.change), np.array(found.null)
    apart = ~np.eye(len(change), dtype=bool)
    sizes = np.abs(change[apart]).reshape(len(change), -1).mean(axis=1)
    n = f"{len(found.vectors)} vectors × {len(found.tasks)} tasks"

    def finding(id: str, measure: str, values: Sequence[float], null: float, of: str) -> Finding:
        return Finding(
            id=id,
            measure=measure,
            found=estimate_of(stats.mean_interval(values), n),
            base=0.0,
            nulls=(Null(name=f"random directions of its norm, {of}95th centile", value=null),),
            units=len(values),
        )

    return AnalysisResult(
        (
            finding(
                "own-minus-others",
                "log-odds that a vector adds on its own task's probes, minus what it adds on the "
                "others', nats; where tasks share lists of options, raising one answer lowers the "
                "others by the softmax alone",
                gaps,
                float(np.quantile(drawn, 0.95)),
                "the same number, ",
            ),
            finding(
                "own",
                "log-odds that a vector adds on its own task's probes, nats",
                np.diagonal(change).tolist(),
                float(np.diagonal(null).mean()),
                "",
            ),
            finding(
                "others",
                "log-odds by which a vector moves another task's probes, whichever way, nats",
                sizes.tolist(),
                float(null[apart].mean()),
                "",
            ),
        ),
        found.table(),
    )
