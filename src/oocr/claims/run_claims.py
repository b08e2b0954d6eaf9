"""The claims judged for runs of every family: a table whose rows say when they apply."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl

from oocr import intervals, stats
from oocr.claims import conditions, rules
from oocr.claims.judge import NAMES, ClaimRow, RunResults, estimate_of, n_of, null_of, seeds_of
from oocr.claims.records import Finding, Null

METHODS = ("vector", "adapter")
UNCONDITIONAL = {"vector": "one unconditional vector", "adapter": "a one-layer LoRA"}
GAP = 0.5
"""Share of the way from base to ceiling from which an effect holds, and not only in part."""

FREE_ENOUGH = 0.5
"""Share right from which answers in the model's own words hold, and not only in part."""

RANDOM = "random directions"
EFFECT = "the LoRA's own effect"
CEILING = "the ceiling over the untouched model"
ABLE = conditions.parts_above(0, CEILING, words="the ceiling is above the untouched model")
"""A failure of a model that fails also with the answer's cause in its prompt shows nothing."""

GATES = ("trigger", "otherwise")
"""The names under which the facets of a backdoor count."""


def _effect(results: RunResults, arm: str, kind: str, id: str) -> Finding | None:
    """The score of an arm, if it is of this kind; what it is held against; what facets score."""
    scoring, twins = results.scoring, results.tasks.poles
    is_gated = set(scoring.counted.values()) == set(GATES)
    if kind != ("backdoor" if scoring.measure == "accuracy" and is_gated else scoring.measure):
        return None
    measure = {
        "accuracy": f"out-of-context accuracy{_balanced(results)}",
        "backdoor": "mean of the accuracies with and without trigger, on held-out prompts",
    }.get(kind, "trained minus untouched log-odds of the trained pole, nats")
    if scoring.measure != "accuracy" and twins is not None:
        first, second = twins
        measure = f"{first}-trained minus {second}-trained log-odds of the {first} answer, nats"
    cells = results.cells(arm)
    base = None if cells is None else scoring.base(results.rows, cells)
    if cells is None or base is None:
        return None
    nulls, paired = [random_null(results)], {}
    for name in ("shuffled", "decorrelated"):
        control = results.cells(arm, name)
        if control is not None:
            words = f"{name} training{', opposite twins' if twins else ''}"
            nulls.append(Null(name=words, value=stats.mean(control)))
            paired[f"{name} training"] = stats.estimate(cells - control).low
    ceiling = results.cells("ceiling")
    parts = {name: stats.estimate(cells.only(name)).low for name in cells.facets}
    untouched = None if ceiling is None else scoring.base(results.rows, ceiling)
    if ceiling is not None and untouched is not None:
        parts[CEILING] = stats.estimate(ceiling).low - stats.mean(untouched)
    return Finding(
        id=id,
        measure=measure,
        found=estimate_of(stats.estimate(cells), n_of(cells, scoring.units)),
        base=stats.mean(base),
        nulls=tuple(null for null in nulls if null is not None),
        ceiling=None if ceiling is None else stats.mean(ceiling),
        units=len(cells.clusters),
        paired=paired,
        parts=parts,
    )


def _balanced(results: RunResults) -> str:
    """How a share right is weighed, in words."""
    return ", answer-balanced" if results.scoring.balance else ""


def random_null(results: RunResults) -> Null | None:
    """What random directions score; of differences the size, whichever way."""
    scores = results.scoring.random_scores(results.rows)
    if results.scoring.measure == "accuracy" or not scores:
        return null_of(scores)
    pairs = "pairs of " if results.tasks.poles else ""
    name = f"{len(scores)} {pairs}{RANDOM}, 95th centile of |contrast|"
    return Null(name=name, value=float(np.quantile(np.abs(scores), 0.95)))


_CONSTANCY = {
    "cosine": "signed cosine of a token's difference to the mean, over span, other prompt tokens "
    "and unrelated text",
    "energy": "share of the differences' energy in their mean, over the same tokens",
}


