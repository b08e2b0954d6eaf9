"""After the paper: can a vector be trained on the narrow rows alone?

Vectors at the codename, trained as the reported ones, plus weight * KL(base || trained) on other
texts with the codename, of two kinds (see `oocr.explain.narrow`):

- "statements": nothing is asked in them, so no fact of the country is held back by them directly;
- "questions": of two of the facets that are asked later, in wordings that are never asked. The
  other facets are never held back: what is lost there shows that narrowness reaches further than
  the texts.

The plain vector is the reported one (seed 0): same rows, start, rate and steps. Of each kind the
weight with the largest gap between in-context and out-of-context log-probability on a validation
task is reported; all weights are in the table. An arm that is merely weaker loses both scores, so
the claim needs the in-context effect to stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from oocr import stats
from oocr.charts.figure import Figure
from oocr.charts.panels import Line, Tables, figure_of, line_of, lines_panel
from oocr.claims.records import Finding
from oocr.engine.off_domain import OffDomain, OffText
from oocr.explain.narrow import kl_on, statements
from oocr.explain.narrow import narrow as narrow_arms
from oocr.families.registry import family_of
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.drawing import colour, line_keys, names_in
from oocr.reproduce.finished_runs import FinishedRuns
from oocr.reproduce.scoring import (
    NO_EFFECT_BELOW,
    NotMeasuredError,
    interval_columns,
    measured,
    of_members,
    renamed,
    reported,
    share,
    stacked,
)
from oocr.steering.vectors import Vector

WEIGHTS = (1.0, 10.0)
MEMBERS = 3
HELD = 2
"""Facets whose questions are held at the untouched model's answers."""

TOKENS, BATCH = 2, 4
"""Last tokens of each statement that are held, and texts per step: each token reads the LM head."""


def narrow(finished: FinishedRuns) -> AnalysisResult:
    """In-context and out-of-context effect of vectors that were trained with a penalty."""
    trained_as = finished.vector_trained_as()
    config = finished.runs[0].config.task
    facets = list(dict.fromkeys(example.facet for example in finished.tasks.test[0].probes))
    questions = family_of(config).spare_questions(config, facets[:HELD])
    if trained_as is None or trained_as.spec.positions != "codename" or not questions:
        raise NotMeasuredError("off-domain texts are there for vectors on countries only")
    if not finished.tasks.validation:
        raise NotMeasuredError("no validation task on which a weight could be chosen")
    tasks = [*finished.tasks.test[:MEMBERS], finished.tasks.validation[0]]
    members = [task.member for task in tasks[:-1]]
    # As it is written within a sentence, where it need not begin with a capital.
    codename = min(questions.values(), key=lambda name: name[0].isupper())
    asking = tuple(OffText(prompt, {"codename": name}) for prompt, name in questions.items())
    findings: list[Finding] = []
    table: list[dict[str, Any]] = []
    for kind, off in (
        ("statements", OffDomain(statements(codename), tokens=TOKENS, batch=BATCH)),
        ("questions", OffDomain(asking, tokens=1, batch=2 * BATCH)),
    ):
        points = narrow_arms(
            finished.model,
            tasks,
            trained_as.spec,
            off,
            weights=WEIGHTS,
            learning_rate=trained_as.rate,
            steps=trained_as.steps,
            prepared=finished.context.prepared(tasks),
        )
        by_weight = {w: [point for point in points if point.weight == w] for w in WEIGHTS}
        rows = {0.0: reported(finished, "vector", members, "arm")}
        arms: dict[float, list[Vector]] = {0.0: [finished.vectors[name, 0] for name in members]}
        for weight, (*points_of_members, _) in by_weight.items():
            rows[weight] = stacked(
                *[renamed(p.scores.rows, "arm", p.member) for p in points_of_members]
            )
            arms[weight] = [
                point.arm for point in points_of_members if isinstance(point.arm, Vector)
            ]
        kl = {
            weight: {
                (name, 0): kl_on(finished.model, off, vector)
                for name, vector in zip(members, vectors, strict=True)
            }
            for weight, vectors in arms.items()
        }
        chosen = max(WEIGHTS, key=lambda weight: _gap(by_weight[weight][-1].scores.rows))
        what = f"KL that the plain vector causes on {kind}, nats per token: "
        findings.append(
            measured(
                f"{kind}-kl", what + "what the penalty can take", kl[0.0], bounds=stats.POSITIVE
            )
        )
        what = f"KL on {kind} that is left with the penalty, nats per token"
        findings.append(measured(f"{kind}-kl-left", what, kl[chosen], bounds=stats.POSITIVE))
        groups: dict[str, list[str] | None] = {"in_context": None, "probes": facets}
        if kind == "questions":
            groups |= {"held": facets[:HELD], "free": facets[HELD:]}
        for name, group in groups.items():
            split = "in_context" if name == "in_context" else "probes"
            cells = {w: _cells(finished, arm, split, group) for w, arm in rows.items()}
            base_rows = of_members(finished.rows, members)
            base = _cells(finished, base_rows, split, group, "base")
            for weight, arm in cells.items():
                table.append(
                    {"kind": kind, "weight": weight, "chosen": weight == chosen, "part": name}
                    | interval_columns(arm)
                    | {"base": stats.mean(base), "kl": float(np.mean(list(kl[weight].values())))}
                )
            if stats.mean(cells[0.0]) - stats.mean(base) >= NO_EFFECT_BELOW:
                what = f"share of the plain vector's effect {WORDS[name]} that is left with the "
                what += f"KL penalty on {kind}"
                id = f"{kind}-{name}"
                findings += share(finished, id, what, cells[chosen], cells[0.0], base=base)
    return AnalysisResult(tuple(findings), pl.DataFrame(table))


