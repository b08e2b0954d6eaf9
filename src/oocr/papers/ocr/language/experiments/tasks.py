"""The five tasks in each place of learning: what follows, and what is hallucinated?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from oocr.charts.arms import Arm, arms_in, dot_keys
from oocr.charts.dots import dot_panel
from oocr.charts.figure import Figure, Tables, figure_of
from oocr.claims.analysis_result import AnalysisResult, NotMeasuredError
from oocr.claims.records import Finding
from oocr.errors import InputError
from oocr.intervals import SHARE, SIGNED
from oocr.papers.measure import by_unit, differences, interval_columns, mean_finding, values_of
from oocr.papers.ocr.language.arms import EARLY, ArmName, LanguageCell, language_rows
from oocr.papers.ocr.language.experiments import scores
from oocr.papers.ocr.language.experiments.scores import (
    BY,
    TASKS,
    TITLES,
    UNIT,
    asked,
    chosen,
    mean_of,
    ranks,
)
from oocr.papers.paper import ModelExperiment, PaperSettings, Rows
from oocr.runs.context import RunContext

ARMS: Mapping[ArmName, str] = {
    "full": "full fine-tune of all blocks",
    "lora": "LoRA in all blocks",
    "lora early": "LoRA in an early block",
    "lora late": "LoRA in a late block",
    "vectors": "one vector a name, at its tokens, frozen model",
    "vectors, all tokens": "one vector a name, at the output, frozen model",
}
ALL: tuple[ArmName, ...] = ("untouched", *ARMS)
DEPTHS: Mapping[ArmName, tuple[float, ...]] = {"vectors": (EARLY,), "vectors, all tokens": (1.0,)}
"""An early block at the name's tokens; the last block's output, at all tokens of the sentence."""

FEW: tuple[ArmName, ...] = ("untouched", "full", "vectors")
QUICK_ARMS: Mapping[str, tuple[ArmName, ...]] = {
    "city": (*FEW, "vectors, all tokens"),
    "code": ("untouched", "vectors"),
}
"""Weights hallucinate an arbitrary map after many steps only; a quick look has no time for them."""

LOOKS: Mapping[ArmName, Arm] = {
    "full": Arm("full fine-tune"),
    "lora": Arm("adapter"),
    "lora early": Arm("LoRA, early block"),
    "lora late": Arm("LoRA, late block"),
    "vectors": Arm("vector"),
    "vectors, all tokens": Arm("vector", "at the output"),
}
REFERENCES = {
    "untouched": ("", "the untouched model", Arm("base")),
    "ceiling": ("in the prompt", "fact and bridges in the prompt", Arm("ceiling")),
}


def cells(settings: PaperSettings) -> list[LanguageCell]:
    """Every arm on a map that the model knows and on an arbitrary one; few on the others."""
    whole = {task: ALL if task in QUICK_ARMS else FEW for task in TASKS}
    return [
        scores.cell_of(settings, model, seed, task, arm, DEPTHS.get(arm, ()))
        for model in settings.models
        for seed in settings.seeds(full=5, quick=1)
        for task, arms in (QUICK_ARMS if settings.quick else whole).items()
        for arm in arms
    ]


def compute(cell: LanguageCell, context: RunContext) -> Rows:
    """Rows of a cell; without room on the device, or enough answers, there is no measurement."""
    try:
        return language_rows(context.model, cell)
    except InputError as error:
        raise NotMeasuredError(str(error)) from error


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Mean ranks of what follows by task and arm, and how alike the effects are."""
    result = AnalysisResult()
    for task in TASKS:
        for id in REFERENCES:
            with result.attempt():
                _reference(result, table, task, id)
        for arm in ARMS:
            with result.attempt():
                _arm(result, table, task, arm)
        with result.attempt():
            _late_minus_early(result, table, task)
        with result.attempt():
            _listed_minus_new(result, table, task)
    there = set(table.select("relation", "mapped").unique().iter_rows())
    if len(there) < len(TASKS):
        result.reasons.append("a quick look computes fewer tasks and arms")
    return result


def _finding(
    table: pl.DataFrame, task: str, id: str, words: str, values: Iterable[float]
) -> Finding:
    """A mean rank, beside chance and the untouched model."""
    level = scores.chance_of(table)
    base = asked(chosen(table, task, "untouched"))
    return mean_finding(
        f"{task}-{id}",
        f"mean rank of what follows, {words}; {TITLES[task]}",
        values,
        unit=UNIT,
        bounds=(0.0, 2 * level),
        nulls={"chance": level},
        base=None if base.is_empty() or id == "untouched" else mean_of(base, "rank"),
    )


def _reference(result: AnalysisResult, table: pl.DataFrame, task: str, id: str) -> None:
    control, words, look = REFERENCES[id]
    rows = asked(chosen(table, task, "untouched", control))
    if not rows.is_empty():
        values = values_of(rows, "rank", by=BY)
        finding = _finding(table, task, id, words, values)
        result.findings.append(finding)
        result.rows.append(_row(task, look, finding, rows))


