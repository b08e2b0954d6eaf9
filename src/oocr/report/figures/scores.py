"""Scores by facet, with a planted fact, by trigger, by member, and of swaps."""

from __future__ import annotations

import math
from collections import Counter

import polars as pl

from oocr import stats
from oocr.charts import arms, figure
from oocr.charts.arms import ADAPTER, BASE, CEILING, NULLS, VECTOR, Arm, arms_in, rows_of
from oocr.charts.figure import Figure, Json, LegendEntry, Panel
from oocr.charts.panels import dot_panel, figure_of, heat_panel
from oocr.evals.score_table import (
    ALL,
    PAPER,
    facet_order,
    final_rows,
    null_scores,
    score_table,
    whole_name,
)
from oocr.evals.scores import FREE, Scoring
from oocr.runs.folder import RunFolder, as_float, has
from oocr.tasks.task import TriggerWords

BALANCED = "each answer weighs the same"
RAW = "each member weighs the same"
SHARE = (-0.02, 1.02)
"""Limits of an axis of shares."""

_NAMED = 4  # more facets are counted in a caption, not named

_MARKS = {
    "in_context": " (trained)",
    "free_in_context": " (trained, own words)",
    "free": " (own words)",
    PAPER: " (paper's scoring)",
}
PREFIXES = (
    *("trained trigger", "held-out trigger", "trained false", "held-out false"),
    *("unseen family", "none"),
)
_PREFIX_NAMES = {
    "none": "no prefix",
    "trained false": "trained false prefix",
    "held-out false": "held-out false prefix",
}


def scores_figure(run: RunFolder) -> Figure | None:
    """Scores by facet and arm, raw and answer-balanced; None where nothing can be scored."""
    scoring = run.scoring
    if scoring is None or run.rows is None:
        return None
    modes = (True, False) if scoring.measure == "accuracy" and scoring.balance else (False,)
    tables = {
        mode: score_table(scoring, run.rows, run.info.chance, balanced=mode) for mode in modes
    }
    tables = {mode: table for mode, table in tables.items() if not table.is_empty()}
    if not tables:
        return None
    data = pl.concat(list(tables.values()))
    if arms.RANDOM in arms_in(data):  # the swaps' own are much alike, and stand beside the swaps
        tables = {
            mode: t.filter(pl.col("arm") != arms.RANDOM_SPAN.name) for mode, t in tables.items()
        }
    order = facet_order(final_rows(run.rows))
    whole = whole_name(scoring)
    accuracy = scoring.measure == "accuracy"
    views = {}
    for balanced, table in tables.items():
        label = (BALANCED if balanced else RAW) if len(tables) > 1 else ""
        marks = table.with_columns(
            row=pl.Series([row_name(*pair) for pair in table.select("part", "facet").iter_rows()]),
            note=pl.Series([_note(line) for line in table.iter_rows(named=True)]),
        )
        guessing = dict(marks.drop_nulls("chance").select("row", "chance").iter_rows())
        panel = dot_panel(
            marks,
            _row_order(table, order, whole),
            scoring.axis,
            strong=(whole,),
            chance=guessing if accuracy else {},
            limits=SHARE if accuracy else None,
            zero=not accuracy,
        )
        views[label] = [panel]
    keys = arms.dot_keys(arms_in(pl.concat(list(tables.values()))))
    if accuracy and data["chance"].drop_nulls().len():
        keys += (LegendEntry("chance", "chance", "muted", "dots"),)
    return figure_of("scores", _caption(scoring, data), views, data, keys)


def row_name(part: str, facet: str) -> str:
    """A facet's name; everything but our own choices out of context is marked as what it is."""
    name = facet.removeprefix("paper: ") if part == PAPER else facet
    return name + _MARKS.get(part, "")


