"""One vector for each test name at each depth: at which block do implications stop?

Two settings: the frozen model, whose weights know the map from city to language; and, with an
arbitrary map, weights that were trained on the bridge names only (two stages).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean

import polars as pl

from oocr.charts.figure import Figure, LegendEntry, Tables, figure_of
from oocr.charts.lines import line_keys, lines_by, lines_panel
from oocr.claims.analysis_result import AnalysisResult, NotMeasuredError
from oocr.claims.records import Finding
from oocr.intervals import SHARE
from oocr.papers.measure import Unit, by_unit, differences, interval_columns, mean_finding
from oocr.papers.ocr.language.arms import DEPTHS, ArmName, LanguageCell
from oocr.papers.ocr.language.experiments import scores
from oocr.papers.ocr.language.experiments.scores import (
    BY,
    UNIT,
    mean_ranks,
    rows_of_arm,
    test_implications,
)
from oocr.papers.ocr.language.experiments.tasks import compute
from oocr.papers.paper import ModelExperiment, PaperSettings

SWEEPS: Mapping[tuple[str, ArmName], str] = {
    ("city", "vectors"): "frozen model, at the name; city → language",
    ("city", "vectors, all tokens"): "frozen model, at all tokens; city → language",
    ("code", "full + vectors"): "weights trained on bridge names; country → code",
    ("code", "lora + vectors"): "LoRA trained on bridge names; country → code",
}
QUICK_DEPTHS = (0.25, 0.875)
EARLY_SHARE, LATE_SHARE = 0.3, 0.7
"""Depths up to the first count as early, depths from the second as late."""

LEAST_BLOCKS = 4
"""Least number of blocks of a sweep for finding the last block that implies."""

CONTROLS = {
    "pair-mean": ("mean of its pair's others", "the mean vector of the other names of its pair"),
    "own-removed": ("own pair's direction removed", "without the direction of its pair"),
    "other-removed": ("another pair's direction removed", "without another pair's direction"),
    "random": ("random", "random vectors of the same norms"),
}
LOOKS = tuple(
    (words, words, colour)
    for words, colour in zip(
        SWEEPS.values(), ("vector", "other", "adapter", "swap-span"), strict=True
    )
)


def cells(settings: PaperSettings) -> list[LanguageCell]:
    """Each sweep for each seed; in a quick run the frozen model at an early and a late depth."""
    sweeps = list(SWEEPS)[:1] if settings.quick else SWEEPS
    return [
        scores.cell_of(settings, model, seed, task, arm, QUICK_DEPTHS if settings.quick else DEPTHS)
        for model in settings.models
        for seed in settings.seeds(full=5, quick=1)
        for task, arm in sweeps
    ]


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Ranks by block, early blocks against late ones, the last block that implies, controls."""
    result = AnalysisResult()
    last = max(table["block"].drop_nulls().to_list(), default=0)
    for task, arm in SWEEPS:
        with result.attempt():
            _sweep(result, table, task, arm, last)
    return result


def _sweep(result: AnalysisResult, table: pl.DataFrame, task: str, arm: ArmName, last: int) -> None:
    rows, words = rows_of_arm(table, task, arm), SWEEPS[task, arm]
    id = f"{task}-{scores.arm_id(arm)}"
    if rows.is_empty():
        raise NotMeasuredError(f"{words}: not in a quick run")
    first_stage = rows_of_arm(table, task, arm, "bridges only")
    if not first_stage.is_empty():
        scores.check_recalled(first_stage.filter(pl.col("bridge")), f"{words}, first stage")
    by_block: dict[int, dict[Unit, float]] = {}
    for block in sorted(rows["block"].unique().to_list()):
        with result.attempt():
            at_block = mean_ranks(rows.filter(pl.col("block") == block), f"{words}, block {block}")
            by_block[block] = at_block
            measure = f"{words}, vectors at block {block}"
            finding = _rank_finding(table, f"{id}-block-{block}", measure, at_block.values())
            result.findings.append(finding)
            columns = {"sweep": words, "block": block, "control": ""}
            result.rows.append({**columns, **interval_columns(finding)})
    early = [block for block in by_block if block <= EARLY_SHARE * last]
    late = [block for block in by_block if block >= LATE_SHARE * last]
    if early and late:
        at_early, at_late = (_mean_of([by_block[b] for b in blocks]) for blocks in (early, late))
        measure = f"mean rank by vectors at late blocks minus by those at early blocks; {words}"
        result.findings += [
            _rank_finding(table, f"{id}-early", f"{words}, early blocks", at_early.values()),
            _rank_finding(table, f"{id}-late", f"{words}, late blocks", at_late.values()),
            mean_finding(
                f"{id}-late-minus-early", measure, differences(at_late, at_early), unit=UNIT
            ),
        ]
    result.findings += _last_block(
        rows.filter(pl.col("block").is_in(list(by_block))), id, words, last
    )
    output = rows_of_arm(table, task, arm, "at the output")
    if not output.is_empty():
        values = mean_ranks(output, f"{words}, output vectors").values()
        result.findings.append(
            _rank_finding(table, f"{id}-output", f"{words}, vectors at the output", values)
        )
    _controls(result, table, task, arm, early)


