"""The paper's own condition as text: all frames in a language model's prompt, with aids."""

from __future__ import annotations

import random
from collections.abc import Mapping
from statistics import fmean

import polars as pl

from oocr.charts.bars import bars_panel
from oocr.charts.figure import Figure, LegendEntry, Tables, figure_of
from oocr.claims.analysis_result import AnalysisResult, NotMeasuredError
from oocr.data.examples import Example
from oocr.families.frames.config import FramesConfig
from oocr.families.frames.facts import FactKind
from oocr.families.frames.prompts import Prompts
from oocr.families.frames.questions import Question, crossed, questions
from oocr.families.frames.wording import notes
from oocr.intervals import FEWEST, SHARE, SIGNED
from oocr.papers.frames.shared_notes import option_logits
from oocr.papers.measure import by_unit, differences, mean_finding
from oocr.papers.paper import Cell, ModelExperiment, PaperSettings, Rows
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext

UNLINKED = "frames only, unlinked"
LADDER: Mapping[str, tuple[FactKind, ...]] = {
    UNLINKED: ("seen",),
    "trajectory": ("seen", "step"),
    "map": ("seen", "map"),
    "frame coordinates and map": ("coordinates", "map"),
    "oracle": ("oracle",),
    "two coordinates": ("oracle",),
}
"""Prompt -> kinds of facts in it. "two coordinates" has only those of the two objects asked about:
a test of arithmetic."""
ARITHMETIC = "two coordinates"
ABLE = 0.65
"""Two prompts are compared only if the better one reaches this accuracy."""
PAIRS, QUICK_PAIRS = 10, 4
"""Pairs of each kind and bin of the gap; each is asked in both orders."""


class PromptCell(Cell):
    """One prompt about the seed's house; `aid`: key of `LADDER`; `filler`: see `FramesConfig`."""

    aid: str
    pairs: int = PAIRS
    filler: int = 0


def cells(settings: PaperSettings) -> list[PromptCell]:
    """All prompts in three houses, and one with filler; in a quick run four in one house."""
    quick = (UNLINKED, "trajectory", "oracle", ARITHMETIC)
    prompts: list[PromptCell] = []
    for model in settings.models:
        for seed in settings.seeds(3, 1):
            for aid in quick if settings.quick else LADDER:
                pairs = QUICK_PAIRS if settings.quick else PAIRS
                prompts.append(PromptCell(seed=seed, model=model, aid=aid, pairs=pairs))
            if not settings.quick:
                prompts.append(PromptCell(seed=seed, model=model, aid="trajectory", filler=2))
    return prompts


def compute(cell: PromptCell, context: RunContext) -> Rows:
    """The untouched model's answer to each question, with the notes in the prompt."""
    config = FramesConfig(form="raw", filler=cell.filler, world=cell.seed, seed=cell.seed)
    all_questions: list[Question] = []
    for kind in config.kinds:
        rng = random.Random(f"{cell.seed}/{kind}/prompt")
        all_questions += crossed(questions(config.house, kind, disjoint=True), rng, cell.pairs)
        covisible_questions = questions(config.house, kind, disjoint=False)
        all_questions += [
            order for question in covisible_questions for order in (question, question.reversed)
        ]
    items = [item(config, cell, question, number) for number, question in enumerate(all_questions)]
    scores = option_logits(context.model, items)
    rows: Rows = []
    for example, question, of_item in zip(items, all_questions, scores, strict=True):
        right = of_item[example.options.index(example.answer)]
        others = [
            x
            for x, option in zip(of_item, example.options, strict=True)
            if option != example.answer
        ]
        rows.append(
            {
                "gap": question.gap_bin,
                "kind": question.kind,
                "pair": example.group,
                "right": float(right > max(others)),
            }
        )
    return rows


