"""The page's tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.organism.claims import markdown_table
from benchmarks.sizes.arrange import (
    MODELS,
    STEMS,
    Row,
    arm_of,
    claim_ids,
    claim_of,
    in_nats,
    main_runs,
    rows_of_task,
    size_of,
    stem_of,
    stems_of,
    tasks_of,
    title_of,
)
from benchmarks.sizes.records import KeptRun, Score, Sentence
from oocr.charts.pieces import interval_text, number
from oocr.claims.records import Claim, Null
from oocr.report.verdicts import ICONS

ARMS = {"base": "untouched", "ceiling": "ceiling", "vector": "vector", "adapter": "LoRA"}
_PARTS = {
    "in_context": "trained skill",
    "probes": "out of context",
    "free_in_context": "trained skill, own words",
    "free": "out of context, own words",
    "paper": "the paper's questions",
}
_NULLS = {
    "shuffled": "shuffled",
    "decorrelated": "decorrelated",
    "Gaussian noise": "noise",
}


# -- verdicts ------------------------------------------------------------------------------------


def verdict_table(runs: Sequence[KeptRun]) -> str:
    """At a glance: a row per task and subject, a column per model."""
    extra = {run.model: run.parameters for run in runs}
    sizes = sorted({**MODELS, **extra}.items(), key=lambda pair: pair[1])
    lines = []
    for task in tasks_of(runs):
        rows = rows_of_task(main_runs(runs), task)
        named = task
        for stem in stems_of(rows):
            cells = ["<br>".join(_marks(rows, model, stem)) or "–" for model, _ in sizes]
            lines.append([named, STEMS.get(stem, stem.replace("-", " ")), *cells])
            named = ""
    head = ["task", "claim", *(f"{size_of(*pair)}<br>`{pair[0]}`" for pair in sizes)]
    key = "; ".join(f"{icon} {words}" for words, icon in ICONS.items())
    text = f"{key}; – not run or not asked. S: at the span; A: at every token; V: vector; L: LoRA."
    left = [task for task in tasks_of(runs) if not any(run.task == task for run in runs)]
    text += f" Not run at any size: {', '.join(left)}." if left else ""
    return f"{markdown_table(head, lines)}\n\n{text}\n"


def _marks(rows: Sequence[Row], model: str, stem: str) -> list[str]:
    """A line per run: the verdicts of its claims on a subject."""
    lines = []
    for row in rows:
        if row.model != model or row.run is None:
            continue
        claims = [claim for claim in row.run.claims if stem_of(claim) == stem]
        if claims:
            marks = " ".join(f"{_initial(claim)}\u00a0{ICONS[claim.verdict]}" for claim in claims)
            _, _, variant = row.label.partition(" (")
            lines.append(marks + (f" ({variant}" if variant else ""))
    return lines


def _initial(claim: Claim) -> str:
    names = {"swap-at-span": "S", "swap-everywhere": "A"}
    return names.get(claim.id, "V" if arm_of(claim).name == "vector" else "L")


# -- claims --------------------------------------------------------------------------------------


def claim_tables(runs: Sequence[KeptRun], task: str) -> str:
    """A table for each claim of a task: a line per size and run.

    Runs that ask a part of what another asks have a line only where they judge the claim.
    """
    rows = rows_of_task(runs, task)
    main = {run.id for run in main_runs(runs)}
    parts = []
    for id in claim_ids(rows):
        judged = [(row, claim_of(row.run, id)) for row in rows]
        words = next(claim.claim for _, claim in judged if claim is not None)
        lines = [
            [row.label, *(_claim_cells(claim) if claim else [_missing(row), *[""] * 5])]
            for row, claim in judged
            if claim or row.run is None or row.run.id in main
        ]
        head = ["size", "verdict", "found [95 %]", "n", "untouched", "nulls", "ceiling"]
        parts.append(f"**{_escaped(words)}**\n\n{markdown_table(head, lines)}")
    return "\n\n".join(parts)


def _missing(row: Row) -> str:
    return "not run" if row.run is None else "not asked"


def _claim_cells(claim: Claim) -> list[str]:
    found = claim.found
    unit = " nats" if in_nats(claim) else ""
    return [
        f"{ICONS[claim.verdict]} {claim.verdict}",
        interval_text(found.value, found.low, found.high) + unit,
        found.n,
        number(claim.base),
        "; ".join(f"{null_name(null)} {number(null.value)}" for null in claim.nulls) or "–",
        number(claim.ceiling),
    ]


def null_name(null: Null) -> str:
    """A null in a word; of random directions also how many there were."""
    count = re.match(r"(\d+) (?:pairs of )?random directions", null.name)
    if count:
        return f"random (of {count[1]})"
    return next((word for part, word in _NULLS.items() if part in null.name), null.name)


def rules(runs: Sequence[KeptRun]) -> str:
    """The rule behind each verdict, once."""
    by_rule: dict[str, list[str]] = {}
    for claim in (claim for run in runs for claim in run.claims):
        about = STEMS.get(stem_of(claim), stem_of(claim))
        names = by_rule.setdefault(claim.rule, [])
        names += [about] if about not in names else []
    lines = [f"- **{_escaped(', '.join(names))}**: {rule}" for rule, names in by_rule.items()]
    return "\n".join(["## The rules behind the verdicts\n", *lines, ""])


# -- facets --------------------------------------------------------------------------------------


def facet_table(runs: Sequence[KeptRun]) -> str:
    """Scores of each run by part and facet, folded."""
    parts = ["## Facet by facet\n"]
    for task in tasks_of(runs):
        for row in rows_of_task(runs, task):
            if row.run is not None and row.run.scores:
                title = f"{task}, {row.label}, `{row.model}`"
                parts.append(_folded(title, _facets(row.run)))
    return "\n".join(parts) if len(parts) > 1 else ""


def _score_text(score: Score) -> str:
    """A score with its interval; log-odds beside the untouched model's own are 0 without one."""
    if score.low == score.high:
        return number(score.value)
    return interval_text(score.value, score.low, score.high)


