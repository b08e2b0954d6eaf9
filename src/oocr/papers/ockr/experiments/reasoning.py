"""The three tasks in the nano world with several kinds of training rows."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from oocr.charts.figure import Figure, LegendEntry, Panel, Tables, figure_of
from oocr.claims.analysis_result import AnalysisResult
from oocr.intervals import SHARE, SIGNED
from oocr.papers.measure import by_unit, differences, mean_finding, values_of
from oocr.papers.ockr.experiments.strips import strip_rows, strips
from oocr.papers.ockr.nano.arms import HALVES, TASKS
from oocr.papers.ockr.nano.measure import share_right, shares_by_token, yes_auc
from oocr.papers.ockr.nano.world import make_world, tensors
from oocr.papers.paper import Cell, Experiment, PaperSettings, Rows
from oocr.papers.small_transformer import Optimizer, Shape, SmallTransformer, train

BATCH, LONGEST = 128, 6


@dataclass(frozen=True, slots=True)
class Arm:
    """A kind of training rows.

    Attributes:
        id: name in findings.
        words: label in figures.
        steps: training steps.
        seeds, quick: number of seeds in a full and in a quick run (0: left out).
    """

    id: str
    words: str
    steps: int
    seeds: int = 5
    quick: int = 3


ARMS: Mapping[str, tuple[Arm, ...]] = {
    "A+A->R": (
        Arm("separate", "facts apart", 400, seeds=10, quick=6),
        Arm("x-years", "+ years of x", 800),
        Arm("x-years-xy", "+ years of x, x with y", 800),
        Arm("hint", "with the hint: years first", 400),
    ),
    "A+R->A": (
        Arm("separate", "facts apart", 400, seeds=10, quick=6),
        Arm("x-years+xx", "+ years of x, x with x", 600, seeds=10, quick=6),
        Arm("generated", "+ relations generated", 400, quick=0),
        Arm("hint", "with the hint: a partner first", 400),
        Arm("hint+x-years+xx", "hint, + years of x, x with x", 800, quick=0),
        Arm("hint+generated", "hint, + relations generated", 800),
        Arm("hint+generated+x-years", "hint, + generated, + years of x", 800, quick=0),
    ),
    "R+R->R": (
        Arm("separate", "facts apart", 600, seeds=10, quick=6),
        Arm("four", "four partners a person", 1000, quick=0),
        Arm("ten", "ten partners a person", 1500, quick=0),
        Arm("alternate", "conclusions of every other year trained", 600),
        Arm("halves", "conclusions of the first ten years trained", 600, quick=0),
        Arm("dense", "all kinds of pairs except y with z", 2000),
    ),
}
ID_PREFIXES = {"A+A->R": "attributes", "A+R->A": "relation", "R+R->R": "relations"}
"""Task -> first word of the ids of its findings."""

YEARS, PEOPLE = 20, 10
CHANCE = {"A+A->R": 0.5, "A+R->A": 1 / YEARS, "R+R->R": 0.5}


class ReasoningCell(Cell):
    """A task with the rows of one arm."""

    task: str
    arm: str
    years: int = YEARS
    each: int = PEOPLE
    steps: int


def cells(settings: PaperSettings) -> list[ReasoningCell]:
    """All arms; arms expected at chance have more seeds, since their scores vary most."""
    return [
        ReasoningCell(seed=seed, task=task, arm=arm.id, steps=arm.steps)
        for task, arms in ARMS.items()
        for arm in arms
        for seed in settings.seeds(full=arm.seeds, quick=arm.quick)
    ]


def compute(cell: ReasoningCell) -> Rows:
    """Train one network; its accuracy on premises and on conclusions."""
    world = make_world(cell.years, cell.each)
    arm_rows = TASKS[cell.task](
        world, cell.arm, random.Random(f"{cell.seed}/{cell.task}/{cell.arm}")
    )
    model = SmallTransformer(Shape(world.tokens, LONGEST), cell.seed)
    optimizer = Optimizer(cell.steps, batch=BATCH, decay=cell.arm == "dense")
    train(model, tensors(arm_rows.train), optimizer, cell.seed)
    rows: Rows = [
        {"part": "recall", "what": name, "value": share_right(model, premises)}
        for name, premises in arm_rows.recall.items()
    ]
    by_token = shares_by_token(model, arm_rows.target)
    target = {"right": share_right(model, arm_rows.target), "last": by_token[-1]}
    if len(by_token) > 1:
        target["first"] = by_token[0]
    elif cell.task != "A+R->A":
        target["area"] = yes_auc(model, arm_rows.target)
    if arm_rows.between_y:
        target["y-y"] = share_right(model, arm_rows.between_y)
    return rows + [
        {"part": "target", "what": what, "value": value} for what, value in target.items()
    ]


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Recall and conclusions of each arm; differences between arms, paired by seed."""
    result = AnalysisResult()
    for task, arms in ARMS.items():
        of_task = table.filter(pl.col("task") == task)
        for arm in arms:
            rows = of_task.filter(pl.col("arm") == arm.id)
            if rows.is_empty():
                result.reasons.append(f"{task}, {arm.words}: not in a quick run")
            else:
                _measure(result, task, arm, rows)
    _gains(result, table)
    return result