def _arm(result: AnalysisResult, table: pl.DataFrame, task: str, arm: ArmName) -> None:
    rows = chosen(table, task, arm)
    if rows.is_empty():
        return
    id = scores.arm_id(arm)
    values = ranks(rows, f"{task}, {ARMS[arm]}").values()
    finding = _finding(table, task, id, ARMS[arm], values)
    result.findings.append(finding)
    result.rows.append(_row(task, LOOKS[arm], finding, asked(rows)))
    _excess(result, table, task, arm, rows)
    random = asked(chosen(table, task, arm, "random"))
    if not random.is_empty():
        values = by_unit(random, "rank", by=BY).values()
        words = "random vectors of the same norms"
        result.findings.append(_finding(table, task, f"{id}-random", words, values))
    _effects(result, table, task, arm)


def _excess(
    result: AnalysisResult, table: pl.DataFrame, task: str, arm: ArmName, rows: pl.DataFrame
) -> None:
    """How much better than the untouched model's the ranks are, paired by pair and seed."""
    base = asked(chosen(table, task, "untouched"))
    if base.is_empty():
        return
    before, after = (by_unit(part, "rank", by=BY) for part in (base, asked(rows)))
    words = f"rank by the untouched model less rank after training, {ARMS[arm]}; {TITLES[task]}"
    id = f"{task}-{scores.arm_id(arm)}-excess"
    result.findings.append(mean_finding(id, words, differences(before, after), unit=UNIT))


def _row(task: str, look: Arm, finding: Finding, rows: pl.DataFrame) -> dict[str, Any]:
    right, among_all = mean_of(rows, "right"), mean_of(rows, "rank_all")
    return {
        "row": TITLES[task],
        "task": task,
        "arm": look.name,
        "control": look.control,
        **interval_columns(finding),
        "note": f"right {right:.2f}; rank among all answers {among_all:.2f}; {finding.found.n}",
        "chance": finding.nulls[0].value,
    }


def _effects(result: AnalysisResult, table: pl.DataFrame, task: str, arm: ArmName) -> None:
    """Shares of what training added at the question of what follows; units are seeds."""
    rows = chosen(table, task, arm, "implication").filter(pl.col("part") == "effect")
    if rows.is_empty():
        return
    rows = rows.with_columns(gap=pl.col("own_bridge") - pl.col("other_bridge"))
    words, start = f"{ARMS[arm]}; {TITLES[task]}", f"{task}-{scores.arm_id(arm)}"
    for id, column, measure, bounds in (
        ("one-vector", "one_vector", "share of what training added in one vector for all", SHARE),
        ("pair-vector", "pair_vector", "share of what training added in one vector a pair", SHARE),
        ("own-bridge", "own_bridge", "centred cosine with what the own bridge names got", SIGNED),
        ("bridge-gap", "gap", "that cosine less the one with other pairs' bridge names", None),
    ):
        values = values_of(rows, column, states="added")
        result.findings.append(
            mean_finding(f"{start}-{id}", f"{measure}, {words}", values, bounds=bounds)
        )
    after, before = (by_unit(rows, "gap", states=name) for name in ("after", "before"))
    measure = "nearness to the own bridge names (less to others), after training less before"
    gains = differences(after, before)
    result.findings.append(mean_finding(f"{start}-nearer", f"{measure}, {words}", gains))


def _late_minus_early(result: AnalysisResult, table: pl.DataFrame, task: str) -> None:
    """The same LoRA in a late block and in an early one, paired."""
    late, early = (chosen(table, task, arm) for arm in ("lora late", "lora early"))
    if late.is_empty() or early.is_empty():
        return
    values = differences(ranks(late, f"{task}, late LoRA"), ranks(early, f"{task}, early LoRA"))
    words = f"mean rank by a LoRA in a late block less by one in an early block; {TITLES[task]}"
    result.findings.append(mean_finding(f"{task}-lora-late-minus-early", words, values, unit=UNIT))


def _listed_minus_new(result: AnalysisResult, table: pl.DataFrame, task: str) -> None:
    """Where the map is another one: the rank of the listed answer less that of the mapped one."""
    rows = chosen(table, task, "full")
    if rows.is_empty() or TASKS[task][1] == "own":
        return
    new = ranks(rows, f"{task}, full fine-tune")
    values = differences(ranks(rows, task, "listed_rank"), new)
    words = f"rank of the listed answer less rank of the new one, {ARMS['full']}; {TITLES[task]}"
    result.findings.append(mean_finding(f"{task}-full-listed", words, values, unit=UNIT))


def figure(tables: Tables) -> Figure | None:
    """Mean ranks by task, with the untouched model and the ceiling."""
    panels = []
    for name, table in tables.items():
        titles = [title for title in TITLES.values() if title in table["row"].to_list()]
        level = dict(zip(table["row"].to_list(), table["chance"].to_list(), strict=True))
        panels.append(
            dot_panel(
                table, titles, "mean rank of what follows (0: right)", chance=level, title=name
            )
        )
    caption = (
        "Rank of what follows among the answers of its kind, of names of which only the fact was "
        "trained; dotted: chance. 95 % intervals over the pairs of each seed."
    )
    arms = dict.fromkeys(arm for table in tables.values() for arm in arms_in(table))
    return figure_of(EXPERIMENT.name, caption, panels, tables, dot_keys(list(arms)))


EXPERIMENT = ModelExperiment(
    name="ocr-language",
    section="language",
    about="five tasks on a language model, with the same rows learned in several places",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
    config=scores.run_of,
    version="3",
)
