"""Beyond the paper: arms of seed 0 trained again with another rank, rows, or a penalty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl

from oocr import stats
from oocr.charts.figure import Figure, Panel, Tables, figure_of, names_in
from oocr.charts.lines import Look, line_keys, lines_by, lines_panel
from oocr.claims.records import Null
from oocr.engine.off_domain import OffDomain, OffText
from oocr.explain import penalty, row_mixes
from oocr.explain.constancy import constancy_of
from oocr.explain.differences import joined, random_like
from oocr.explain.ranks import rank_sweep
from oocr.families.registry import family_of
from oocr.intervals import POSITIVE, SHARE
from oocr.reproduce import scoring
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Unit, lora_texts
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.vectors import SteeringVector, Vector

MEMBERS = 3
RANKS = (1, 64)  # and the reported LoRA's rank, which is trained already
NO_EFFECT = "the LoRA of the highest rank has no out-of-context effect to take a share of"


def ranks(finished: FinishedRuns) -> AnalysisResult:
    """Effect in and out of context, and constancy, by rank; each at the rate chosen for it."""
    trained_as = finished.trained_as(LowRankAdapter)
    if trained_as is None or not finished.tasks.validation:
        raise scoring.NotMeasuredError(scoring.why_no_effect(finished, "adapter"))
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
    loras, energy = _loras(finished, members), {rank: dict[Unit, float]() for rank in tried}
    for unit, lora in loras.items():
        differences = joined(lora_texts(finished, unit[0], lora), lora)
        energy[reported_rank][unit] = constancy_of(differences).energy
    for point in points:
        energy[point.rank][point.member, 0] = point.constancy.energy
    if least != reported_rank:
        loras = {(point.member, 0): point.adapter for point in points if point.rank == least}
    noise = {unit: random_like(lora, 0) for unit, lora in loras.items()}
    rows = scoring.stacked(
        scoring.scored(finished, noise, "noise", scoring.SPLITS),
        scoring.reported(finished, "adapter", members, f"rank {reported_rank}"),
        *[scoring.renamed(p.scores.rows, f"rank {p.rank}", p.member) for p in points],
    )
    rows = scoring.of_members(rows, members)
    result = AnalysisResult()
    for scores in scoring.by_split(finished, rows, {rank: f"rank {rank}" for rank in tried}, most):
        result.rows += [row | {"rate": rates[rank]} for rank, row in scores.rows("rank").items()]
        words = scores.words.replace(" ", "-")
        random = scoring.cells_of(finished, rows, "noise", scores.split)
        for rank in tried[:-1]:
            nulls = []
            if rank == least and random is not None:
                value = stats.ratio(random, scores.cells[most], scores.base).value
                nulls = [Null(name=f"a rank-{rank} LoRA of noise, its norm", value=value)]
            what = f"share of a rank-{most} LoRA's {words} effect that a rank-{rank} LoRA reaches"
            result.findings += scores.share(rank, f"rank{rank}-{scores.split}", what, nulls)
    if not any(finding.id.endswith("-probes") for finding in result.findings):
        result.reasons.append(NO_EFFECT)
    for rank, values in energy.items():
        what = f"share of the energy of what a rank-{rank} LoRA adds that one vector carries"
        id = f"rank{rank}-constant"
        result.findings.append(scoring.measured(id, what, values, bounds=SHARE, ceiling=1.0))
    return result


def _loras(finished: FinishedRuns, members: Sequence[str]) -> dict[Unit, Adapter]:
    """The reported LoRAs of the first seed."""
    return {(member, 0): finished.adapters[member, 0] for member in members}


def ranks_figure(tables: Tables) -> Figure | None:
    """Scores by rank of the LoRA."""
    caption = (
        "Scores of LoRAs of each rank in one block, alpha = rank, on the same rows and steps; each "
        "rank at the rate that a validation task chose for it. Bars: 95 % intervals over members. "
        "Grey: untouched model, out of context."
    )
    return _split_figure("ranks", caption, tables, "rank", "rank", log=True)


def _split_figure(
    name: str, caption: str, tables: Tables, x: str, across: str, *, log: bool = False
) -> Figure | None:
    """Scores in and out of context against column `x`; grey: the untouched model out of context."""
    drawn = []
    for task, table in tables.items():
        lines = lines_by(table, "part", scoring.SPLIT_LOOKS, x, intervals=True)
        level = float(table.filter(pl.col("part") == "probes")["base"][0])
        ticks = sorted(table[x].unique().to_list())
        axes = lines_panel(lines, across, "score", log=log, level=level, ticks=ticks)
        drawn.append(replace(axes, title=task, height=300, span=6))
    return figure_of(name, caption, drawn, tables, line_keys(scoring.SPLIT_LOOKS))


SHARES = (0.0, 0.8)


def mixing(finished: FinishedRuns) -> AnalysisResult:
    """Effect in and out of context, and what a LoRA adds to unrelated text, by share mixed in."""
    trained_as = finished.trained_as(LowRankAdapter)
    if trained_as is None or finished.tasks.test[0].loss != "answer":
        raise scoring.NotMeasuredError(scoring.why_no_effect(finished, "adapter"))
    tasks = finished.tasks.test[:MEMBERS]
    members = [task.member for task in tasks]
    frames = [finished.base_rows]
    loras: dict[float, dict[Unit, Adapter]] = {share: {} for share in SHARES}
    shares = list(SHARES)
    # The reported LoRAs are those without a mix where all rows fit into each of their steps too.
    if all(len(task.train) <= trained_as.batch_lines for task in tasks):
        shares.remove(0.0)
        frames.append(scoring.reported(finished, "adapter", members, "mix 0"))
        loras[0.0] = _loras(finished, members)
    for point in row_mixes.mixing(
        finished.model,
        tasks,
        trained_as.spec,
        shares=shares,
        learning_rate=trained_as.rate,
        steps=trained_as.steps,
    ):
        frames.append(scoring.renamed(point.scores.rows, f"mix {point.share:g}", point.member))
        loras[point.share][point.member, 0] = point.adapter
    rows = scoring.of_members(scoring.stacked(*frames), members)
    result = AnalysisResult()
    for scores in scoring.by_split(finished, rows, {mix: f"mix {mix:g}" for mix in SHARES}, 0.0):
        result.rows += scores.rows("mix").values()
        for mix in SHARES[1:]:
            what = f"share of the effect {scores.words} that is left when {mix:.0%} of the "
            what += "training rows are unrelated"
            result.findings += scores.share(mix, f"{scores.split}-{100 * mix:.0f}", what)
    for mix, by_unit in loras.items():
        what = "length of what the LoRA adds to unrelated text, as a share of what it adds to "
        what += f"training prompts; {mix:.0%} of the rows unrelated"
        spill = {unit: _spill(finished, unit[0], lora) for unit, lora in by_unit.items()}
        result.findings.append(
            scoring.measured(f"spill-{100 * mix:.0f}", what, spill, bounds=POSITIVE)
        )
    return result


def _spill(finished: FinishedRuns, member: str, lora: Adapter) -> float:
    """Mean |d| on unrelated text that no row contains, divided by that on training prompts."""
    training, unrelated = (
        joined([texts], lora).norm(dim=1).mean() for texts in lora_texts(finished, member, lora)
    )
    return float(unrelated / training)


def mixing_figure(tables: Tables) -> Figure | None:
    """Scores by share of unrelated rows."""
    caption = (
        "Scores of LoRAs whose narrow rows, all of them in every step, were joined by unrelated "
        "ones. Bars: 95 % intervals over members. Grey: untouched model, out of context."
    )
    across = "share of the training rows that are unrelated"
    return _split_figure("mixing", caption, tables, "mix", across)


WEIGHTS = (1.0, 10.0)
HELD = 2  # facets with questions in the penalty
TOKENS, BATCH = 2, 4
"""Last tokens of each statement that are held, and texts per step: each token reads the LM head."""

GROUPS: tuple[Look, ...] = (
    ("in_context", "in context", "vector"),
    ("probes", "out of context", "adapter"),
    ("held", "out of context, facets that the penalty names", "swap-span"),
    ("free", "out of context, other facets", "swap-all"),
)
"""Questions that are scored, in the figure's legend."""