def _last_block(rows: pl.DataFrame, id: str, words: str, last: int) -> list[Finding]:
    """For each seed the last block at which vectors imply, relative to the last block (0 to 1).

    Vectors imply at a block if the mean rank is at most half of chance; no such block counts as 0.
    """
    if rows["block"].n_unique() < LEAST_BLOCKS or not last:
        return []
    half = scores.chance_of(rows) / 2
    of_seeds: dict[int, float] = {}
    for (seed, block), rank in by_unit(
        test_implications(rows), "rank", by=("seed", "block")
    ).items():
        share = block / last if rank <= half else 0.0
        of_seeds[seed] = max(share, of_seeds.get(seed, 0.0))
    measure = f"last block at which vectors imply, as a share of the depth; {words}"
    return [mean_finding(f"{id}-last-share", measure, of_seeds.values(), bounds=SHARE)]


def _controls(
    result: AnalysisResult, table: pl.DataFrame, task: str, arm: ArmName, blocks: list[int]
) -> None:
    """Controls at early blocks: other vectors in place of the name's vector."""
    id, words = f"{task}-{scores.arm_id(arm)}", SWEEPS[task, arm]
    of_control: dict[str, dict[Unit, float]] = {}
    for name, (control, what) in CONTROLS.items():
        rows = test_implications(rows_of_arm(table, task, arm, control)).filter(
            pl.col("block").is_in(blocks)
        )
        if rows.is_empty():
            continue
        of_control[name] = by_unit(rows, "rank", by=BY)
        values = of_control[name].values()
        result.findings.append(_rank_finding(table, f"{id}-{name}", f"{words}, {what}", values))
    if {"own-removed", "other-removed"} <= of_control.keys():
        lost = differences(of_control["own-removed"], of_control["other-removed"])
        measure = f"mean rank without the own pair's direction minus without another's; {words}"
        result.findings.append(mean_finding(f"{id}-ablated", measure, lost, unit=UNIT))


def _rank_finding(table: pl.DataFrame, id: str, words: str, values: Iterable[float]) -> Finding:
    level = scores.chance_of(table)
    measure = f"mean rank of what follows; {words}"
    return mean_finding(
        id, measure, values, unit=UNIT, bounds=(0.0, 2 * level), nulls={"chance": level}
    )


def _mean_of(blocks: list[dict[Unit, float]]) -> dict[Unit, float]:
    """Unit -> mean over blocks, for units that all blocks have."""
    shared = [unit for unit in blocks[0] if all(unit in block for block in blocks)]
    return {unit: fmean(block[unit] for block in blocks) for unit in shared}


def figure(tables: Tables) -> Figure | None:
    """Rank by block, a line for each sweep."""
    panels = []
    for name, table in tables.items():
        lines = lines_by(table, "sweep", LOOKS, "block", intervals=True)
        panels.append(
            lines_panel(
                lines,
                "block at whose output the vectors are",
                "mean rank (0: right)",
                title=name,
                level=2.0,
                span=6,
                from_zero=True,
            )
        )
    caption = (
        "A vector for each test name, trained on its fact only, and the rank of what follows. "
        "Grey: chance of five answers. A block is left out where the facts are not recalled."
    )
    keys: list[LegendEntry] = line_keys(LOOKS)
    return figure_of(EXPERIMENT.name, caption, panels, tables, keys)


EXPERIMENT = ModelExperiment(
    name="ocr-blocks",
    section="blocks",
    about="a vector for each test name at every depth, on frozen weights that know the map or "
    "were trained on bridge names",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
    config=scores.planning_config,
    version="2",
)