def _measure(result: AnalysisResult, task: str, arm: Arm, rows: pl.DataFrame) -> None:
    """Findings and figure rows of an arm; recall is that of the worst kind of premise."""
    worst = rows.filter(pl.col("part") == "recall").group_by("seed").agg(pl.col("value").min())
    target, recall = rows.filter(pl.col("part") == "target"), values_of(worst, "value")
    last, first, areas, between_y = (
        values_of(target, "value", what=what) for what in ("last", "first", "area", "y-y")
    )
    opening = "partner" if task == "A+R->A" else "first year"
    count, half = conclusion_count(task, arm), 0.5
    for ending, words, values, items, chance in (
        ("-recall", "premises recalled", recall, None, None),
        ("", "share of conclusions right", last, count, CHANCE[task]),
        ("-first", f"share that begins with the right {opening}", first, count, 1 / YEARS),
        ("-area", "area under the curve (AUC) of yes", areas, None, half),
        ("-y-y", "share of untrained relations of y with y right", between_y, None, half),
    ):
        if values:
            result.findings.append(
                mean_finding(
                    f"{ID_PREFIXES[task]}-{arm.id}{ending}",
                    f"{words}, {task}, {arm.words}",
                    values,
                    bounds=SHARE,
                    items=items,
                    nulls={} if chance is None else {"chance": chance},
                    ceiling=1.0,
                )
            )
    for series, values in (("recall", recall), ("what follows", last), (opening, first)):
        result.rows += strip_rows(arm.words, series, values, task=task) if values else []


def conclusion_count(task: str, arm: Arm) -> int:
    """The number of conclusions in the target."""
    people = YEARS * PEOPLE // (2 if arm.id in HALVES else 1)
    return people if task == "A+R->A" else 2 * people


GAINS = (
    ("attributes-gain-years", "A+A->R", "x-years", "separate"),
    ("attributes-gain-relations", "A+A->R", "x-years-xy", "x-years"),
    ("attributes-gain-hint", "A+A->R", "hint", "separate"),
    ("relation-gain-generated", "A+R->A", "hint+generated", "hint"),
    ("relations-gain-dense", "R+R->R", "dense", "separate"),
)
"""Id, task, and two arms: the finding is the first minus the second."""


def _gains(result: AnalysisResult, table: pl.DataFrame) -> None:
    target = table.filter(pl.col("part") == "target", pl.col("what") == "last")
    for id, task, more, less in GAINS:
        first, second = (by_unit(target, "value", task=task, arm=arm) for arm in (more, less))
        if gains := differences(first, second):
            words = {arm.id: arm.words for arm in ARMS[task]}
            measure = f"conclusions right, {task}: {words[more]} minus {words[less]}"
            result.findings.append(mean_finding(id, measure, gains, bounds=SIGNED))


KEYS = (
    LegendEntry("recall", "premises recalled", "base", "circle"),
    LegendEntry("what follows", "what follows, right", "vector", "circle"),
    LegendEntry("partner", "partner named first, right", "adapter", "circle"),
    LegendEntry("first year", "year said first, right", "swap-span", "circle"),
)


def figure(tables: Tables) -> Figure | None:
    """Recall and conclusions by arm."""
    panels: list[Panel] = []
    for table in tables.values():
        for task in ARMS:
            of_task = table.filter(pl.col("task") == task)
            keys = [key for key in KEYS if key.key in of_task["series"]]
            title = f"{task.replace('->', '→')} (chance {CHANCE[task]:g})"
            panels += [strips(of_task, keys, title, CHANCE[task])] if keys else []
    caption = (
        "Share right: points are seeds, with the mean's 95 % interval over seeds. The line is "
        "chance. A: an attribute (the year), R: a relation (same year)."
    )
    return figure_of(EXPERIMENT.name, caption, panels, tables, KEYS)


EXPERIMENT = Experiment(
    name="ockr-nano",
    section="nano",
    about="a small transformer trained on two premises in several ways, and asked what follows",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
    subject="nano",
    version="2",
)
