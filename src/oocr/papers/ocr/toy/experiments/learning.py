"""Both forms of the network learn the same rows; what does each say of the test names?"""

from __future__ import annotations

import math
from dataclasses import asdict

import polars as pl

from oocr.charts.figure import Figure, Tables, figure_of
from oocr.charts.lines import Look, line_keys, lines_by, lines_panel
from oocr.claims.analysis_result import AnalysisResult
from oocr.intervals import POSITIVE, SHARE
from oocr.papers.measure import mean_finding, values_of
from oocr.papers.ocr.toy.networks import Form, effective
from oocr.papers.ocr.toy.scores import gaps
from oocr.papers.ocr.toy.training import REPEATS, STEPS, train_form
from oocr.papers.ocr.toy.world import World
from oocr.papers.paper import Cell, Experiment, PaperSettings, Rows

FORMS: tuple[Form, ...] = ("factorized", "combined")
SCORED = (0, 25, 50, 75, *range(100, 500, 25), *range(500, STEPS, 100))
LOOKS: tuple[Look, ...] = (
    ("factorized", "W_O W_V, two matrices", "vector"),
    ("combined", "W_OV, one matrix", "adapter"),
)


class LearningCell(Cell):
    """A form of the network."""

    form: Form


def cells(settings: PaperSettings) -> list[LearningCell]:
    """Both forms on every seed."""
    return [
        LearningCell(seed=seed, form=form)
        for seed in settings.seeds(full=5, quick=3)
        for form in FORMS
    ]


def compute(cell: LearningCell) -> Rows:
    """Scores by step, what the trained network attends to, and the gaps of W diag(s)."""
    world = World()
    trained = train_form(world, cell.form, cell.seed, SCORED)
    weights, attention = effective(trained.parameters), trained.parameters["attention"]
    rows: Rows = [{"part": "curve", **row} for row in trained.curve]
    tokens = {"relation": range(2), "name": world.name_ids, "noise": world.noise_ids}
    tokens["end"] = range(world.end, world.end + 1)
    rows += [
        {"part": "attention", "what": kind, "value": float(attention[list(ids)].mean())}
        for kind, ids in tokens.items()
    ]
    rows += [
        {"part": "gap", "what": name, "value": value}
        for name, value in asdict(gaps(weights, world)).items()
    ]
    return rows


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """How each form ends, and the least loss that the combined one ever has."""
    world, chance = World(), (World().pairs - 1) / 2
    curve = table.filter(pl.col("part") == "curve")
    last = curve.filter(pl.col("step") == STEPS)
    per_seed = REPEATS * len(world.test_names)
    result = AnalysisResult(rows=curve.drop("part", "what", "value").to_dicts())
    for form in FORMS:
        result.findings += [
            mean_finding(
                f"{form}-rank",
                f"mean rank of the implied c among {world.pairs}, test names, {form}",
                values_of(last, "rank", form=form),
                bounds=(0.0, world.pairs - 1.0),
                nulls={"chance": chance},
            ),
            mean_finding(
                f"{form}-accuracy",
                f"share of test implications right among all {world.tokens} tokens, {form}",
                values_of(last, "accuracy", form=form),
                bounds=SHARE,
                items=per_seed,
                nulls={"chance among the c's": 1 / world.pairs},
            ),
            mean_finding(
                f"{form}-train-loss",
                f"loss on what is trained, nats, {form}",
                values_of(last, "train_loss", form=form),
                bounds=POSITIVE,
            ),
        ]
    least = curve.group_by("form", "seed").agg(pl.col("loss").min())
    result.findings.append(
        mean_finding(
            "combined-least-loss",
            "least loss on test implications at any step, nats, combined",
            values_of(least, "loss", form="combined"),
            bounds=POSITIVE,
            nulls={"log 20": math.log(world.pairs)},
        )
    )
    return result


def figure(tables: Tables) -> Figure | None:
    """Losses by step."""
    panels = []
    for name, table in tables.items():
        for column, title in (
            ("train_loss", "what is trained"),
            ("loss", "test names: what follows"),
        ):
            lines = lines_by(table, "form", LOOKS, "step", column)
            panels.append(
                lines_panel(
                    lines, "step", "loss, nats", title=f"{name}: {title}", level=math.log(20)
                )
            )
    caption = "Cross-entropy over all tokens, mean over seeds. Grey: log 20, the best guess."
    return figure_of(EXPERIMENT.name, caption, panels, tables, line_keys(LOOKS))


EXPERIMENT = Experiment(
    name="ocr-learning",
    section="learning",
    about="facts and implications with noise words, trained in both forms of one network",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
)
