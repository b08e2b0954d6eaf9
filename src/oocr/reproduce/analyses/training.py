"""What training does along the way, and what a vector moves besides its own task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from oocr import stats
from oocr.charts.figure import Figure
from oocr.charts.panels import Line, Tables, figure_of, grid_of, heat_panel, lines_panel
from oocr.claims.judge import estimate_of
from oocr.claims.records import Finding, Null
from oocr.explain.paths import along_training, lost_after_peak, lowest, peak
from oocr.explain.transfer import transfer
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.drawing import line_keys, member_lines, names_in
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import NotMeasuredError, measured
from oocr.stats import POSITIVE, SIGNED, Bounds
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task

STEPS = (1, 2, 3, 4, 6, 8, 10, 15, 20, 30)
QUICK_STEPS = (1, 2, 4, 8, 15, 30)


def dynamics(finished: FinishedRuns) -> AnalysisResult:
    """Whether the out-of-context score is highest before the training loss is lowest.

    Judged by what is lost after the peak, picked on one half of the probes and measured on the
    other. How much earlier the peak comes is reported too: of noisy looks one is always the best,
    and seldom the last, so that this is above 0 without any peak.
    """
    grid = next((run.config.vector for run in finished.runs if run.config.vector), None)
    arm = next(
        (
            arm
            for run in finished.runs
            for arm in run.arms
            if arm.method == "vector" and arm.role == "test"
        ),
        None,
    )
    if grid is None or arm is None:
        raise NotMeasuredError("no run of this subject trained a vector")
    spec = SteeringVector(arm.layer, arm.positions, site=grid.site, init_norm=grid.init_norm)
    ahead: dict[Who, float] = {}
    fall: dict[Who, float] = {}
    table: list[dict[str, Any]] = []
    for task in finished.tasks.test[: 3 if finished.quick else 4]:
        moments = along_training(
            finished.model,
            task,
            spec,
            QUICK_STEPS if finished.quick else STEPS,
            learning_rate=arm.learning_rate if grid.rates == "site" else None,
            batch_lines=finished.context.batch_lines,
            prepared=finished.context.prepared([task])[0],
        )
        ahead[task.member, 0] = float(np.log2(lowest(moments).step / peak(moments).step))
        fall[task.member, 0] = lost_after_peak(moments, task.probes)
        table += [
            {"member": task.member}
            | {name: getattr(moment, name) for name in ("step", "loss", "right", "log_odds")}
            | {"norm": moment.norm, "to_last": moment.to_last}
            for moment in moments
        ]
    findings = (
        measured(
            "ahead",
            "how much earlier the best out-of-context score comes than the lowest training "
            "loss, in doublings of the number of steps (above 0 by chance alone)",
            ahead,
        ),
        measured(
            "lost",
            "share of probes right at the best moment minus at the lowest loss; the moment "
            "picked on one half of the probes, measured on the other, and the other way round",
            fall,
            bounds=SIGNED,
        ),
    )
    return AnalysisResult(findings, pl.DataFrame(table))


def dynamics_figure(tables: Tables) -> Figure | None:
    """Loss and score along training."""
    panels = []
    drawn: list[Line] = []
    for name, table in tables.items():
        members = names_in(table, "member")
        for y, words in (("loss", "training loss, nats"), ("right", "share of probes right")):
            lines = member_lines(table, members, "step", y)
            ticks = [1, 2, 4, 8, 15, 30]
            panels.append(
                lines_panel(lines, "training steps", words, title=name, log=True, ticks=ticks)
            )
            drawn += lines
    caption = "One vector per member, seed 0, looked at after each number of steps."
    return figure_of("dynamics", caption, panels, tables, line_keys(drawn))


def specificity(finished: FinishedRuns) -> AnalysisResult:
    """Every member's vector on every member's probes, or on the probes of other runs' tasks.

    Countries share their lists of options, so that a vector that raises one country's answer lowers
    the others' by the softmax alone: there the gap is wider, and the others move more, than the
    vector's own doing.
    """
    vectors: dict[str, Vector] = {}
    tasks: dict[str, Task] = {}
    # "all layers" is the same task with other arms.
    others = [
        runs
        for name, runs in sorted(finished.compare_with.items())
        if not name.startswith("all ") and runs.model is finished.model
    ]
    for runs in (finished, *others):
        members = runs.members[:1] if others else runs.members[: 4 if finished.quick else 8]
        for member in members:
            if (member, 0) in runs.vectors:
                vectors[member], tasks[member] = runs.vectors[member, 0], runs.task(member)
    if len(vectors) < 2:
        raise NotMeasuredError("fewer than two vectors on the same model to compare")
    cells = transfer(finished.model, vectors, tasks)
    gaps, drawn = cells.own_minus_others()
    change, null = np.array(cells.change), np.array(cells.null)
    apart = ~np.eye(len(change), dtype=bool)
    sizes = np.abs(change[apart]).reshape(len(change), -1).mean(axis=1)
    n = f"{len(cells.vectors)} vectors × {len(cells.tasks)} tasks"

    def finding(
        id: str,
        measure: str,
        values: Sequence[float],
        null: float,
        of: str = "",
        bounds: Bounds | None = None,
    ) -> Finding:
        return Finding(
            id=id,
            measure=measure,
            found=estimate_of(stats.mean_interval(values, bounds=bounds), n),
            base=0.0,
            nulls=(Null(name=f"random directions of its norm, {of}95th centile", value=null),),
            units=len(values),
        )

    findings = (
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
        ),
        finding(
            "others",
            "log-odds by which a vector moves another task's probes, whichever way, nats",
            sizes.tolist(),
            float(null[apart].mean()),
            bounds=POSITIVE,
        ),
    )
    return AnalysisResult(findings, cells.table())


def specificity_figure(tables: Tables) -> Figure | None:
    """Every vector on every task."""
    panels = []
    for name, table in tables.items():
        rows, columns, grid = grid_of(table, "vector", "task", "change")
        most = float(table["change"].abs().max()) or 1.0  # type: ignore[arg-type]
        panels.append(heat_panel(rows, columns, grid, most=most, title=name, span=3))
    caption = (
        "Nats of log-odds that a vector (row) adds on a task's probes (column), over the untouched "
        "model; blue: towards that task's answer."
    )
    return figure_of("transfer", caption, panels, tables)