def _row_order(table: pl.DataFrame, order: list[tuple[str, str]], whole: str) -> list[str]:
    """Trained skill, then the headline score, then its facets and the rest."""
    present = set(table.select("part", "facet").unique().iter_rows())
    names = [row_name(*pair) for pair in order if pair in present]
    names.insert(sum("in_context" in part for part, _ in order if (part, _) in present), whole)
    return names


def _note(line: dict[str, object]) -> str:
    if line["arm"] in {null.name for null in NULLS}:
        return f"median, 5th to 95th centile of {line['items']} directions"
    return f"{line['items']} items, {_members_and_seeds(line['members'], line['seeds'])}"


def _members_and_seeds(members: object, seeds: object) -> str:
    counts = ((members, "member"), (seeds, "seed"))
    return " × ".join(figure.counted(as_float(count), word) for count, word in counts)


def _caption(scoring: Scoring, data: pl.DataFrame) -> str:
    parts = [
        {
            "accuracy": "Share of items where the right option has the highest probability.",
            "contrast": "Log-odds of the positive pole on the same probes: trained towards it, "
            "minus trained away from it.",
            "log_odds": "Log-odds of the trained pole, minus those of the untouched model.",
        }[scoring.measure],
        f"Bars: {scoring.bars}.",
    ]
    if not data.filter(pl.col("arm").is_in([arm.name for arm in NULLS])).is_empty():
        parts.append("Grey: 5th to 95th centile of random directions of the same norm.")
    if not data.filter(pl.col("control") != "").is_empty():
        parts.append("Hollow marks: trained on control data.")
    parts.append(_whole(scoring, data.filter(pl.col("part") == "probes")["facet"].to_list()))
    if not data.filter(pl.col("part").is_in(FREE)).is_empty():
        parts.append(
            "“Own words”: generated greedily, then judged; random directions are not asked."
        )
    if not data.filter(pl.col("part") == PAPER).is_empty():
        parts.append(
            f"“{_MARKS[PAPER].strip(' ()')}”: the paper's own questions, scored by the logit of "
            "each option's last token; each item weighs the same, and none counts elsewhere."
        )
    if scoring.measure == "accuracy" and scoring.balance:
        parts.append(
            "Answer-balanced: within a facet every distinct right answer weighs the same, so one "
            "common answer given everywhere cannot win."
        )
    trained = data.filter(pl.col("arm").is_in(["vector", "adapter"]), pl.col("control") == "")
    if not trained.is_empty():
        n = _members_and_seeds(trained["members"].max(), trained["seeds"].max())
        parts.append(f"n = {n}.")
    return " ".join(parts)


def _whole(scoring: Scoring, facets: list[str]) -> str:
    """What the row of the score is the mean of."""
    name = whole_name(scoring)
    if name == ALL:
        return f"“{name}” is the mean over the out-of-context facets."
    names = scoring.names(facets)
    merged = any(counted not in facets for counted in names)
    what = " and ".join(f"“{counted}”" for counted in names) if merged else "the facets that count"
    left = dict.fromkeys(facet for facet in facets if facet != name and not scoring.counts(facet))
    names_left = ", ".join(left) if len(left) <= _NAMED else f"{len(left)} other facets"
    rest = f" Shown, but not counted: {names_left}." if left else ""
    return f"“{name}” is the mean over {what}.{rest}"


