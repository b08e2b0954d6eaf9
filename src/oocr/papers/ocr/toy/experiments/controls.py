"""Controls: test names imply what the bridge names' map says, also if it is permuted or random."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import polars as pl

from oocr.charts.arms import arms_in, dot_keys
from oocr.charts.dots import dot_panel
from oocr.charts.figure import Figure, Tables, figure_of
from oocr.claims.analysis_result import AnalysisResult
from oocr.intervals import SHARE
from oocr.papers.measure import interval_columns, mean_finding, values_of
from oocr.papers.ocr.toy.clean import fit_world, implied_by_pair
from oocr.papers.ocr.toy.experiments.forms import UNIT
from oocr.papers.ocr.toy.world import World
from oocr.papers.paper import Cell, Experiment, PaperSettings, Rows

Control = Literal["permuted", "random", "half", "none"]
ROWS = {
    "permuted": "bridges permuted: the new c",
    "permuted old": "bridges permuted: the old c",
    "random": "bridges at random",
    "half": "half of the pairs: those with a bridge",
    "half old": "half of the pairs: those without",
    "none": "no bridge at all",
}


class ControlCell(Cell):
    """A control."""

    control: Control


def cells(settings: PaperSettings) -> list[ControlCell]:
    """All controls for each seed."""
    controls: tuple[Control, ...] = ("permuted", "random", "half", "none")
    seeds = settings.seeds(full=5, quick=3)
    return [ControlCell(seed=seed, control=control) for control in controls for seed in seeds]


def world_of(control: Control, seed: int) -> World:
    """The control's world: 20 pairs, one bridge name each (random: four), three test names."""
    if control == "permuted":
        return World(implied="permuted", seed=seed)
    if control == "random":
        return World(bridges=4, implied="random", seed=seed)
    return World(bridged=10 if control == "half" else 0)


def compute(cell: ControlCell) -> Rows:
    """Ranks of the pair's c for groups of test names; permuted: of the new c and the old c."""
    world = world_of(cell.control, cell.seed)
    trained = fit_world(world, 2 * world.pairs, cell.seed)
    names = world.test_names
    if cell.control == "half":
        bridged = world.pair_of(names) < 10
        return [
            {"row": row, **scores}
            for row, group in (("half", names[bridged]), ("half old", names[~bridged]))
            for scores in implied_by_pair(world, trained, group)
        ]
    rows: Rows = [{"row": cell.control, **row} for row in implied_by_pair(world, trained)]
    if cell.control == "permuted":  # the rank of the pair's original c
        of_old = implied_by_pair(replace(world, implied="same"), trained)
        rows += [{"row": "permuted old", **row} for row in of_old]
    return rows


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Mean ranks over seeds."""
    world, result = World(), AnalysisResult()
    chance = (world.pairs - 1) / 2
    for row, words in ROWS.items():
        finding = mean_finding(
            f"{row.replace(' ', '-')}-rank",
            f"mean rank of the c among {world.pairs}, {words}",
            values_of(table, "rank", by=UNIT, row=row),
            unit="seed and pair",
            bounds=(0.0, world.pairs - 1.0),
            nulls={"chance": chance},
        )
        result.findings.append(finding)
        columns = {"row": words, "arm": "factorized", "control": ""}
        result.rows.append({**columns, **interval_columns(finding)})
    result.findings.append(
        mean_finding(
            "random-accuracy",
            "share of test implications right where bridges are at random",
            values_of(table, "accuracy", by=UNIT, row="random"),
            unit="seed and pair",
            bounds=SHARE,
            nulls={"chance among the c's": 1 / world.pairs},
        )
    )
    return result


def figure(tables: Tables) -> Figure | None:
    """Mean ranks by control."""
    panels = []
    for table in tables.values():
        rows = list(table["row"])
        chance = dict.fromkeys(rows, (World().pairs - 1) / 2)
        panels.append(
            dot_panel(
                table, rows, "mean rank among 20, 0 is right", chance=chance, limits=(-0.5, 19.5)
            )
        )
    keys = [key for table in tables.values() for key in dot_keys(arms_in(table))]
    caption = (
        "Dotted: chance. An answer that is never a training target is pushed down, so that the c's "
        "of pairs without a bridge are not at chance: the permuted and the random map are the "
        "controls. Bars: 95 % intervals over seeds and pairs."
    )
    return figure_of(EXPERIMENT.name, caption, panels, tables, keys[:1])


EXPERIMENT = Experiment(
    name="ocr-controls",
    section="controls",
    about="two matrices trained without noise words on other bridges",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
)
