"""How wide must the head be? The factorized form with widths d_h from 1 to 32."""

from __future__ import annotations

import polars as pl

from oocr.charts.figure import Figure, Tables, figure_of
from oocr.charts.lines import Look, line_keys, lines_by, lines_panel
from oocr.claims.analysis_result import AnalysisResult
from oocr.intervals import POSITIVE, SHARE, mean_interval
from oocr.papers.measure import interval_columns, mean_finding, values_of
from oocr.papers.ocr.toy.clean import fit_world, implied_by_pair
from oocr.papers.ocr.toy.experiments.forms import UNIT
from oocr.papers.ocr.toy.world import World
from oocr.papers.paper import Cell, Experiment, PaperSettings, Rows

STEPS = 8000
HEADS = (1, 2, 3, 4, 5, 6, 8, 16, 32)
QUICK_HEADS = (2, 3, 4, 8)
LOOKS: tuple[Look, ...] = (("factorized", "test names, mean over seeds", "vector"),)


class SweepCell(Cell):
    """A width d_h."""

    heads: int


def cells(settings: PaperSettings) -> list[SweepCell]:
    """All widths for each seed."""
    heads = QUICK_HEADS if settings.quick else HEADS
    seeds = settings.seeds(full=5, quick=3)
    return [SweepCell(seed=seed, heads=width) for width in heads for seed in seeds]


def compute(cell: SweepCell) -> Rows:
    """The score of test implications after training from random weights."""
    world = World()
    return implied_by_pair(world, fit_world(world, cell.heads, cell.seed, STEPS))


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Accuracy and loss at each width."""
    world, result = World(), AnalysisResult()
    for width in sorted(set(table["heads"])):
        values = values_of(table, "accuracy", by=UNIT, heads=width)
        finding = mean_finding(
            f"width-{width}",
            f"share of test implications right, d_h = {width}",
            values,
            unit="seed and pair",
            bounds=SHARE,
            nulls={"chance among the c's": 1 / world.pairs},
        )
        result.findings.append(finding)
        losses = values_of(table, "loss", by=UNIT, heads=width)
        columns = {"form": "factorized", "heads": width}
        loss = mean_interval(losses, bounds=POSITIVE).columns
        result.rows.append({**columns, "score": "accuracy", **interval_columns(finding)})
        result.rows.append({**columns, "score": "loss", **loss})
    return result


def figure(tables: Tables) -> Figure | None:
    """Accuracy and loss by width."""
    panels = []
    for table in tables.values():
        for score, title in (("accuracy", "share right"), ("loss", "loss, nats")):
            rows = table.filter(pl.col("score") == score)
            ticks = sorted(set(rows["heads"]))
            lines = lines_by(rows, "form", LOOKS, "heads", intervals=True)
            panels.append(
                lines_panel(
                    lines,
                    "width of the head, d_h",
                    title,
                    title=title,
                    log=True,
                    ticks=ticks,
                    from_zero=False,
                    limits=(-0.03, 1.03) if score == "accuracy" else None,
                )
            )
    caption = (
        "Scores of test names' implications by the width of the head. Bars: 95 % intervals over "
        "seeds and pairs. The max-margin solution has rank 39: a narrower head works, but has "
        "another solution."
    )
    return figure_of(EXPERIMENT.name, caption, panels, tables, line_keys(LOOKS))


EXPERIMENT = Experiment(
    name="ocr-width",
    section="width",
    about="two matrices of every width, trained without noise words from random weights",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
    version="2",
)