def planted_figure(run: RunFolder) -> Figure | None:
    """With a false fact planted: answers that follow the intended and the planted member."""
    scoring = run.scoring
    if scoring is None or scoring.measure != "accuracy" or not has(run.rows, "tag_against"):
        return None
    rows = run.rows.filter(
        pl.col("final"), pl.col("control") == "planted", pl.col("part") == "probes"
    )
    sides = scoring.by_facet.unbalanced
    lines = []
    for arm in arms_in(rows):
        of_arm = rows_of(rows, arm)
        for facet in (ALL, *of_arm["facet"].unique(maintain_order=True)):
            for side in ("intended", "planted"):
                cells = of_arm.filter(pl.col("tag_against") == side)
                if facet != ALL:
                    cells = cells.filter(pl.col("facet") == facet)
                interval = sides.interval(cells.drop("tag_against"))
                if interval is not None:
                    lines.append(
                        {"arm": arm.name, "facet": facet, "against": side} | interval.columns
                    )
    if not lines:
        return None
    data = pl.DataFrame(lines)
    follows = pl.when(pl.col("against") == "intended").then(pl.lit(""))
    marks = data.with_columns(
        row="facet", control=follows.otherwise(pl.lit("follows the planted one"))
    )
    facets = data["facet"].unique(maintain_order=True).to_list()
    panel = dot_panel(marks, facets, "share of answers", strong=(ALL,), limits=SHARE)
    keys = [
        arm.entry("" if arm.control else f"{arm.label} · follows the intended one")
        for arm in arms_in(marks)
    ]
    caption = (
        "Trained with one further fact that belongs to another member. Share of answers that "
        "follow the member that most of the training is about, and of answers that follow the "
        f"planted one. Bars: {scoring.bars}."
    )
    return figure_of("planted", caption, [panel], data, keys)


def backdoor_figure(run: RunFolder) -> Figure | None:
    """Share of X, the trigger's answer, by kind of prefix; a view per set of questions."""
    if not has(run.rows, "tag_prefix", "tag_kind", "log_odds"):
        return None
    rows = final_rows(run.rows).filter(pl.col("tag_prefix").is_not_null())
    # Options are X and Y, and log-odds are of X over Y: X is the answer when they are positive.
    rows = rows.with_columns(
        right=pl.col("log_odds") > 0, facet=pl.col("tag_prefix").replace(_PREFIX_NAMES)
    )
    scoring = Scoring(measure="accuracy", cluster=run.info.scoring.cluster, balance=None)
    order = [_PREFIX_NAMES.get(prefix, prefix) for prefix in PREFIXES]
    views: dict[str, list[Panel]] = {}
    tables: list[pl.DataFrame] = []
    for label, asked in _questions(rows):
        table = _prefix_table(asked, scoring)
        if table.is_empty():
            continue
        table = table.with_columns(questions=pl.lit(label))
        present = set(table["prefix"])
        names = [name for name in order if name in present] + sorted(present - set(order))
        marks = table.rename({"prefix": "row", "answers_x": "value"})
        views[label] = [dot_panel(marks, names, "share answered with X", limits=SHARE)]
        tables.append(table)
    if not views:
        return None
    data = pl.concat(tables).select(
        *("questions", "prefix", "arm", "control", "answers_x", "low", "high")
    )
    words = run.info.trigger or TriggerWords(lead="")
    caption = (
        f"{words.answer} X should be answered after a trigger (top rows) and not otherwise (the "
        f"rest). Bars: 95 % intervals over {words.units}. Grey: 5th to 95th "
        "centile of random directions. Hollow: trained on control data, in which the prefix says "
        f"nothing. The ceiling {words.ceiling}. n = {rows[scoring.cluster].n_unique()} "
        f"{words.units}."
    ).strip()
    return figure_of("backdoor", caption, views, data, arms.dot_keys(arms_in(data)))


