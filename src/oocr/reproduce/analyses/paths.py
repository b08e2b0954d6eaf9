"""Section 5.1 and after: what lies between two seeds' vectors, and what happens in training."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import polars as pl

from oocr.charts.figure import Figure, Tables, figure_of, names_in
from oocr.charts.lines import Look, in_turn, line_keys, lines_by, lines_panel
from oocr.explain import interpolation
from oocr.intervals import POSITIVE, SIGNED
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Unit
from oocr.reproduce.scoring import NotMeasuredError, measured, of_first_seed
from oocr.steering.vectors import SteeringVector

SCALES = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
POINTS = 7
NO_VECTOR = "no run of this subject trained a vector"


def seed_lines(finished: FinishedRuns) -> AnalysisResult:
    """Whether the training loss rises between two seeds' vectors, and effect by strength."""
    trained = finished.vectors
    first = list(of_first_seed(trained).items())[: 3 if finished.quick else 4]
    if not first:
        raise NotMeasuredError(NO_VECTOR)
    result, rises = AnalysisResult(), dict[Unit, float]()
    for (member, _), a in first:
        b = trained.get((member, 1))
        # In one call, so that the task is recorded once.
        placed = [(scale, a * scale) for scale in SCALES]
        placed += [] if b is None else interpolation.line(a, b, POINTS)
        points = interpolation.points_of(finished.model, finished.task(member), placed)
        strengths, between = points[: len(SCALES)], points[len(SCALES) :]
        result.rows += [
            {"kind": kind, "member": member, **asdict(point)}
            for kind, group in (("strength", strengths), ("line", between))
            for point in group
        ]
        start = next(point.loss for point in strengths if point.at == 0)
        fall = start - (between[0].loss + between[-1].loss) / 2 if between else 0.0
        if fall > 0:
            rises[member, 0] = interpolation.barrier(between) / fall
    what = (
        "rise of the training loss above the straight line between two seeds' vectors, as a share "
        "of how far training lowers it"
    )
    if rises:
        result.findings.append(measured("barrier", what, rises, bounds=POSITIVE))
    elif (first[0][0][0], 1) in trained:
        result.reasons.append("training did not lower the loss, so a rise has no scale")
    else:
        result.reasons.append("one seed a member, so no line between seeds")
    return result


def lines_figure(tables: Tables) -> Figure | None:
    """Loss along the line between two seeds, and the effect by strength."""
    drawn = []
    looks: list[Look] = []
    for name, table in tables.items():
        members = in_turn(names_in(table, "member"))
        looks += members
        for kind, y, x, words in (
            ("line", "loss", "from one seed (0) to another (1)", "training loss, nats"),
            ("strength", "log_odds", "strength", "log-odds on probes, nats"),
        ):
            rows = table.filter(pl.col("kind") == kind)
            if lines := lines_by(rows, "member", members, "at", y):
                drawn.append(lines_panel(lines, x, words, title=name))
    caption = (
        "Left: training loss along the straight line between two seeds' vectors. Right: mean "
        "log-odds of the answer (or the trained pole) with one vector at several strengths; 1 is "
        "the trained one."
    )
    return figure_of("lines", caption, drawn, tables, line_keys(looks))


STEPS = (1, 2, 3, 4, 6, 8, 10, 15, 20, 30)
QUICK_STEPS = (1, 2, 4, 8, 15, 30)


def dynamics(finished: FinishedRuns) -> AnalysisResult:
    """Whether the out-of-context score is highest before the training loss is lowest.

    Judged by the score lost after the peak: of noisy measurements one is always the best and seldom
    the last, so the number of steps between is above 0 even without a peak.
    """
    grid = next((run.config.vector for run in finished.runs if run.config.vector), None)
    arm = next((arm for run in finished.runs for arm in run.reported("vector")), None)
    if grid is None or arm is None:
        raise NotMeasuredError(NO_VECTOR)
    spec = SteeringVector(arm.layer, arm.positions, site=grid.site, init_norm=grid.init_norm)
    result, ahead, fall = AnalysisResult(), dict[Unit, float](), dict[Unit, float]()
    for task in finished.tasks.test[: 3 if finished.quick else 4]:
        moments = interpolation.along_training(
            finished.model,
            task,
            spec,
            QUICK_STEPS if finished.quick else STEPS,
            learning_rate=arm.learning_rate if grid.rates == "site" else None,
            batch_lines=finished.context.batch_lines,
            prepared=finished.context.prepared([task])[0],
        )
        best, lowest = interpolation.peak(moments), interpolation.lowest(moments)
        ahead[task.member, 0] = float(np.log2(lowest.step / best.step))
        fall[task.member, 0] = interpolation.lost_after_peak(moments, task.probes)
        columns = ("step", "loss", "right", "log_odds", "norm", "to_last")
        result.rows += [
            {"member": task.member, **{name: getattr(moment, name) for name in columns}}
            for moment in moments
        ]
    earlier = (
        "how much earlier the best out-of-context score comes than the lowest training loss, in "
        "doublings of the number of steps (above 0 by chance alone)"
    )
    lost = (
        "share of probes right at the best moment minus at the lowest loss; the moment picked on "
        "one half of the probes, measured on the other, and the other way round"
    )
    result.findings += [
        measured("ahead", earlier, ahead),
        measured("lost", lost, fall, bounds=SIGNED),
    ]
    return result


def dynamics_figure(tables: Tables) -> Figure | None:
    """Loss and score along training."""
    drawn = []
    looks: list[Look] = []
    x, ticks = "training steps", QUICK_STEPS
    for name, table in tables.items():
        members = in_turn(names_in(table, "member"))
        looks += members
        for y, words in (("loss", "training loss, nats"), ("right", "share of probes right")):
            lines = lines_by(table, "member", members, "step", y)
            drawn.append(lines_panel(lines, x, words, title=name, log=True, ticks=ticks))
    caption = "One vector per member, seed 0, looked at after each number of steps."
    return figure_of("dynamics", caption, drawn, tables, line_keys(looks))
