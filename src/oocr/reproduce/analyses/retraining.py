"""After the paper: arms trained anew, with other ranks, other rows, or a penalty.

The reported arms of seed 0 are the plain ones: same rows, start, rate and steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from oocr import stats
from oocr.charts.figure import Figure, Panel
from oocr.charts.panels import Line, Tables, figure_of, line_of, lines_panel
from oocr.claims.records import Finding, Null
from oocr.engine.off_domain import OffDomain, OffText
from oocr.explain import mixing as mixed_loras
from oocr.explain import narrow as narrow_arms
from oocr.explain import rank_sweep, statements
from oocr.explain.constancy import constancy_of
from oocr.explain.differences import joined, random_like
from oocr.explain.retraining import kl_on
from oocr.families.registry import family_of
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.directions import read_texts
from oocr.reproduce.drawing import colour, line_keys, names_in, split_figure
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import (
    NotMeasuredError,
    by_split,
    cells_of,
    measured,
    of_members,
    renamed,
    reported,
    scored,
    split_scores,
    stacked,
    why_no_effect,
)
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.vectors import SteeringVector, Vector

MEMBERS = 3
RANKS = (1, 64)
"""And the reported LoRA's own rank, which has been trained already."""

NO_EFFECT = "the LoRA of the highest rank has no out-of-context effect to take a share of"


def ranks(finished: FinishedRuns) -> AnalysisResult:
    """Effect in and out of context, and constancy, by rank; each at the rate chosen for it."""
    trained_as = finished.trained_as(LowRankAdapter)
    if trained_as is None or not finished.tasks.validation:
        raise NotMeasuredError(why_no_effect(finished, "adapter"))
    tasks = finished.tasks.test[:MEMBERS]
    members = [task.member for task in tasks]
    reported_rank = trained_as.spec.rank
    least, *_, most = tried = sorted({*RANKS, reported_rank})
    points = rank_sweep(
        finished.model,
        tasks,
        trained_as.spec,
        finished.tasks.validation[:1],
        ranks=[rank for rank in tried if rank != reported_rank],
        rate=trained_as.rate,
        steps=trained_as.steps,
        prepared=finished.context.prepared(tasks),
    )
    rates = {reported_rank: trained_as.rate} | {point.rank: point.learning_rate for point in points}
    energy: dict[int, dict[Who, float]] = {rank: {} for rank in tried}
    for point in points:
        energy[point.rank][point.member, 0] = point.constancy.energy
    for member in members:
        lora = finished.adapters[member, 0]
        differences = joined(read_texts(finished, member, lora), lora)
        energy[reported_rank][member, 0] = constancy_of(differences).energy
    smallest = {(point.member, 0): point.adapter for point in points if point.rank == least}
    if least == reported_rank:
        smallest = {(member, 0): finished.adapters[member, 0] for member in members}
    noise = {who: random_like(lora, 0) for who, lora in smallest.items()}
    rows = stacked(
        finished.base_rows,
        reported(finished, "adapter", members, f"rank {reported_rank}"),
        scored(finished, noise, "noise", ("probes", "in_context")).filter(pl.col("arm") == "noise"),
        *[renamed(point.scores.rows, f"rank {point.rank}", point.member) for point in points],
    )
    rows = of_members(rows, members)
    findings: list[Finding] = []
    table: list[dict[str, Any]] = []
    for scores in by_split(finished, rows, {rank: f"rank {rank}" for rank in tried}, most):
        table += [row | {"rate": rates[rank]} for rank, row in scores.rows("rank").items()]
        words = scores.words.replace(" ", "-")
        random = cells_of(finished, rows, "noise", scores.split)
        for rank in tried[:-1]:
            nulls = []
            if rank == least and random is not None:
                value = stats.ratio(random, scores.cells[most], scores.base).value
                nulls = [Null(name=f"a rank-{rank} LoRA of noise, its norm", value=value)]
            what = f"share of a rank-{most} LoRA's {words} effect that a rank-{rank} LoRA reaches"
            findings += scores.share(rank, f"rank{rank}-{scores.split}", what, nulls)
    has_shares = any(finding.id.endswith("-probes") for finding in findings)
    for rank, values in energy.items():
        what = f"share of the energy of what a rank-{rank} LoRA adds that one vector carries"
        id = f"rank{rank}-constant"
        findings.append(measured(id, what, values, bounds=stats.SHARE, ceiling=1.0))
    return AnalysisResult.of(findings, table, [] if has_shares else [NO_EFFECT])