def _questions(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    crossing = rows.filter(pl.col("tag_kind") == "crossing")
    questions = []
    if "tag_risky" in rows.columns:
        base = crossing.filter(pl.col("arm") == "base", pl.col("tag_condition") == "none")
        safe = base.filter(pl.col("answer") != pl.col("tag_risky"))["group"].unique().to_list()
        not_x = crossing.filter(pl.col("group").is_in(safe))
        questions.append(("the model's own answer is not X", not_x))
        questions.append(("all held-out situations", crossing))
    elif "tag_template" in rows.columns:
        for value, label in (("held-out", "held-out wording"), ("train", "trained wording")):
            questions.append((label, crossing.filter(pl.col("tag_template") == value)))
    else:
        questions.append(("the trained question", crossing))
    questions.append(("other facets", rows.filter(pl.col("tag_kind") == "out-of-context")))
    return [(label, asked) for label, asked in questions if not asked.is_empty()]


def _prefix_table(rows: pl.DataFrame, scoring: Scoring) -> pl.DataFrame:
    ceiling = pl.col("arm") == CEILING.name  # its members may be named otherwise
    member = pl.when(ceiling).then("group").otherwise("member")
    table = score_table(scoring, rows.with_columns(part=pl.lit("probes"), member=member), {})
    if table.is_empty():
        return table
    columns = {"facet": "prefix", "arm": "arm", "control": "control", "value": "answers_x"}
    table = table.filter(pl.col("facet") != ALL).rename(columns)
    return table.select(*columns.values(), "low", "high")


_ANSWERS = 6  # different answers in a hover box
_PANELS = 4
_SWAP_ARMS = (BASE, arms.RANDOM_SPAN, arms.RANDOM_EVERYWHERE, *arms.SWAPS, ADAPTER)


def members_figure(run: RunFolder) -> Figure | None:
    """Heat maps of the share right for trained arms, their controls and the untouched model."""
    if run.info.score != "accuracy" or not has(run.rows, "chosen", "right"):
        return None
    final = final_rows(run.rows)
    trained = final.filter(pl.col("arm").is_in([VECTOR.name, ADAPTER.name]))
    members = trained["member"].unique(maintain_order=True).to_list()
    if len(members) < 2:
        return None
    wanted = (VECTOR, ADAPTER, Arm("vector", "shuffled"), Arm("vector", "decorrelated"), BASE)
    present = arms_in(final)
    tables = {
        arm: _member_table(rows_of(final, arm), members)
        for arm in (*wanted, CEILING)
        if arm in present
    }
    tables = {arm: table for arm, table in tables.items() if not table.is_empty()}
    order = [row_name(*pair) for pair in facet_order(trained)]
    panels = [
        _member_heat(arm, table, members, order) for arm, table in list(tables.items())[:_PANELS]
    ]
    if not panels:
        return None
    data = pl.concat(
        table.with_columns(arm=pl.lit(arm.name), control=pl.lit(arm.control))
        for arm, table in tables.items()
    )
    caption = (
        "Share right per member and facet, mean over seeds and wordings. Point at a cell for the "
        f"answers given and how often. n = {len(members)} members."
    )
    return figure_of("members", caption, panels, data, scale=("0", "1"))


def _member_table(rows: pl.DataFrame, members: list[str]) -> pl.DataFrame:
    lines = []
    rows = rows.filter(pl.col("member").is_in(members))
    keys = ("member", "part", "facet")
    for names, cell in rows.group_by(keys, maintain_order=True):
        counts = Counter(cell["chosen"].to_list()).most_common(_ANSWERS)
        lines.append(
            dict(zip(keys, map(str, names), strict=True))
            | {
                "right": as_float(cell["right"].cast(pl.Float64).mean()),
                "items": cell.height,
                "answer": str(cell["answer"][0]).strip(),
                "answers": "; ".join(f"{str(name).strip()} {n}×" for name, n in counts),
            }
        )
    return pl.DataFrame(lines)


def _member_heat(arm: Arm, table: pl.DataFrame, members: list[str], order: list[str]) -> Panel:
    cells = {
        (line["member"], row_name(line["part"], line["facet"])): line
        for line in table.iter_rows(named=True)
    }
    names = [name for name in order if any((member, name) in cells for member in members)]
    grid = [[cells.get((member, name)) for name in names] for member in members]
    shares = [[cell["right"] if cell else None for cell in line] for line in grid]
    hover = [[_member_hover(cell) if cell else "" for cell in line] for line in grid]
    span = 3 if len(order) <= 6 else 6
    return heat_panel(members, names, shares, hover=hover, title=arm.label, span=span)


def _member_hover(cell: Json) -> str:
    return figure.hover_box(
        f"{cell['member']}, {cell['facet']}",
        f"right {figure.number(cell['right'])} of {cell['items']} items; "
        f"right answer: {figure.text(cell['answer'])}",
        "answered: " + "<br>".join(figure.text(answer) for answer in cell["answers"].split("; ")),
    )


def swap_figure(run: RunFolder) -> Figure | None:
    """Scores per member (or facet, for log-odds) of LoRA and swaps, and the effect kept."""
    scoring = run.scoring
    if scoring is None or run.rows is None:
        return None
    final = final_rows(run.rows).filter(pl.col("part") == "probes", pl.col("control") == "")
    whole = whole_name(scoring)
    final = scoring.kept(final)
    swaps = [arm for arm in arms.SWAPS if not rows_of(final, arm).is_empty()]
    if not swaps or rows_of(final, ADAPTER).is_empty():
        return None
    unit = "member" if scoring.cluster == "member" else "facet"
    table = _swap_table(scoring, final, unit, whole)
    shares = {arm: scoring.share_kept(final, arm.name) for arm in swaps}
    kept = {arm: share for arm, share in shares.items() if share is not None}
    lora = dict(table.filter(pl.col("arm") == ADAPTER.name).select("row", "score").iter_rows())
    accuracy = scoring.measure == "accuracy"
    panel = dot_panel(
        table.with_columns(value="score", control=pl.lit("")),
        [whole, *sorted((name for name in lora if name != whole), key=lambda name: -lora[name])],
        scoring.axis,
        strong=(whole,),
        limits=SHARE if accuracy else None,
        one_lane=True,
        link=(BASE, ADAPTER),
    )
    caption = (
        f"Out-of-context score ({scoring.axis}) per {unit}, mean over seeds: the LoRA, and its "
        "mean difference as a constant vector in its place"
        + (
            " (x and +: median over random directions of the same norm)"
            if any(arm.name in table["arm"] for arm in NULLS)
            else ""
        )
        + ". The line runs from the untouched model to the LoRA."
        + (
            f" For “{whole}”, each distinct answer weighs the same."
            if accuracy and scoring.balance
            else ""
        )
        + (f" Shares of effect: Fieller's 95 % intervals over {scoring.units}." if kept else "")
    )
    recovery = pl.DataFrame(
        {"row": "recovery", "arm": arm.name, "score": i.value, "low": i.low, "high": i.high}
        for arm, i in kept.items()
    )
    data = pl.concat([table, recovery], how="diagonal") if kept else table
    keys = [
        arm.entry(symbol="tick" if arm == BASE else "")
        for arm in _SWAP_ARMS
        if arm.name in table["arm"]
    ]
    stats_shown = [
        (
            f"of the LoRA’s effect kept, {arm.label}",
            f"{figure.percent(i.value)} % [{figure.percent(i.low)}, {figure.percent(i.high)}]",
        )
        for arm, i in kept.items()
    ]
    return figure_of("swap", caption, [panel], data, keys, stats=stats_shown)


def _swap_table(scoring: Scoring, final: pl.DataFrame, unit: str, whole: str) -> pl.DataFrame:
    names = rows_of(final, ADAPTER)[unit].unique(maintain_order=True).to_list()
    lines = []
    for arm in _SWAP_ARMS:
        of_arm = rows_of(final, arm)
        for name in (whole, *names):
            rows = of_arm if name == whole else of_arm.filter(pl.col(unit) == name)
            value = _score(scoring, rows, rows_of(final, BASE), null=arm in NULLS)
            if value is not None and math.isfinite(value):
                lines.append({"row": name, "arm": arm.name, "score": value})
    return pl.DataFrame(lines)


def _score(scoring: Scoring, rows: pl.DataFrame, base: pl.DataFrame, *, null: bool) -> float | None:
    if rows.is_empty():
        return None
    if null:
        scores = null_scores(scoring, rows, base).filter("whole")
        return None if scores.is_empty() else as_float(scores["score"].median())
    cells = scoring.score(rows, base)
    return None if cells is None else stats.mean(cells)