GROUP_WORDS = scoring.SPLITS | {
    "held": "out of context on the facets that the penalty names (in other wordings)",
    "free": "out of context on the facets that the penalty does not name",
}
"""The same in findings."""


def narrow(finished: FinishedRuns) -> AnalysisResult:
    """Effect of vectors trained with weight * KL(base || trained) on other texts as a penalty.

    Texts with the codename are of two kinds: statements, and questions of `HELD` of the facets in
    wordings that are never asked. Of each kind the weight with the largest gap between in-context
    and out-of-context log-probability on a validation task is reported. A weaker arm loses both
    scores, so the claim needs the in-context effect to stay.
    """
    trained_as = finished.trained_as(SteeringVector)
    config = finished.runs[0].config.task
    facets = list(dict.fromkeys(example.facet for example in finished.tasks.test[0].probes))
    questions = family_of(config).spare_questions(config, facets[:HELD])
    if trained_as is None or trained_as.spec.positions != "codename" or not questions:
        raise scoring.NotMeasuredError("off-domain texts are there for vectors on countries only")
    if not finished.tasks.validation:
        raise scoring.NotMeasuredError("no validation task on which a weight could be chosen")
    tasks = [*finished.tasks.test[:MEMBERS], finished.tasks.validation[0]]
    members = [task.member for task in tasks[:-1]]
    # As it is written within a sentence, where it need not begin with a capital.
    codename = min(questions.values(), key=lambda name: name[0].isupper())
    asking = tuple(OffText(prompt, {"codename": name}) for prompt, name in questions.items())
    names = {weight: f"weight {weight:g}" for weight in (0.0, *WEIGHTS)}
    result = AnalysisResult()
    for kind, off in (
        ("statements", OffDomain(penalty.statements(codename), tokens=TOKENS, batch=BATCH)),
        ("questions", OffDomain(asking, tokens=1, batch=2 * BATCH)),
    ):
        points = penalty.narrow(
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
        kl: dict[float, dict[Unit, float]] = {weight: {} for weight in names}
        for weight, member in product(names, members):
            kl[weight][member, 0] = penalty.kl_on(finished.model, off, vectors[weight, member])
        of_validation = points[len(members) :: len(tasks)]
        gaps = {point.weight: _gap(point.scores.rows) for point in of_validation}
        chosen = max(WEIGHTS, key=lambda weight: gaps[weight])
        what = f"KL that the plain vector causes on {kind}, nats per token: what the penalty can "
        what += "take"
        result.findings.append(scoring.measured(f"{kind}-kl", what, kl[0.0], bounds=POSITIVE))
        what = f"KL on {kind} that is left with the penalty, nats per token"
        result.findings.append(
            scoring.measured(f"{kind}-kl-left", what, kl[chosen], bounds=POSITIVE)
        )
        rows = scoring.stacked(
            scoring.of_members(finished.base_rows, members),
            scoring.reported(finished, "vector", members, names[0.0]),
            *[scoring.renamed(p.scores.rows, names[p.weight], p.member) for p in points],
        )
        rows = scoring.of_members(rows, members)
        groups = {"in_context": facets, "probes": facets}
        if kind == "questions":
            groups |= {"held": facets[:HELD], "free": facets[HELD:]}
        for group, asked in groups.items():
            split = "in_context" if group == "in_context" else "probes"
            in_group = rows.filter((pl.col("part") == "in_context") | pl.col("facet").is_in(asked))
            (scores,) = scoring.by_split(finished, in_group, names, 0.0, [split])
            for weight, row in scores.rows("weight").items():
                row |= {"kind": kind, "chosen": weight == chosen, "part": group}
                result.rows.append(row | {"kl": float(np.mean(list(kl[weight].values())))})
            what = f"share of the plain vector's effect {GROUP_WORDS[group]} that is left with "
            what += f"the KL penalty on {kind}"
            result.findings += scores.share(chosen, f"{kind}-{group}", what)
    return result


def _gap(rows: pl.DataFrame) -> float:
    """Log-probability of the answer, in context minus out of context."""
    means = dict(rows.group_by("part").agg(pl.col("logp").mean()).iter_rows())
    return float(means["in_context"] - means["probes"])


def narrow_figure(tables: Tables) -> Figure | None:
    """Scores by the weight of the penalty, for each kind of other texts."""
    drawn: list[Panel] = []
    for name, table in tables.items():
        for kind in names_in(table, "kind"):
            rows = table.filter(pl.col("kind") == kind)
            weights = sorted(rows["weight"].unique().to_list())
            rows = rows.with_columns(place=pl.col("weight").rank("dense") - 1)
            if "free" in rows["part"]:
                rows = rows.filter(pl.col("part") != "probes")
            lines = lines_by(rows, "part", GROUPS, "place", intervals=True)
            words = "penalty: " + ", ".join(f"{i} is {w:g}" for i, w in enumerate(weights))
            title, ticks = f"{name}: KL on {kind}", list(range(len(weights)))
            drawn.append(lines_panel(lines, words, "score", title=title, ticks=ticks))
    caption = (
        "Scores of vectors at the codename that were trained with a penalty on the change of the "
        "model's predictions on other texts with the codename: unrelated statements, or questions "
        "of two facets in wordings that are not asked. Bars: 95 % intervals over members."
    )
    return figure_of("narrow", caption, drawn, tables, line_keys(GROUPS))
