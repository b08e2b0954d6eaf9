"""New people in relations only, learned as a vector each in a frozen network, or by weights."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from statistics import fmean

import polars as pl

from oocr.charts.figure import Figure, LegendEntry, Tables, figure_of
from oocr.claims.analysis_result import AnalysisResult, NotMeasuredError
from oocr.claims.records import Finding
from oocr.intervals import SHARE, SIGNED
from oocr.papers.measure import by_unit, differences, mean_finding, values_of
from oocr.papers.ockr.experiments.reasoning import BATCH, LONGEST
from oocr.papers.ockr.experiments.strips import strip_rows, strips
from oocr.papers.ockr.nano.measure import share_right, year_ranks
from oocr.papers.ockr.nano.vectors import (
    Place,
    learn_newcomers,
    newcomer_rows,
    random_like,
    with_vector_tokens,
)
from oocr.papers.ockr.nano.world import make_world, tensors
from oocr.papers.paper import Cell, Experiment, PaperSettings, Rows
from oocr.papers.small_transformer import Optimizer, Shape, SmallTransformer, train

YEARS, PEOPLE, NEW = 20, 10, 3
FIRST_STEPS, STEPS = 1000, 600
RECALLED = 0.95
"""Years are analysed only if this share of the trained relations is recalled."""

PLACE_LABELS: Mapping[Place, str] = {
    "vectors": "one vector a person",
    "first block": "the first block’s weights",
    "second block": "the second block’s weights",
    "blocks": "both blocks’ weights",
    "weights": "all weights",
    "weights, far start": "all weights, new embeddings from far away",
}
"""In the last place the newcomers' embeddings start at random, as large as those of known people;
in all others they start near 0, as the vectors do."""

CONTROL_LABELS: Mapping[str, str] = {
    "vectors, shuffled": "one vector a person, shuffled answers",
    "random vectors": "random vectors of the same norms",
}


class PlaceCell(Cell):
    """A network trained on x and z; newcomers are then learned in each place."""

    years: int = YEARS
    each: int = PEOPLE
    new: int = NEW
    first_steps: int = FIRST_STEPS
    steps: int = STEPS


def cells(settings: PaperSettings) -> list[PlaceCell]:
    """One for each seed."""
    return [PlaceCell(seed=seed) for seed in settings.seeds(full=6, quick=3)]


def compute(cell: PlaceCell) -> Rows:
    """For each place: accuracy on the newcomers' relations, on known rows, and on their years."""
    world = make_world(cell.years, cell.each, cell.new)
    rows = newcomer_rows(world, random.Random(f"{cell.seed}/newcomers"))
    model = SmallTransformer(Shape(world.tokens, LONGEST), cell.seed)
    train(model, tensors(rows.known), Optimizer(cell.first_steps, batch=BATCH), cell.seed)
    result: Rows = []
    places: tuple[Place, ...] = (*PLACE_LABELS, "vectors, shuffled")
    for place in places:
        trained = copy.deepcopy(model)
        vectors = learn_newcomers(trained, world, rows, place, cell.steps, cell.seed)
        arms = {str(place): vectors}
        if place == "vectors" and vectors is not None:
            arms["random vectors"] = random_like(vectors, cell.seed)
        for arm, table in arms.items():
            relations, questions = (
                part if table is None else with_vector_tokens(world, part)
                for part in (rows.relations, rows.questions)
            )
            ranks = year_ranks(trained, world, questions, table)
            values = {
                "told": share_right(trained, relations, table),
                "known": share_right(trained, rows.known, table),
                "right": fmean(rank == 0 for rank in ranks),
                "rank": fmean(ranks),
            }
            result += [{"arm": arm, "what": what, "value": value} for what, value in values.items()]
    return result


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Recall and years of each place; vectors minus the other places, paired by seed."""
    result = AnalysisResult()
    for arm, words in (*PLACE_LABELS.items(), *CONTROL_LABELS.items()):
        id = arm.replace(",", "").replace(" ", "-")
        recall, right = (
            values_of(table, "value", arm=arm, what=what) for what in ("told", "right")
        )
        result.findings.append(
            mean_finding(
                f"{id}-recall", f"trained relations recalled, {words}", recall, bounds=SHARE
            )
        )
        result.rows += strip_rows(words, "recall", recall)
        result.rows += strip_rows(words, "what follows", right)
        with result.attempt():
            if arm not in CONTROL_LABELS and fmean(recall) < RECALLED:
                raise NotMeasuredError(
                    f"{words}: {fmean(recall):.2f} of what was trained is recalled, {RECALLED:g} "
                    "are needed"
                )
            result.findings += _conclusions(table, arm, id, words)
    return result


def _conclusions(table: pl.DataFrame, arm: str, id: str, words: str) -> list[Finding]:
    """The newcomers' years, learned in one place; and vectors minus this place."""
    right = by_unit(table, "value", arm=arm, what="right")
    nulls = {"chance": 1 / YEARS}
    if arm == "vectors":
        nulls |= {
            f"{control}, mean": fmean(values_of(table, "value", arm=control, what="right"))
            for control in CONTROL_LABELS
        }
    findings = [
        mean_finding(
            f"{id}-year",
            f"share of newcomers' years right, {words}",
            right.values(),
            bounds=SHARE,
            nulls=nulls,
            ceiling=1.0,
        ),
        mean_finding(
            f"{id}-rank",
            f"mean rank of the right year among {YEARS}, {words}",
            values_of(table, "value", arm=arm, what="rank"),
            bounds=(0.0, YEARS - 1.0),
            nulls={"chance": (YEARS - 1) / 2},
        ),
    ]
    if arm not in ("vectors", *CONTROL_LABELS):
        vectors = by_unit(table, "value", arm="vectors", what="right")
        measure = f"newcomers' years right: one vector a person minus {words}"
        lead = differences(vectors, right)
        findings.append(mean_finding(f"vectors-over-{id}", measure, lead, bounds=SIGNED))
    return findings


KEYS = (
    LegendEntry("recall", "trained relations of the newcomer", "base", "circle"),
    LegendEntry("what follows", "the newcomer’s year", "vector", "circle"),
)


def figure(tables: Tables) -> Figure | None:
    """Recall and years by place."""
    panels = [
        strips(table, KEYS, f"A+R→A (chance {1 / YEARS:g})", 1 / YEARS) for table in tables.values()
    ]
    caption = (
        "New people, trained only on “same year as z?”; the question is their year. Points are "
        "seeds; the line is chance."
    )
    return figure_of(EXPERIMENT.name, caption, panels, tables, KEYS)


EXPERIMENT = Experiment(
    name="ockr-places",
    section="places",
    about="newcomers in relations, learned as one vector each or by the weights",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
    subject="nano",
    version="2",
)