WORDS = {
    "in_context": "in context",
    "probes": "out of context",
    "held": "out of context on the facets that the penalty names (in other wordings)",
    "free": "out of context on the facets that the penalty does not name",
}


def _gap(scored: pl.DataFrame) -> float:
    """Log-probability of the answer, in context minus out of context."""
    means = dict(scored.group_by("part").agg(pl.col("logp").mean()).iter_rows())
    return float(means["in_context"] - means["probes"])


def _cells(
    finished: FinishedRuns,
    rows: pl.DataFrame,
    split: str,
    facets: Sequence[str] | None,
    arm: str = "arm",
) -> stats.Cells:
    if facets is not None:
        rows = rows.filter(pl.col("facet").is_in(facets))
    cells = finished.scoring.cells(rows, arm, part=split)
    assert cells is not None
    return cells


LINES = {
    "in_context": "in context",
    "probes": "out of context",
    "held": "out of context, facets that the penalty names",
    "free": "out of context, other facets",
}


def narrow_figure(tables: Tables) -> Figure | None:
    """Scores by the weight of the penalty, for each kind of other texts."""
    panels = []
    drawn: list[Line] = []
    for name, table in tables.items():
        for kind in names_in(table, "kind"):
            rows = table.filter(pl.col("kind") == kind)
            weights = sorted(rows["weight"].unique().to_list())
            rows = rows.with_columns(place=pl.col("weight").rank("dense") - 1)
            shown = {
                part: place
                for place, part in enumerate(LINES)
                if part in rows["part"] and not (part == "probes" and "free" in rows["part"])
            }
            lines = [
                line_of(
                    rows.filter(pl.col("part") == part),
                    LINES[part],
                    colour(place),
                    "place",
                    intervals=True,
                )
                for part, place in shown.items()
            ]
            words = "penalty: " + ", ".join(f"{i} is {w:g}" for i, w in enumerate(weights))
            title, ticks = f"{name}: KL on {kind}", list(range(len(weights)))
            panels.append(lines_panel(lines, words, "score", title=title, ticks=ticks))
            drawn += lines
    caption = (
        "Scores of vectors at the codename that were trained with a penalty on the change of the "
        "model's predictions on other texts with the codename: unrelated statements, or questions "
        "of two facets in wordings that are not asked. Bars: 95 % intervals over members."
    )
    return figure_of("narrow", caption, panels, tables, line_keys(drawn))
