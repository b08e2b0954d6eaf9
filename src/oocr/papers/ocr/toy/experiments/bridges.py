"""How many bridge names are needed? Five pairs with 1 to 12 bridge names each."""

from __future__ import annotations

import polars as pl

from oocr.claims.analysis_result import AnalysisResult
from oocr.papers.measure import mean_finding, values_of
from oocr.papers.ocr.toy.clean import fit_world, implied_by_pair
from oocr.papers.ocr.toy.experiments.forms import UNIT
from oocr.papers.ocr.toy.world import World
from oocr.papers.paper import Cell, Experiment, PaperSettings, Rows

PAIRS, NAMES = 5, 20
COUNTS = (1, 2, 4, 8, 12)


class BridgesCell(Cell):
    """The number of bridge names of each pair."""

    bridges: int


def cells(settings: PaperSettings) -> list[BridgesCell]:
    """All numbers of bridges for each seed."""
    counts = (1, 4) if settings.quick else COUNTS
    seeds = settings.seeds(full=5, quick=3)
    return [BridgesCell(seed=seed, bridges=count) for count in counts for seed in seeds]


def compute(cell: BridgesCell) -> Rows:
    """The score of test implications."""
    world = World(pairs=PAIRS, bridges=cell.bridges, tests=NAMES - cell.bridges)
    return implied_by_pair(world, fit_world(world, 2 * PAIRS, cell.seed))


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """The rank for each number of bridges."""
    return AnalysisResult(
        [
            mean_finding(
                f"bridges-{count}",
                f"mean rank of the c among {PAIRS}, {count} of {NAMES} names a pair are bridges",
                values_of(table, "rank", by=UNIT, bridges=count),
                unit="seed and pair",
                bounds=(0.0, PAIRS - 1.0),
                nulls={"chance": (PAIRS - 1) / 2},
            )
            for count in sorted(set(table["bridges"]))
        ]
    )


EXPERIMENT = Experiment(
    name="ocr-bridges",
    section="controls",
    about="five pairs of twenty names each, with one to twelve bridges a pair, without noise words",
    cells=cells,
    compute=compute,
    analyse=analyse,
)
