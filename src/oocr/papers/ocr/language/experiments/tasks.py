"""The tasks, learned in several places: what follows, and what is hallucinated?"""

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
    mean_of,
    mean_ranks,
    rows_of_arm,
    test_implications,
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
"""Depth of the vectors: an early block (name's tokens), the last block (tokens of the sentence)."""

FEW: tuple[ArmName, ...] = ("untouched", "full", "vectors")
QUICK_ARMS: Mapping[str, tuple[ArmName, ...]] = {
    "city": (*FEW, "vectors, all tokens"),
    "code": ("untouched", "vectors"),
}
"""No weights on "code": they hallucinate an arbitrary map only after more steps than a quick
run has."""

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
    """All arms on a known map and on an arbitrary map; three arms on the other maps."""
    whole = {task: ALL if task in QUICK_ARMS else FEW for task in TASKS}
    return [
        scores.cell_of(settings, model, seed, task, arm, DEPTHS.get(arm, ()))
        for model in settings.models
        for seed in settings.seeds(full=5, quick=1)
        for task, arms in (QUICK_ARMS if settings.quick else whole).items()
        for arm in arms
    ]


def compute(cell: LanguageCell, context: RunContext) -> Rows:
    """The rows of a cell; NotMeasuredError: too little memory, or too few different answers."""
    try:
        return language_rows(context.model, cell)
    except InputError as error:
        raise NotMeasuredError(str(error)) from error


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Mean ranks of implications by task and arm, and similarity of the effects."""
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
    computed = set(table.select("relation", "mapped").unique().iter_rows())
    if len(computed) < len(TASKS):
        result.reasons.append("a quick run computes fewer tasks and arms")
    return result


def _finding(
    table: pl.DataFrame, task: str, id: str, words: str, values: Iterable[float]
) -> Finding:
    """A mean rank; chance is the null, the untouched model the base."""
    level = scores.chance_of(table)
    base = test_implications(rows_of_arm(table, task, "untouched"))
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
    rows = test_implications(rows_of_arm(table, task, "untouched", control))
    if not rows.is_empty():
        values = values_of(rows, "rank", by=BY)
        finding = _finding(table, task, id, words, values)
        result.findings.append(finding)
        result.rows.append(_row(task, look, finding, rows))


def _arm(result: AnalysisResult, table: pl.DataFrame, task: str, arm: ArmName) -> None:
    rows = rows_of_arm(table, task, arm)
    if rows.is_empty():
        return
    id = scores.arm_id(arm)
    values = mean_ranks(rows, f"{task}, {ARMS[arm]}").values()
    finding = _finding(table, task, id, ARMS[arm], values)
    result.findings.append(finding)
    result.rows.append(_row(task, LOOKS[arm], finding, test_implications(rows)))
    _excess(result, table, task, arm, rows)
    random = test_implications(rows_of_arm(table, task, arm, "random"))
    if not random.is_empty():
        values = by_unit(random, "rank", by=BY).values()
        words = "random vectors of the same norms"
        result.findings.append(_finding(table, task, f"{id}-random", words, values))
    _effects(result, table, task, arm)


def _excess(
    result: AnalysisResult, table: pl.DataFrame, task: str, arm: ArmName, rows: pl.DataFrame
) -> None:
    """Improvement of the ranks over the untouched model, paired by pair and seed."""
    base = test_implications(rows_of_arm(table, task, "untouched"))
    if base.is_empty():
        return
    before, after = (by_unit(part, "rank", by=BY) for part in (base, test_implications(rows)))
    words = f"rank by the untouched model minus rank after training, {ARMS[arm]}; {TITLES[task]}"
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
    """Similarity of what training adds at questions for implications; units are seeds."""
    rows = rows_of_arm(table, task, arm, "implication").filter(pl.col("part") == "effect")
    if rows.is_empty():
        return
    rows = rows.with_columns(gap=pl.col("own_bridge") - pl.col("other_bridge"))
    words, start = f"{ARMS[arm]}; {TITLES[task]}", f"{task}-{scores.arm_id(arm)}"
    for id, column, measure, bounds in (
        ("one-vector", "one_vector", "share of what training added in one vector for all", SHARE),
        ("pair-vector", "pair_vector", "share of what training added in one vector a pair", SHARE),
        ("own-bridge", "own_bridge", "centred cosine with what the own bridge names got", SIGNED),
        ("bridge-gap", "gap", "that cosine minus the one with other pairs' bridge names", None),
    ):
        values = values_of(rows, column, states="added")
        result.findings.append(
            mean_finding(f"{start}-{id}", f"{measure}, {words}", values, bounds=bounds)
        )
    after, before = (by_unit(rows, "gap", states=name) for name in ("after", "before"))
    measure = "nearness to the own bridge names (minus others), after training minus before"
    gains = differences(after, before)
    result.findings.append(mean_finding(f"{start}-nearer", f"{measure}, {words}", gains))


def _late_minus_early(result: AnalysisResult, table: pl.DataFrame, task: str) -> None:
    """Rank by a LoRA in a late block minus by one in an early block, paired."""
    late, early = (rows_of_arm(table, task, arm) for arm in ("lora late", "lora early"))
    if late.is_empty() or early.is_empty():
        return
    values = differences(
        mean_ranks(late, f"{task}, late LoRA"), mean_ranks(early, f"{task}, early LoRA")
    )
    words = f"mean rank by a LoRA in a late block minus by one in an early block; {TITLES[task]}"
    result.findings.append(mean_finding(f"{task}-lora-late-minus-early", words, values, unit=UNIT))


def _listed_minus_new(result: AnalysisResult, table: pl.DataFrame, task: str) -> None:
    """For maps other than the listed one: rank of the listed answer minus of the mapped one."""
    rows = rows_of_arm(table, task, "full")
    if rows.is_empty() or TASKS[task][1] == "own":
        return
    new = mean_ranks(rows, f"{task}, full fine-tune")
    values = differences(mean_ranks(rows, task, "listed_rank"), new)
    words = f"rank of the listed answer minus rank of the new one, {ARMS['full']}; {TITLES[task]}"
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
    config=scores.planning_config,
    version="3",
)
