"""One vector for each test name at every depth: the block at which it stops implying.

On the frozen model, whose weights know the map from city to language; and, with an arbitrary map,
on weights that were trained on the bridge names only (two stages).
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from oocr.charts.figure import Figure, LegendEntry, Tables, figure_of
from oocr.charts.lines import line_keys, lines_by, lines_panel
from oocr.claims.analysis_result import AnalysisResult, NotMeasuredError
from oocr.claims.records import Finding
from oocr.intervals import SHARE
from oocr.papers.measure import mean_finding, values_of
from oocr.papers.ocr.language.arms import DEPTHS, ArmName, LanguageCell
from oocr.papers.ocr.language.experiments.scores import (
    BY,
    TASKS,
    UNIT,
    arm_id,
    asked,
    chance_of,
    chosen,
    ranks,
    run_of,
)
from oocr.papers.ocr.language.experiments.tasks import QUICK, compute
from oocr.papers.paper import ModelExperiment, PaperSettings

SWEEPS: Mapping[tuple[str, ArmName], str] = {
    ("city", "vectors"): "frozen model, at the name; city → language",
    ("city", "vectors, all tokens"): "frozen model, at all tokens; city → language",
    ("code", "full + vectors"): "weights trained on bridge names; country → code",
    ("code", "lora + vectors"): "LoRA trained on bridge names; country → code",
}
EARLY_SHARE, LATE_SHARE = 0.3, 0.7
"""Depths up to the first count as early, from the second on as late."""

LEAST_BLOCKS = 4
"""Blocks of a sweep, at least, before the last that implies is named."""

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
    """Each sweep on each seed; in a quick look the frozen model at an early and a late depth."""
    return [
        LanguageCell(
            seed=seed,
            model=model,
            arm=arm,
            relation=TASKS[task][0],
            mapped=TASKS[task][1],
            depths=(0.25, 0.875) if settings.quick else DEPTHS,
            **(QUICK if settings.quick else {}),
        )
        for model in settings.models
        for seed in settings.seeds(full=5, quick=1)
        for task, arm in (list(SWEEPS)[:1] if settings.quick else SWEEPS)
    ]


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Ranks by block, early against late (of the last block in the sweep), and controls."""
    result = AnalysisResult()
    last = max(table["block"].drop_nulls().to_list(), default=0)
    for (task, arm), words in SWEEPS.items():
        with result.attempt():
            _sweep(result, table, task, arm, words, last)
    return result


def _sweep(
    result: AnalysisResult, table: pl.DataFrame, task: str, arm: ArmName, words: str, last: int
) -> None:
    rows = chosen(table, task, arm)
    id = f"{task}-{arm_id(arm)}"
    if rows.is_empty():
        raise NotMeasuredError(f"{words}: not in a quick look")
    by_block: dict[int, list[float]] = {}
    for block in sorted(rows["block"].unique().to_list()):
        with result.attempt():
            values = ranks(rows.filter(pl.col("block") == block), f"{words}, block {block}")
            by_block[block] = values
            finding = _rank(
                table, f"{id}-block-{block}", f"{words}, vectors at block {block}", values
            )
            result.findings.append(finding)
            found = finding.found
            place = {"sweep": words, "block": block, "control": ""}
            result.rows.append(
                {**place, **{e: getattr(found, e) for e in ("value", "low", "high")}}
            )
    early = [b for b in by_block if b <= EARLY_SHARE * last]
    late = [b for b in by_block if b >= LATE_SHARE * last]
    if early and late:
        at = {
            name: _mean_of([by_block[b] for b in blocks])
            for name, blocks in (("early", early), ("late", late))
        }
        result.findings += [
            _rank(table, f"{id}-{name}", f"{words}, {name} blocks", values)
            for name, values in at.items()
        ]
        differences = [a - b for a, b in zip(at["late"], at["early"], strict=True)]
        measure = f"mean rank by vectors at late blocks less by those at early blocks; {words}"
        result.findings.append(
            mean_finding(f"{id}-late-minus-early", measure, differences, unit=UNIT)
        )
    result.findings += _last(rows.filter(pl.col("block").is_in(list(by_block))), id, words, last)
    output = chosen(table, task, arm, "at the output")
    if not output.is_empty():
        values = ranks(output, f"{words}, output vectors")
        finding = _rank(table, f"{id}-output", f"{words}, vectors at the output", values)
        result.findings.append(finding)
    _controls(result, table, task, arm, words, [b for b in by_block if b in early])


def _last(rows: pl.DataFrame, id: str, words: str, last: int) -> list[Finding]:
    """By seed, the last block at which vectors imply, as a share of the way to the last block.

    They imply where the mean rank is at most half of chance; nowhere counts as 0.
    """
    if rows["block"].n_unique() < LEAST_BLOCKS or not last:
        return []
    means = asked(rows).group_by("seed", "block").agg(pl.col("rank").mean())
    half = chance_of(rows) / 2
    implying = means.with_columns(
        share=pl.when(pl.col("rank") <= half).then(pl.col("block") / last).otherwise(0.0)
    )
    by_seed = implying.group_by("seed").agg(pl.col("share").max()).sort("seed")
    measure = f"last block at which vectors imply, as a share of the depth; {words}"
    values = [float(value) for value in by_seed["share"]]
    return [mean_finding(f"{id}-last-share", measure, values, bounds=SHARE)]


def _controls(
    result: AnalysisResult,
    table: pl.DataFrame,
    task: str,
    arm: ArmName,
    words: str,
    blocks: list[int],
) -> None:
    """Early blocks: other vectors in the place of a name's own."""
    id, found = f"{task}-{arm_id(arm)}", dict[str, list[float]]()
    for name, (control, what) in CONTROLS.items():
        rows = asked(chosen(table, task, arm, control)).filter(pl.col("block").is_in(blocks))
        if rows.is_empty():
            continue
        found[name] = values_of(rows, "rank", by=BY)
        result.findings.append(_rank(table, f"{id}-{name}", f"{words}, {what}", found[name]))
    if {"own-removed", "other-removed"} <= found.keys():
        differences = [
            a - b for a, b in zip(found["own-removed"], found["other-removed"], strict=True)
        ]
        measure = f"mean rank without the own pair's direction less without another's; {words}"
        result.findings.append(mean_finding(f"{id}-ablated", measure, differences, unit=UNIT))


def _rank(table: pl.DataFrame, id: str, words: str, values: list[float]) -> Finding:
    level = chance_of(table)
    measure = f"mean rank of what follows; {words}"
    return mean_finding(
        id, measure, values, unit=UNIT, bounds=(0.0, 2 * level), nulls={"chance": level}
    )


def _mean_of(columns: list[list[float]]) -> list[float]:
    """Unit by unit."""
    return [sum(values) / len(values) for values in zip(*columns, strict=True)]


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
    config=run_of,
    version="2",
)