def item(config: FramesConfig, cell: PromptCell, question: Question, number: int) -> Example:
    """A question after the notes of the cell's aid; `number` gives wording and order of poles."""
    names = {obj.name for obj in question.objects}
    without = (
        [obj.name for obj in config.house.objects if obj.name not in names]
        if cell.aid == ARITHMETIC
        else []
    )
    context = notes(
        config.house,
        LADDER[cell.aid],
        config.told,
        without=without,
        filler=cell.filler,
        seed=cell.seed,
    )
    return Prompts(config, context).question_example(question, number // 2, number // 4 % 2)


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Accuracy of each prompt, across frames and co-visible; differences between prompts."""
    result = AnalysisResult()
    table = table.with_columns(
        prompt=pl.col("aid")
        + pl.when(pl.col("filler") > 0).then(pl.lit(", filler between")).otherwise(pl.lit(""))
    )
    units = ["seed"] if table["seed"].n_unique() >= FEWEST else ["seed", "pair"]
    unit = "house" if len(units) == 1 else "frame pair"
    prompts = table["prompt"].unique(maintain_order=True).to_list()
    by_prompt = {name: table.filter(pl.col("prompt") == name) for name in prompts}
    values = {
        name: by_unit(rows.filter(pl.col("gap") != "0"), "right", by=units)
        for name, rows in by_prompt.items()
    }
    means = {name: fmean(of_prompt.values()) for name, of_prompt in values.items()}
    nulls = {"chance": 0.5}
    if UNLINKED in means:
        nulls[UNLINKED] = means[UNLINKED]
    for name, rows in by_prompt.items():
        words = "".join(letter if letter.isalnum() else " " for letter in name).split()
        finding = mean_finding(
            f"prompt-{'-'.join(words)}",
            f"sides and orders right across frames, in the prompt: {name}",
            values[name].values(),
            unit=unit,
            bounds=SHARE,
            items=rows.filter(pl.col("gap") != "0").height / len(values[name]),
            nulls={null: value for null, value in nulls.items() if null != name},
        )
        result.findings.append(finding)
        covisible = float(rows.filter(pl.col("gap") == "0")["right"].to_numpy().mean())
        row = {"row": name, "across": means[name], "co-visible": covisible}
        result.rows.append(row)
    for first, second in (("oracle", "trajectory"), ("trajectory", UNLINKED)):
        with result.attempt():
            if not {first, second} <= values.keys():
                raise NotMeasuredError(f"{first}, {second}: not computed here")
            if (best := max(means[first], means[second])) < ABLE:
                raise NotMeasuredError(
                    f"{first} minus {second}: the better of the two is right in {best:.2f}, "
                    f"{ABLE:g} are needed to compare them"
                )
            result.findings.append(
                mean_finding(
                    f"prompt-{first.split(',')[0]}-minus-{second.split(',')[0].split()[0]}",
                    f"sides and orders right across frames: {first} minus {second}",
                    differences(values[first], values[second]),
                    unit=unit,
                    bounds=SIGNED,
                )
            )
    return result


def figure(tables: Tables) -> Figure | None:
    """A row for each prompt."""
    series = {"across": ("across frames", "vector"), "co-visible": ("co-visible", "swap-span")}
    keys = [LegendEntry(words, words, colour, "square") for words, colour in series.values()]
    panels = [
        bars_panel(
            table["row"].to_list(),
            [(*look, table[name].to_list()) for name, look in series.items()],
            "share right (chance: one half)",
            title=name,
            span=6,
        )
        for name, table in tables.items()
    ]
    caption = (
        "All frames in the prompt, as in the paper but as text; the untouched model. Below .65 the "
        "model cannot do the task even in context, so a failure out of context means nothing."
    )
    return figure_of("frames-prompt", caption, panels, tables, keys)


EXPERIMENT = ModelExperiment(
    name="frames-prompt",
    section="prompt",
    about="all frames in the prompt of the untouched model, with aids",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
    config=lambda model: RunConfig.model_validate(
        {"name": "frames", "task": {"family": "frames", "form": "raw"}, "model": model}
    ),
)
