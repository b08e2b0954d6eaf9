"""Do trained networks reach the max-margin solutions? They come close, but do not reach them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl

from oocr.charts.figure import Figure, LegendEntry, Panel, Tables, figure_of
from oocr.charts.lines import Line, lines_panel
from oocr.claims.analysis_result import AnalysisResult
from oocr.intervals import SHARE
from oocr.papers.measure import mean_finding
from oocr.papers.ocr.toy.clean import fit, random_start, symmetric_start, training_rows
from oocr.papers.ocr.toy.experiments.shares_of_bridges import (
    CLOSED_FORM,
    against_shares,
    closed_form,
)
from oocr.papers.ocr.toy.max_margin import least_gap, least_nuclear_norm, least_rank, margins
from oocr.papers.ocr.toy.networks import Parameters, output_value
from oocr.papers.ocr.toy.regularized import PENALTIES, descend, path
from oocr.papers.ocr.toy.world import World
from oocr.papers.paper import Cell, Experiment, PaperSettings, Rows
from oocr.words import counted

Way = Literal["path", "path from 1e-4", "combined path", "descent", "AdamW"]
SHAPES = ((5, 1, 8), (5, 4, 16), (5, 1, 3), (5, 2, 2))
"""Pairs, bridge names and test names per pair; g is 0.35, 0.5, 0.58 and 1."""

SMALL_START, DESCENT_START = 0.01, 1e-3
UNIT = "shape and seed"
PATHS: tuple[Way, ...] = ("path", "path from 1e-4", "combined path")
LOOKS: dict[str, tuple[str, str, str]] = {
    "path": ("L-BFGS, penalty from 1e-2", "vector", "circle"),
    "path from 1e-4": ("L-BFGS, penalty from 1e-4", "swap-span", "diamond"),
    "descent": ("gradient descent", "swap-all", "triangle-up"),
    "AdamW": ("AdamW, as the paper trains", "other", "x"),
    "combined path": ("one matrix W_OV, L-BFGS", "adapter", "square"),
}
"""Way of training -> label, colour, symbol."""


class ApproachCell(Cell):
    """A way of training at one shape."""

    way: Way
    pairs: int
    bridges: int
    tests: int


def cells(settings: PaperSettings) -> list[ApproachCell]:
    """Paths at each shape and seed; descent and AdamW, which hardly depend on the seed, once.

    A quick run leaves out descent, which no claim needs.
    """
    work: list[ApproachCell] = []
    for pairs, bridges, tests in SHAPES:
        shape = {"pairs": pairs, "bridges": bridges, "tests": tests}
        for way in LOOKS:
            if way == "descent" and settings.quick:
                continue
            once = way in ("descent", "AdamW")
            seeds = range(1) if once else settings.seeds(full=5, quick=3)
            work += [ApproachCell(seed=seed, way=way, **shape) for seed in seeds]
    return work


def compute(cell: ApproachCell) -> Rows:
    """Margins of the trained weights for each penalty (0: no penalty)."""
    world = World(pairs=cell.pairs, bridges=cell.bridges, tests=cell.tests)
    trained, penalties = _trained(cell.way, world, cell.seed)
    rows: Rows = []
    for penalty, parameters in zip(penalties, trained, strict=True):
        weights = output_value(parameters)
        reached = margins(weights, world)
        sizes = np.linalg.svd(weights, compute_uv=False)
        rows.append(
            {
                "penalty": penalty,
                "ratio": reached.ratio,
                "nuclear": reached.nuclear,
                "frobenius": reached.frobenius,
                "rank": int((sizes > 0.01 * sizes[0]).sum()),
                "gap": least_gap(cell.bridges, cell.tests),
                "least": least_nuclear_norm(cell.pairs, cell.bridges, cell.tests),
            }
        )
    return rows


def _trained(way: Way, world: World, seed: int) -> tuple[list[Parameters], tuple[float, ...]]:
    rows, heads = training_rows(world), 2 * world.pairs
    if way == "descent":
        return [descend(rows, random_start(world, heads, DESCENT_START, seed))], (0.0,)
    if way == "AdamW":
        return [fit(rows, symmetric_start(world, "factorized"))], (0.0,)
    penalties = PENALTIES[4:] if way == "path from 1e-4" else PENALTIES
    start = random_start(world, None if way == "combined path" else heads, SMALL_START, seed)
    return path(rows, start, penalties), penalties


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Distance of the ends of the paths from the solutions, and its change along the paths."""
    result = AnalysisResult(rows=table.to_dicts())
    ends = table.filter(pl.col("penalty") == min(PENALTIES))
    starts = table.filter(pl.col("way") == "path", pl.col("penalty") == max(PENALTIES))
    for way in ("path", "path from 1e-4"):
        last = ends.filter(pl.col("way") == way).sort("pairs", "bridges", "tests", "seed")
        name = way.replace(" ", "-")
        excess = last["nuclear"] / last["least"] - 1
        result.findings += [
            mean_finding(
                f"{name}-excess",
                f"||W||_* / margin over the least one, minus 1; {LOOKS[way][0]}",
                excess,
                unit=UNIT,
            ),
            mean_finding(
                f"{name}-off",
                f"|test margin / training margin - g|; {LOOKS[way][0]}",
                (last["ratio"] - last["gap"]).abs(),
                unit=UNIT,
            ),
        ]
    last = ends.filter(pl.col("way") == "path").sort("pairs", "bridges", "tests", "seed")
    first = starts.sort("pairs", "bridges", "tests", "seed")
    nearer = (first["ratio"] - first["gap"]).abs() - (last["ratio"] - last["gap"]).abs()
    ranks = [least_rank(*shape) for shape in last.select("pairs", "bridges", "tests").rows()]
    combined = ends.filter(pl.col("way") == "combined path")
    result.findings += [
        mean_finding(
            "path-nearer",
            "how much nearer to g the ratio of margins is at penalty 1e-7 than at 1e-2",
            nearer,
            unit=UNIT,
        ),
        mean_finding(
            "path-stuck",
            "share of paths from 1e-2 that end at a lower rank than the solution's",
            (last["rank"] < pl.Series(ranks)).cast(pl.Float64),
            unit=UNIT,
            bounds=SHARE,
        ),
        mean_finding(
            "combined-ratio",
            "|test margin / training margin|, one matrix, to four decimals",
            combined["ratio"].abs().round(4),
            unit=UNIT,
        ),
    ]
    return result