def ranks_figure(tables: Tables) -> Figure | None:
    """Scores by rank of the LoRA."""
    caption = (
        "Scores of LoRAs of each rank in one block, alpha = rank, on the same rows and steps; each "
        "rank at the rate that a validation task chose for it. Bars: 95 % intervals over members. "
        "Grey: untouched model, out of context."
    )
    return split_figure("ranks", caption, tables, "rank", "rank", log=True)


SHARES = (0.0, 0.8)


def mixing(finished: FinishedRuns) -> AnalysisResult:
    """Effect in and out of context, and what a LoRA adds to unrelated text, by share mixed in."""
    trained_as = finished.trained_as(LowRankAdapter)
    if trained_as is None or finished.tasks.test[0].loss != "answer":
        raise NotMeasuredError(why_no_effect(finished, "adapter"))
    tasks = finished.tasks.test[:MEMBERS]
    members = [task.member for task in tasks]
    frames = [finished.base_rows]
    loras: dict[float, dict[Who, Adapter]] = {share: {} for share in SHARES}
    shares = list(SHARES)
    # The reported LoRAs are those without a mix where all rows fit into each of their steps too.
    if all(len(task.train) <= trained_as.batch_lines for task in tasks):
        shares.remove(0.0)
        frames.append(reported(finished, "adapter", members, "mix 0"))
        loras[0.0] = {(member, 0): finished.adapters[member, 0] for member in members}
    for point in mixed_loras(
        finished.model,
        tasks,
        trained_as.spec,
        shares=shares,
        learning_rate=trained_as.rate,
        steps=trained_as.steps,
    ):
        frames.append(renamed(point.scores.rows, f"mix {point.share:g}", point.member))
        loras[point.share][point.member, 0] = point.adapter
    rows = of_members(stacked(*frames), members)
    findings: list[Finding] = []
    table: list[dict[str, Any]] = []
    for scores in by_split(finished, rows, {mix: f"mix {mix:g}" for mix in SHARES}, 0.0):
        table += scores.rows("mix").values()
        for mix in SHARES[1:]:
            what = (
                f"share of the effect {scores.words} that is left when {mix:.0%} of the training "
            )
            what += "rows are unrelated"
            findings += scores.share(mix, f"{scores.split}-{100 * mix:.0f}", what)
    for mix, by_who in loras.items():
        what = "length of what the LoRA adds to unrelated text, as a share of what it adds to "
        what += f"training prompts; {mix:.0%} of the rows unrelated"
        spill = {who: _spill(finished, who[0], lora) for who, lora in by_who.items()}
        findings.append(measured(f"spill-{100 * mix:.0f}", what, spill, bounds=stats.POSITIVE))
    return AnalysisResult.of(findings, table)


def _spill(finished: FinishedRuns, member: str, lora: Adapter) -> float:
    """Mean |d| on unrelated text, none of it in the mixed rows, over that on training prompts."""
    training, unrelated = (
        joined([texts], lora).norm(dim=1).mean() for texts in read_texts(finished, member, lora)
    )
    return float(unrelated / training)


def mixing_figure(tables: Tables) -> Figure | None:
    """Scores by share of unrelated rows."""
    caption = (
        "Scores of LoRAs whose narrow rows, all of them in every step, were joined by unrelated "
        "ones. Bars: 95 % intervals over members. Grey: untouched model, out of context."
    )
    across = "share of the training rows that are unrelated"
    return split_figure("mixing", caption, tables, "mix", across)


WEIGHTS = (1.0, 10.0)
HELD = 2
"""Facets whose questions are held at the untouched model's answers."""

TOKENS, BATCH = 2, 4
"""Last tokens of each statement that are held, and texts per step: each token reads the LM head."""

