"""What a vector changes besides its own task: other tasks, neutral text and questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import polars as pl

from oocr.charts.figure import Figure, Panel, Tables, figure_of
from oocr.charts.heat import grid_of, heat_panel
from oocr.charts.lines import line_keys, lines_by, lines_panel
from oocr.claims.judge import estimate_of
from oocr.claims.records import Finding, Null
from oocr.engine.forward import start_block
from oocr.evals.probes import means
from oocr.explain.neutral import neutral_questions
from oocr.explain.side_effects import STRENGTHS, SideEffects, StrengthCost
from oocr.explain.transfer import transfer
from oocr.intervals import POSITIVE, SHARE, Bounds, mean_interval
from oocr.reproduce import scoring
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Unit
from oocr.steering.vectors import Vector, random_vector
from oocr.tasks.task import Task

TOKENS = 48  # predictions compared on neutral text; each costs a row of the whole vocabulary
QUESTIONS = 24
MEMBERS = 3
RANDOM_STRENGTHS = (1.0, 3.0)  # at which each member's random direction of its norm is tried

MEASURES = (
    ("agreement", "share of neutral questions whose best option stays", 1.0, SHARE),
    ("kl", "KL to the untouched model on neutral text, nats per token", 0.0, POSITIVE),
    ("perplexity", "perplexity of neutral text over the untouched model's", 1.0, POSITIVE),
)


def costs(finished: FinishedRuns) -> AnalysisResult:
    """KL, perplexity and agreement with the untouched model on neutral text, by strength."""
    vectors = dict(list(scoring.single_vectors(finished).items())[:MEMBERS])
    scoring.effective(finished, "vector")  # strength 0 costs nothing
    questions = neutral_questions(finished.model)[::2][:QUESTIONS]
    start = start_block(next(iter(vectors.values())))
    neutral = SideEffects(finished.model, start, tokens=TOKENS, questions=questions)
    trained: dict[Unit, StrengthCost] = {}
    random: dict[Unit, StrengthCost] = {}
    result = AnalysisResult()
    for place, (unit, vector) in enumerate(vectors.items()):
        by_strength = neutral.costs(vector, STRENGTHS)
        drawn = random_vector(vector, vector.norm, 70_000 + place)
        by_chance = neutral.costs(drawn, RANDOM_STRENGTHS)
        effects = _effects(finished, unit[0], vector)
        rows = [("vector", *row) for row in zip(by_strength, effects, strict=True)]
        result.rows += [
            {"member": unit[0], "arm": arm, **asdict(cost), "effect": effect}
            for arm, cost, effect in (*rows, *[("random", cost, None) for cost in by_chance])
        ]
        trained[unit], random[unit] = by_strength[STRENGTHS.index(1.0)], by_chance[0]
    for measure, words, base, bounds in MEASURES:
        values, chance = (
            {unit: float(getattr(cost, measure)) for unit, cost in costs_of.items()}
            for costs_of in (trained, random)
        )
        is_agreement = measure == "agreement"
        result.findings.append(
            scoring.measured(
                f"{measure}-at-1",
                f"{words}, the vector of its trained length added at the last token before each",
                values,
                scoring.null_of_mean("a random direction of each member's norm, mean", chance),
                bounds=bounds,
                items=len(questions) if is_agreement else None,
                base=base,
                ceiling=1.0 if is_agreement else None,
            )
        )
    ratios = {unit: trained[unit].kl / cost.kl for unit, cost in random.items() if cost.kl > 0}
    if ratios:
        what = "KL to the untouched model on neutral text, as a multiple of what a random "
        what += "direction of the same norm causes, both added at the last token"
        finding = scoring.measured("kl-to-random", what, ratios, bounds=POSITIVE, base=1.0)
        result.findings.append(finding)
    return result


def _effects(finished: FinishedRuns, member: str, vector: Vector) -> list[float]:
    """The task's mean score on its probes at each strength, with the vector's own positions."""
    probes = finished.task(member).probes
    column = "log_odds" if finished.tasks.score == "log_odds" else "right"
    scores = finished.context.scores(probes, [vector * strength for strength in STRENGTHS])
    return [means(probes, options, column)[0] for options in scores]


ARMS = (("vector", "vector", "vector"), ("random", "random direction of its norm", "random"))


def costs_figure(tables: Tables) -> Figure | None:
    """Side effects by strength, beside the effect."""
    drawn: list[Panel] = []
    for name, table in tables.items():
        effects = table.filter(pl.col("arm") == "vector")["effect"].to_list()
        is_share = all(0 <= value <= 1 for value in effects)
        for column, words, level in (
            ("effect", "share right" if is_share else "log-odds, nats", None),
            ("agreement", "share of neutral answers kept", 1.0),
            ("kl", "KL on neutral text, nats", 0.0),
        ):
            arms = ARMS[:1] if column == "effect" else ARMS
            lines = lines_by(table, "arm", arms, "strength", column)
            axes = lines_panel(lines, "strength", words, level=level)
            drawn.append(replace(axes, title=name, span=2))
    caption = (
        "One vector (seed 0) per member at several strengths; 1 is the trained one. Its effect is "
        "read at its own positions; in neutral questions and text it is added at the last token "
        "before each answer or prediction. Grey line: the untouched model."
    )
    return figure_of("costs", caption, drawn, tables, line_keys(ARMS))


def specificity(finished: FinishedRuns) -> AnalysisResult:
    """Every member's vector on every member's probes, or on the probes of other runs' tasks.

    Countries share their lists of options: raising one answer lowers the others by softmax alone.
    """
    vectors: dict[str, Vector] = {}
    tasks: dict[str, Task] = {}
    # "all layers" is the same task with other arms.
    others = [
        runs
        for name, runs in sorted(finished.compare_with.items())
        if not name.startswith("all ") and runs.model is finished.model
    ]
    for runs in (finished, *others):
        members = runs.members[:1] if others else runs.members[: 4 if finished.quick else 8]
        for member in members:
            if (member, 0) in runs.vectors:
                vectors[member], tasks[member] = runs.vectors[member, 0], runs.task(member)
    if len(vectors) < 2:
        raise scoring.NotMeasuredError("fewer than two vectors on the same model to compare")
    cells = transfer(finished.model, vectors, tasks)
    gaps, drawn = cells.own_minus_others()
    change, null = np.array(cells.change), np.array(cells.null)
    apart = ~np.eye(len(change), dtype=bool)
    sizes = np.abs(change[apart]).reshape(len(change), -1).mean(axis=1)
    n = f"{len(cells.vectors)} vectors × {len(cells.tasks)} tasks"
    centile = "random directions of its norm, {}95th centile"
    what = "log-odds that a vector adds on its own task's probes, "
    gap = (
        "minus what it adds on the others', nats; where tasks share lists of options, raising one "
        "answer lowers the others by the softmax alone"
    )
    moved = "log-odds by which a vector moves another task's probes, whichever way, nats"
    gap_null = Null(name=centile.format("the same number, "), value=float(np.quantile(drawn, 0.95)))
    on_its_task, elsewhere = (
        Null(name=centile.format(""), value=float(values.mean()))
        for values in (np.diagonal(null), null[apart])
    )
    numbers: list[tuple[str, str, Sequence[float], Null, Bounds | None]] = [
        ("own-minus-others", what + gap, gaps, gap_null, None),
        ("own", what + "nats", np.diagonal(change).tolist(), on_its_task, None),
        ("others", moved, sizes.tolist(), elsewhere, POSITIVE),
    ]
    findings = [
        Finding(
            id=id,
            measure=measure,
            found=estimate_of(mean_interval(values, bounds=bounds), n),
            base=0.0,
            nulls=(null_value,),
            units=len(values),
        )
        for id, measure, values, null_value, bounds in numbers
    ]
    return AnalysisResult(findings, cells.table().to_dicts())


def specificity_figure(tables: Tables) -> Figure | None:
    """Every vector on every task."""
    drawn = []
    for name, table in tables.items():
        grid = grid_of(table, "vector", "task", "change")
        most = float(table["change"].abs().max()) or 1.0  # type: ignore[arg-type]
        drawn.append(heat_panel(*grid, most=most, title=name, span=3))
    caption = (
        "Nats of log-odds that a vector (row) adds on a task's probes (column), over the untouched "
        "model; blue: towards that task's answer."
    )
    return figure_of("transfer", caption, drawn, tables)