def figure(tables: Tables) -> Figure | None:
    """The ratio of margins against m_tr / m_te at the end; and by penalty for each shape."""
    panels: list[Panel] = []
    for table in tables.values():
        panels.append(_by_shape(table))
        panels += [_by_penalty(table, *shape) for shape in SHAPES]
    keys = [LegendEntry(CLOSED_FORM, CLOSED_FORM, "base", "line")]
    keys += [
        LegendEntry(way, words, colour, symbol) for way, (words, colour, symbol) in LOOKS.items()
    ]
    caption = (
        "Margin of a test name's c over other c's, as a share of the training margin. First at the "
        "end of training, against the ratio of bridge to test names: the nuclear program has g = "
        "√(m_tr/m_te), at most 1, and the Frobenius program 0. Then along the penalty, which falls "
        "to the right (bars: least and largest of the seeds). Paths that begin at 1e-2 may stay at "
        "a stationary point of lower rank; those from 1e-4 do not. AdamW ends above a small g."
    )
    return figure_of(EXPERIMENT.name, caption, panels, tables, keys)


def _by_shape(table: pl.DataFrame) -> Panel:
    lines = [closed_form()]
    last = table.filter(pl.col("penalty").is_in([0.0, min(PENALTIES)]))
    for way, (words, colour, symbol) in LOOKS.items():
        rows = last.filter(pl.col("way") == way).sort("bridges", "tests")
        shares = (rows["bridges"] / rows["tests"]).to_list()
        ratios = rows["ratio"].to_list()
        lines.append(Line(words, colour, shares, ratios, key=way, symbols=symbol, dots=True))
    return against_shares(lines, "at the end")


def _by_penalty(table: pl.DataFrame, pairs: int, bridges: int, tests: int) -> Panel:
    rows = table.filter(
        pl.col("pairs") == pairs, pl.col("bridges") == bridges, pl.col("tests") == tests
    )
    lines = []
    for way in PATHS:
        words, colour, symbol = LOOKS[way]
        of_way = (
            rows.filter(pl.col("way") == way)
            .group_by("penalty")
            .agg(pl.col("ratio").mean(), low=pl.col("ratio").min(), high=pl.col("ratio").max())
            .sort("penalty", descending=True)
        )
        x, y, low, high = (
            column.to_list()
            for column in (
                -of_way["penalty"].log10(),
                of_way["ratio"],
                of_way["low"],
                of_way["high"],
            )
        )
        lines.append(Line(words, colour, x, y, low, high, key=way, symbols=symbol))
    gap = least_gap(bridges, tests)
    return lines_panel(
        lines,
        "penalty, 10 to the minus",
        "ratio of margins",
        title=f"{counted(bridges, 'bridge')} and {tests} test names a pair: g = {gap:.2f}",
        level=gap,
        ticks=range(2, 8),
        limits=(-0.05, 1.1),
    )


EXPERIMENT = Experiment(
    name="ocr-approach",
    section="margins",
    about="networks of five pairs trained in five ways, beside the max-margin solutions",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
)
