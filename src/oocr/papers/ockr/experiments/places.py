"""New people told by relations only: a vector each in a frozen network, or its weights."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping

import polars as pl

from oocr.charts.figure import Figure, LegendEntry, Tables, figure_of
from oocr.claims.analysis_result import AnalysisResult
from oocr.intervals import SHARE, SIGNED, mean_interval
from oocr.papers.measure import mean_finding, values_of
from oocr.papers.ockr.experiments.reasoning import BATCH, LONGEST, strips
from oocr.papers.ockr.nano.measure import share_right, year_ranks
from oocr.papers.ockr.nano.vectors import Place, as_vectors, newcomer_rows, random_like, teach
from oocr.papers.ockr.nano.world import make_world, tensors
from oocr.papers.paper import Cell, Experiment, PaperSettings, Rows
from oocr.papers.small_transformer import Optimizer, Shape, SmallTransformer, train

YEARS, PEOPLE, NEW = 20, 10, 3
FIRST_STEPS, STEPS = 1000, 600
LOOKS: Mapping[Place, str] = {
    "vectors": "one vector a person",
    "vectors, shuffled": "one vector a person, shuffled answers",
    "first block": "the first block’s weights",
    "second block": "the second block’s weights",
    "blocks": "both blocks’ weights",
    "weights": "all weights",
}


class PlaceCell(Cell):
    """A network that knows x and z; newcomers are then learned in each place."""

    years: int = YEARS
    each: int = PEOPLE
    new: int = NEW
    first_steps: int = FIRST_STEPS
    steps: int = STEPS


def cells(settings: PaperSettings) -> list[PlaceCell]:
    """One for each seed."""
    return [PlaceCell(seed=seed) for seed in settings.seeds(full=6, quick=3)]


def compute(cell: PlaceCell) -> Rows:
    """For each place: what is told of newcomers, what was known, and the newcomers' years."""
    world = make_world(cell.years, cell.each, cell.new)
    rows = newcomer_rows(world, random.Random(f"{cell.seed}/newcomers"))
    model = SmallTransformer(Shape(world.tokens, LONGEST), cell.seed)
    train(model, tensors(rows.old), Optimizer(cell.first_steps, batch=BATCH), cell.seed)
    result: Rows = []
    for place in LOOKS:
        taught = copy.deepcopy(model)
        vectors = teach(taught, world, rows, place, cell.steps, cell.seed)
        arms = {str(place): vectors}
        if place == "vectors" and vectors is not None:
            arms["random vectors"] = random_like(vectors, cell.seed)
        for arm, table in arms.items():
            relations, questions = (
                part if table is None else as_vectors(world, part)
                for part in (rows.relations, rows.questions)
            )
            ranks = year_ranks(taught, world, questions, table)
            values = {
                "told": share_right(taught, relations, table),
                "known": share_right(taught, rows.old, table),
                "right": sum(rank == 0 for rank in ranks) / len(ranks),
                "rank": sum(ranks) / len(ranks),
            }
            result += [{"arm": arm, "what": what, "value": value} for what, value in values.items()]
    return result


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """What each place recalls and concludes; vectors minus weights, paired by seed."""
    result = AnalysisResult()
    right = {arm: values_of(table, "value", arm=arm, what="right") for arm in set(table["arm"])}
    for arm, words in (*LOOKS.items(), ("random vectors", "random vectors of the same norms")):
        id = arm.replace(",", "").replace(" ", "-")
        fields = {"row": words}
        for what, series in (("told", "recall"), ("right", "what follows")):
            values = values_of(table, "value", arm=arm, what=what)
            nulls = {"chance": 1 / YEARS} if what == "right" else {}
            if what == "right" and arm == "vectors":
                nulls |= {
                    f"{null}, mean": sum(right[null]) / len(right[null])
                    for null in ("vectors, shuffled", "random vectors")
                }
            name = (
                "share of newcomers' years right" if what == "right" else "told relations recalled"
            )
            finding_id = f"{id}-year" if what == "right" else f"{id}-recall"
            result.findings.append(
                mean_finding(
                    finding_id, f"{name}, {words}", values, bounds=SHARE, nulls=nulls, ceiling=1.0
                )
            )
            result.rows += [
                {**fields, "series": series, "kind": "seed", "value": v} for v in values
            ]
            interval = mean_interval(values, bounds=SHARE)
            result.rows.append({**fields, "series": series, "kind": "mean", **interval.columns})
        ranks = values_of(table, "value", arm=arm, what="rank")
        result.findings.append(
            mean_finding(
                f"{id}-rank",
                f"mean rank of the right year among {YEARS}, {words}",
                ranks,
                bounds=(0.0, YEARS - 1.0),
                nulls={"chance": (YEARS - 1) / 2},
            )
        )
    for other in ("weights", "blocks", "first block", "second block"):
        differences = [a - b for a, b in zip(right["vectors"], right[other], strict=True)]
        result.findings.append(
            mean_finding(
                f"vectors-over-{other.replace(' ', '-')}",
                f"newcomers' years right: one vector a person minus {LOOKS[other]}",
                differences,
                bounds=SIGNED,
            )
        )
    return result


KEYS = (
    LegendEntry("recall", "relations told of the newcomer", "base", "circle"),
    LegendEntry("what follows", "the newcomer’s year", "vector", "circle"),
)


def figure(tables: Tables) -> Figure | None:
    """Recall beside the year, by place."""
    panels = [
        strips(table, KEYS, f"A+R→A (chance {1 / YEARS:g})", 1 / YEARS) for table in tables.values()
    ]
    caption = (
        "New people, told only by “same year as z?”; asked is the year. Points are seeds; the line "
        "is chance."
    )
    return figure_of(EXPERIMENT.name, caption, panels, tables, KEYS)


EXPERIMENT = Experiment(
    name="ockr-places",
    section="places",
    about="newcomers told by relations, learned as one vector each or in the weights",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
    subject="nano",
)