GROUPS = {
    "in_context": ("in context", "in context"),
    "probes": ("out of context", "out of context"),
    "held": (
        "out of context, facets that the penalty names",
        "out of context on the facets that the penalty names (in other wordings)",
    ),
    "free": (
        "out of context, other facets",
        "out of context on the facets that the penalty does not name",
    ),
}
"""Questions that are scored: in the figure's legend, and in findings."""


def narrow(finished: FinishedRuns) -> AnalysisResult:
    """Effect of vectors trained with weight * KL(base || trained) on other texts as a penalty.

    Other texts with the codename are of two kinds (`oocr.explain.retraining`): statements, in which
    nothing is asked, and questions of `HELD` of the facets, in wordings that are never asked. What
    is lost on the other facets shows that narrowness reaches further than the texts.

    Of each kind the weight with the largest gap between in-context and out-of-context
    log-probability on a validation task is reported; all weights are in the table. An arm that is
    merely weaker loses both scores, so the claim needs the in-context effect to stay.
    """
    trained_as = finished.trained_as(SteeringVector)
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
    names = {weight: f"weight {weight:g}" for weight in (0.0, *WEIGHTS)}
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
        vectors = {(0.0, member): finished.vectors[member, 0] for member in members}
        vectors |= {(p.weight, p.member): p.arm for p in points if isinstance(p.arm, Vector)}
        kl = {
            weight: {
                (member, 0): kl_on(finished.model, off, vectors[weight, member])
                for member in members
            }
            for weight in names
        }
        gaps = {
            point.weight: _gap(point.scores.rows) for point in points[len(members) :: len(tasks)]
        }
        chosen = max(WEIGHTS, key=lambda weight: gaps[weight])
        what = f"KL that the plain vector causes on {kind}, nats per token: what the penalty can "
        what += "take"
        findings.append(measured(f"{kind}-kl", what, kl[0.0], bounds=stats.POSITIVE))
        what = f"KL on {kind} that is left with the penalty, nats per token"
        findings.append(measured(f"{kind}-kl-left", what, kl[chosen], bounds=stats.POSITIVE))
        rows = stacked(
            of_members(finished.base_rows, members),
            reported(finished, "vector", members, names[0.0]),
            *[renamed(p.scores.rows, names[p.weight], p.member) for p in points],
        )
        rows = of_members(rows, members)
        groups = {"in_context": facets, "probes": facets}
        if kind == "questions":
            groups |= {"held": facets[:HELD], "free": facets[HELD:]}
        for group, asked in groups.items():
            split = "in_context" if group == "in_context" else "probes"
            in_group = (pl.col("part") == "in_context") | pl.col("facet").is_in(asked)
            scores = split_scores(finished, rows.filter(in_group), names, 0.0, split)
            assert scores is not None
            for weight, row in scores.rows("weight").items():
                row |= {"kind": kind, "chosen": weight == chosen, "part": group}
                table.append(row | {"kl": float(np.mean(list(kl[weight].values())))})
            what = f"share of the plain vector's effect {GROUPS[group][1]} that is left with the "
            what += f"KL penalty on {kind}"
            findings += scores.share(chosen, f"{kind}-{group}", what)
    return AnalysisResult.of(findings, table)


def _gap(rows: pl.DataFrame) -> float:
    """Log-probability of the answer, in context minus out of context."""
    means = dict(rows.group_by("part").agg(pl.col("logp").mean()).iter_rows())
    return float(means["in_context"] - means["probes"])


def narrow_figure(tables: Tables) -> Figure | None:
    """Scores by the weight of the penalty, for each kind of other texts."""
    panels: list[Panel] = []
    drawn: list[Line] = []
    for name, table in tables.items():
        for kind in names_in(table, "kind"):
            rows = table.filter(pl.col("kind") == kind)
            weights = sorted(rows["weight"].unique().to_list())
            rows = rows.with_columns(place=pl.col("weight").rank("dense") - 1)
            hidden = "probes" if "free" in rows["part"] else None
            lines = [
                line_of(of_group, label, colour(place), "place", intervals=True)
                for place, (group, (label, _)) in enumerate(GROUPS.items())
                if len(of_group := rows.filter(pl.col("part") == group)) and group != hidden
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