def _facets(run: KeptRun) -> str:
    arms = [arm for arm in ARMS if any(score.arm == arm for score in run.scores)]
    keys = dict.fromkeys((score.part, score.facet) for score in run.scores)
    lines = []
    for part, facet in keys:
        scores = [run.score(part, arm, facet) for arm in arms]
        cells = [_score_text(s) if s else "–" for s in scores]
        lines.append([_PARTS[part], facet or "**all that counts**", *cells])
    return markdown_table(["part", "facet", *(ARMS[arm] for arm in arms)], lines)


# -- sentences -----------------------------------------------------------------------------------


def said_tables(runs: Sequence[KeptRun]) -> list[str]:
    """A table per run; of each task the largest model's open, the others folded."""
    parts = []
    for task in tasks_of(runs):
        rows = [row for row in rows_of_task(main_runs(runs), task) if row.run]
        rows = [row for row in rows if row.run and row.run.sentences]
        if rows:
            parts.append(f"### {title_of(task)}\n")
        for place, row in enumerate(reversed(rows)):
            assert row.run is not None
            title, table = f"{row.label}, `{row.model}`", _said(row.run.sentences)
            parts.append(_folded(title, table) if place else f"{title}\n\n{table}\n")
    return parts


def _said(sentences: Sequence[Sentence]) -> str:
    arms = [arm for arm in ARMS if any(arm in said.answers for said in sentences)]
    lines = [
        [code(said.prompt), code(said.expected), *(_answer(said, arm) for arm in arms)]
        for said in sentences
    ]
    return markdown_table(["question", "right", *(ARMS[arm] for arm in arms)], lines)


def _answer(said: Sentence, arm: str) -> str:
    mark = {True: " ✓", False: " ✗", None: ""}[said.right.get(arm)]
    return code(said.answers.get(arm, "")) + mark


def code(text: str) -> str:
    """A text as it was, in one line of a table's cell."""
    shown = (
        re.sub(r"[\x00-\x09\x0b-\x1f\x7f]", "·", text)
        .replace("\n", "⏎")
        .replace("|", "\\|")
        .strip()
    )
    if not shown:
        return "(nothing)"
    fence = "``" if "`" in shown else "`"
    space = " " if "`" in shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


# -- commands ------------------------------------------------------------------------------------


def command_table(runs: Sequence[KeptRun]) -> str:
    """How each row was made; where, said once if all were made alike."""
    places = list(dict.fromkeys(map(_where, runs)))
    alike = len(places) == 1
    lines = [
        [
            task,
            f"{row.label}<br>`{row.model}`, {run.dtype}",
            code(run.command),
            f"{run.members} × {run.seeds}",
            "<br>".join(_chosen(run)),
            _minutes(run.seconds),
            f"{run.peak_memory_gib:.1f} GiB",
            run.date if alike else f"{_where(run)}; {run.date}",
        ]
        for task in tasks_of(runs)
        for row in rows_of_task(runs, task)
        if (run := row.run) is not None
    ]
    head = ["task", "size", "command", "members × seeds", "chosen", "time", "peak memory"]
    table = markdown_table([*head, "date" if alike else "where"], lines)
    place = f"All on {places[0]}.\n\n" if alike else ""
    notes = [
        f"- {task}, {row.label}: {note}"
        for task in tasks_of(runs)
        for row in rows_of_task(runs, task)
        for note in (row.run.notes if row.run else ())
    ]
    return "\n".join([f"## How each row was made\n\n{place}{table}\n", *notes, ""])


def _where(run: KeptRun) -> str:
    machine = run.machine
    made = f"{machine.processor}, {machine.cores} cores ({machine.device})"
    names = [name for name in ("oocr", "torch") if name in run.versions]
    return ", ".join([made, *(f"{name} {run.versions[name]}" for name in names)])


def _chosen(run: KeptRun) -> Iterable[str]:
    for point in run.chosen:
        steps = f"{point.step} steps" if point.step else "own stopping points"
        rate = f"rate {point.learning_rate:g}"
        yield f"{ARMS[point.method]}: block {point.layer} of {run.blocks}, {rate}, {steps}"


def _minutes(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title.replace('`', '')}</summary>\n\n{text}\n\n</details>\n"


def _escaped(text: Any) -> str:
    return str(text).replace("|", "\\|")