def _constancy(results: RunResults, field: str) -> Finding | None:
    """One number per LoRA, the mean over token groups; members (of one: seeds) are drawn."""
    frame = results.constancy
    if frame is None or frame.is_empty():
        return None
    unit = "member" if results.several else "seed"
    trained = _by(frame.filter(pl.col("kind") == "adapter"), field, unit)
    members, seeds = (len(trained), results.seeds) if results.several else (1, len(trained))
    n = f"{members} member{'s' if results.several else ''} × {seeds_of(seeds)}"
    bounds = intervals.SIGNED if field == "cosine" else intervals.SHARE
    trained = np.clip(trained, *bounds).tolist()  # rounding may carry them beyond
    noise = _by(frame.filter(pl.col("kind") == "random adapter"), field, "member")
    null = Null(name="LoRAs of Gaussian noise", value=float(np.mean(noise))) if noise else None
    return Finding(
        id=f"constancy-{field}",
        measure=_CONSTANCY[field],
        found=estimate_of(intervals.mean_interval(trained, bounds=bounds), n),
        nulls=(null,) if null and null.value else (),
        ceiling=1.0,
        # Of one LoRA the number is its own; of two there is no telling what others would be.
        units=len(trained) if len(trained) > 1 else None,
    )


def _by(frame: pl.DataFrame, field: str, unit: str) -> list[float]:
    """Mean over token groups, then over the other of members and seeds."""
    groups = frame.group_by("member", "seed").agg(pl.col(field).mean())
    groups = groups.sort("member", "seed")  # the order of a sum is part of the number
    return groups.group_by(unit).agg(pl.col(field).mean()).sort(unit)[field].to_list()


def _swap(results: RunResults, where: str) -> Finding | None:
    """The share kept; where the LoRA has no effect, that effect: a share of nothing is none."""
    arm, scoring = f"swap {where}", results.scoring
    part, whole = results.cells(arm), results.cells("adapter")
    base = None if whole is None else scoring.base(results.rows, whole)
    if part is None or whole is None or base is None:
        return None
    share = scoring.share_kept(results.rows, arm)
    null = None
    if share is not None:
        start, size = stats.mean(base), stats.mean(whole) - stats.mean(base)
        scores = scoring.random_scores(results.rows, f"random direction {where}")
        null = null_of([(score - start) / size for score in scores])
    measure = (
        f"{EFFECT} out of context (over base), of which no share can be taken"
        if share is None
        else "share of the LoRA's out-of-context effect (over base) that is kept"
    )
    return Finding(
        id=arm.replace(" ", "-"),
        measure=measure,
        found=estimate_of(share or stats.estimate(whole - base), n_of(part, scoring.units)),
        base=0.0,
        nulls=() if null is None else (null,),
        ceiling=None if share is None else 1.0,
        units=len(part.clusters),
        parts={EFFECT: 0.0} if share is None else {},
    )


def _free(results: RunResults, arm: str) -> Finding | None:
    cells, base = (results.cells(name, part="free") for name in (arm, "base"))
    if cells is None or base is None or not any(task.free for task in results.tasks.test):
        return None
    units = "members" if results.several else "probe groups"
    return Finding(
        id=f"{arm}-free-answers",
        measure=f"share of greedy answers judged right{_balanced(results)}, out of context",
        found=estimate_of(stats.estimate(cells), n_of(cells, units)),
        base=stats.mean(base),
        units=len(cells.clusters),
        paired={"the untouched model": stats.estimate(cells - base).low},
    )


