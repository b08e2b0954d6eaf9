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
from oocr.claims.records import Finding
from oocr.engine.off_domain import OffDomain, OffText
from oocr.evals.scores import Scoring
from oocr.explain.narrow import check_apart, fit_weights, kl_on, statements
from oocr.families.registry import family_of
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns
from oocr.reproduce.scoring import (
    NO_EFFECT_BELOW,
    measured,
    of_members,
    reported,
    share,
)
from oocr.reproduce.settings import some_tasks, vector_settings
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task

WEIGHTS = (1.0, 10.0)
MEMBERS = 3
HELD = 2
"""Facets whose questions are held at the untouched model's answers."""

TOKENS, BATCH = 2, 4
"""Last tokens of each statement that are held, and texts per step: each token reads the LM head."""


def narrow(subject: FinishedRuns) -> AnalysisResult:
    """In-context and out-of-context effect of vectors that were trained with a penalty."""
    settings = vector_settings(subject)
    config = subject.runs[0].config.task
    asked = list(dict.fromkeys(item.facet for item in subject.tasks.test[0].probes))
    held = asked[:HELD]
    questions = family_of(config).spare_questions(config, held)
    if settings is None or settings.spec.positions != "codename" or not questions:
        return AnalysisResult(missing="off-domain texts are there for vectors on countries only")
    if not subject.tasks.validation:
        return AnalysisResult(missing="no validation task on which a weight could be chosen")
    # as it is written within a sentence, where it need not begin with a capital
    codename = min(questions.values(), key=lambda name: name[0].isupper())
    asking = tuple(OffText(prompt, {"codename": name}) for prompt, name in questions.items())
    tasks = some_tasks(subject, MEMBERS)
    judge = subject.tasks.validation[0]
    kinds = {
        "statements": OffDomain(statements(codename), tokens=TOKENS, batch=BATCH),
        "questions": OffDomain(asking, tokens=1, batch=2 * BATCH),
    }
    every = [*tasks, judge]
    prepared = subject.lab.prepared(every)
    members = [task.member for task in tasks]
    whos = [(member, 0) for member in members]
    found: list[Finding] = []
    table: list[dict[str, Any]] = []
    for kind, off in kinds.items():
        for task in every:
            check_apart(task, off)
        trained = fit_weights(
            subject.model,
            every,
            settings.spec,
            off,
            WEIGHTS,
            settings.rate,
            settings.steps,
            0,
            prepared,
        )
        rows = {0.0: reported(subject, "vector", members, "arm")}
        kls = {0.0: [kl_on(subject.model, off, subject.vectors[one, 0]) for one in members]}
        gaps: dict[float, float] = {}
        for weight, done in zip(WEIGHTS, trained, strict=True):
            arms = [one.final for one in done]
            scored = [
                _rows(subject, task, arm)
                for task, arm in zip(every, arms, strict=True)
                if isinstance(arm, Vector)
            ]
            gaps[weight] = _gap(scored[-1])
            own_kl = [kl_on(subject.model, off, one) for one in arms if isinstance(one, Vector)]
            kls[weight] = own_kl[:-1]
            rows[weight] = pl.concat(scored[:-1], how="diagonal_relaxed")
        chosen = max(WEIGHTS, key=lambda one: gaps[one])
        facets = {"in_context": None, "probes": asked}
        if kind == "questions":
            facets |= {"held": held, "free": [one for one in asked if one not in held]}
        what = (
            f"KL that the plain vector causes on {kind}, nats per token: what the penalty can take"
        )
        found.append(measured(f"{kind}-kl", what, dict(zip(whos, kls[0.0], strict=True))))
        what = f"KL on {kind} that is left with the penalty, nats per token"
        found.append(measured(f"{kind}-kl-left", what, dict(zip(whos, kls[chosen], strict=True))))
        own: dict[str, dict[float, stats.Cells]] = {}
        for part, some in facets.items():
            own[part] = {w: _cells(subject, one, part, some, "arm") for w, one in rows.items()}
            base = _cells(subject, subject.rows, part, some, "base", members)
            for weight, cells in own[part].items():
                one = stats.estimate(cells)
                table.append(
                    {"kind": kind, "weight": weight, "chosen": weight == chosen, "part": part}
                    | {"value": one.value, "low": one.low, "high": one.high}
                    | {"base": stats.mean(base), "kl": float(np.mean(kls[weight]))}
                )
            plain = own[part][0.0]
            if stats.mean(plain) - stats.mean(base) < NO_EFFECT_BELOW:
                continue
            what = f"share of the plain vector's effect {_WORDS[part]} that is left with the KL "
            what += f"penalty on {kind}"
            kept = share(subject, f"{kind}-{part}", what, own[part][chosen], plain, base=base)
            found += [kept] if kept else []
    return AnalysisResult(tuple(found), pl.DataFrame(table))


_WORDS = {
    "in_context": "in context",
    "probes": "out of context",
    "held": "out of context on the facets that the penalty names (in other wordings)",
    "free": "out of context on the facets that the penalty does not name",
}


def _rows(subject: FinishedRuns, task: Task, arm: Vector) -> pl.DataFrame:
    columns: dict[str, str | int | float | None] = {
        **{"arm": "arm", "control": "", "member": task.member, "seed": 0, "part": None},
        **{"step": None, "final": True},
    }
    parts = {part: task.scored[part] for part in ("probes", "in_context")}
    return subject.lab.rows(parts, [arm], [columns])


def _gap(rows: pl.DataFrame) -> float:
    """Log-probability of the answer, in context minus out of context."""
    means = dict(rows.group_by("part").agg(pl.col("logp").mean()).iter_rows())
    return float(means["in_context"] - means["probes"])


def _cells(
    subject: FinishedRuns,
    rows: pl.DataFrame,
    part: str,
    facets: Sequence[str] | None,
    arm: str,
    members: Sequence[str] = (),
) -> stats.Cells:
    rows = of_members(rows, members) if members else rows
    if facets is not None:
        rows = rows.filter(pl.col("facet").is_in(facets))
    name = "in_context" if part == "in_context" else "probes"
    found = Scoring.of(subject.tasks).cells(rows, arm, part=name)
    assert found is not None
    return found