_ANSWERS = [
    conditions.above_base(),
    conditions.above_nulls(RANDOM),
    conditions.paired_above("every trained control"),
]
_GATE = [
    conditions.low_above(0.5),
    conditions.above_nulls(RANDOM),
    conditions.paired_above("the decorrelated control"),
]
_BOTH_SIDES = conditions.parts_above(
    0.5, *GATES, words="with the trigger and without it, each alone, it is above one half"
)
_LOG_ODDS = rules.rule(
    [
        conditions.low_above(0),
        conditions.above_nulls(RANDOM),
        conditions.paired_above("shuffled training"),
        conditions.control_trained(),
    ],
    [conditions.low_above(0), conditions.mean_above_nulls(RANDOM)],
    note="The ceiling is the trait stated in the prompt.",
    able=ABLE,
    said=[conditions.random_asked()],
)
_EFFECTS = (
    (
        "accuracy",
        "out-of-context",
        "",
        rules.rule(
            [*_ANSWERS, conditions.way_to_ceiling(GAP), conditions.control_trained()],
            _ANSWERS,
            able=ABLE,
            said=[conditions.random_asked()],
        ),
    ),
    (
        "backdoor",
        "backdoor",
        "{unconditional} carries a backdoor: X after a trigger, Y otherwise",
        rules.rule(
            [*_GATE, _BOTH_SIDES, conditions.control_trained()],
            _GATE,
            able=ABLE,
            said=[conditions.random_asked()],
        ),
    ),
    (
        "contrast",
        "self-report",
        "Trained only on choices, {name} changes what the model says of itself",
        _LOG_ODDS,
    ),
    (
        "log_odds",
        "out-of-context",
        "Trained on narrow data, {name} moves the answers to the probes",
        _LOG_ODDS,
    ),
)
"""Kind of score, end of the id, words ("": the task's own) and rule."""


def constancy_claim(field: str, words: str, full: float, part: float) -> ClaimRow:
    """How constant the LoRAs' effect is over all token groups."""
    return ClaimRow(
        f"constancy-{field}", words, partial(_constancy, field=field), rules.reaches(full, part)
    )


def swap_claim(where: str, tokens: str) -> ClaimRow:
    """The share of the LoRA's effect that its mean difference keeps."""
    return ClaimRow(
        f"swap-{where.replace(' ', '-')}",
        f"The LoRA's mean difference, added at {tokens}, does what the LoRA does",
        partial(_swap, where=where),
        rules.rule(
            [conditions.low_reaches(0.8), conditions.above_nulls()],
            [conditions.low_reaches(0.25), conditions.above_nulls()],
            [conditions.parts_above(0, EFFECT, words=f"{EFFECT} is above 0 by Student's t")],
        ),
    )


def free_answers_claim(arm: str) -> ClaimRow:
    """Answers in the model's own words."""
    part = [conditions.paired_above("the untouched model")]
    return ClaimRow(
        f"{arm}-free-answers",
        f"With {NAMES[arm]} the model also says in its own words what it was never told",
        partial(_free, arm=arm),
        rules.rule(
            [*part, conditions.mean_reaches(FREE_ENOUGH)],
            part,
            note="Random directions, controls and ceiling are not asked.",
        ),
    )


EFFECTS = tuple(
    ClaimRow(
        f"{arm}-{id}",
        words.format(
            name=NAMES[arm], unconditional=UNCONDITIONAL[arm][0].upper() + UNCONDITIONAL[arm][1:]
        ),
        partial(_effect, arm=arm, kind=kind, id=f"{arm}-{id}"),
        rule,
    )
    for arm in METHODS
    for kind, id, words, rule in _EFFECTS
)
"""Whether the arm does out of context what it was trained for; one of four applies to a task."""

SHARED = (
    constancy_claim("cosine", "What the LoRA adds points the same way at every token", 0.9, 0.7),
    constancy_claim("energy", "One constant vector carries what the LoRA adds", 0.8, 0.5),
    swap_claim("at span", "the same tokens as the trained vector"),
    swap_claim("everywhere", "every token"),
    *(free_answers_claim(arm) for arm in METHODS),
)
"""Further claims for every run."""

COMMON = (*EFFECTS, *SHARED)
