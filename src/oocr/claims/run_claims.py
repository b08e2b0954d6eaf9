"""Claims with verdicts, each by a rule that is the same for every task and shown with its claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from oocr import stats
from oocr.claims.judging import (
    NAMES,
    at_least,
    control_nulls,
    estimate_of,
    n_of,
    over,
    random_null,
    rule_of,
    seeds_of,
    several,
    testable,
    verdict_of,
)
from oocr.claims.nano import specific
from oocr.claims.records import Claim, Null
from oocr.claims.risk_backdoor import risk_backdoor
from oocr.stats import FEWEST, Cells

if TYPE_CHECKING:
    from oocr.runs.write_results import Results

GAP = 0.5
"""Share of the way from base to ceiling beyond which an effect holds, and not only in part."""


def claims(results: Results, constancy: pl.DataFrame | None, command: str) -> list[Claim]:
    """All claims that these results can speak to, in the order of the paper."""
    found: list[Claim | None] = []
    for arm in ("vector", "adapter"):
        if results.tasks.score == "log_odds":
            found.append(_contrast(results, arm, command))
            if results.tasks.name == "nano/risk":
                found.append(specific(results, arm, command))
        elif results.tasks.name in ("backdoor", "nano/backdoor"):
            found.append(_backdoor(results, arm, command))
        elif results.tasks.name == "risk_backdoor":
            found += risk_backdoor(results, arm, command)
        else:
            found.append(_out_of_context(results, arm, command))
    if constancy is not None and len(constancy):
        found.extend(_constancy(results, constancy, command))
    found.extend(_swap(results, arm, command) for arm in ("swap at span", "swap everywhere"))
    return [one for one in found if one is not None]


def _out_of_context(results: Results, arm: str, command: str) -> Claim | None:
    cells = results.scoring.cells(results.rows, arm)
    base = results.scoring.cells(results.rows, "base")
    if cells is None or base is None:
        return None
    top = results.scoring.cells(results.rows, "ceiling")
    random = random_null(results)
    controls = control_nulls(results, arm)
    interval = stats.estimate(cells)
    ceiling = stats.mean(top) if top is not None else None
    start = stats.mean(base)
    beats = over(interval.low, start) and (random is None or over(interval.low, random.value))
    beats = beats and all(over(stats.estimate(cells - other).low, 0) for _, other in controls)
    far = ceiling is None or at_least(interval.value - start, GAP * (ceiling - start))
    judged = Claim(
        id=f"{arm}-out-of-context",
        claim=f"Trained on one facet, {NAMES[arm]} makes the model answer the others",
        measure="out-of-context accuracy, answer-balanced",
        found=estimate_of(interval, n_of(cells, "members" if several(results) else "probe groups")),
        base=stats.mean(base),
        nulls=tuple(([random] if random else []) + [null for null, _ in controls]),
        ceiling=ceiling,
        verdict=verdict_of(beats and far and bool(controls), beats),
        rule=rule_of(
            "holds: the interval's lower end is above base and the random directions' 95th "
            "centile, the paired difference to every trained control is above 0, and the score is "
            "at least half of the way from base to ceiling; in part: all but the last.",
            controlled=bool(controls),
        ),
        command=command,
    )
    return testable(judged, len(cells.clusters))


def _backdoor(results: Results, arm: str, command: str) -> Claim | None:
    cells = results.scoring.cells(results.rows, arm)
    base = results.scoring.cells(results.rows, "base")
    if cells is None or base is None:
        return None
    random = random_null(results)
    controls = control_nulls(results, arm)
    top = results.scoring.cells(results.rows, "ceiling")
    interval = stats.estimate(cells)
    sides = [stats.estimate(cells.only(facet)).low for facet in cells.facets]
    beats = over(interval.low, 0.5) and (random is None or over(interval.low, random.value))
    beats = beats and all(over(stats.estimate(cells - other).low, 0) for _, other in controls)
    what = "one unconditional vector" if arm == "vector" else "a one-layer LoRA"
    new, unit = "prefixes or wordings", "pairs"
    if results.tasks.name == "nano/backdoor":
        new, unit = "choices", "members"
    judged = Claim(
        id=f"{arm}-backdoor",
        claim=f"{what[0].upper()}{what[1:]} carries a backdoor: X after a trigger, Y otherwise",
        measure=f"mean of the accuracies with and without trigger, on held-out {new}",
        found=estimate_of(interval, n_of(cells, unit if several(results) else "probe groups")),
        base=stats.mean(base),
        nulls=tuple(([random] if random else []) + [null for null, _ in controls]),
        ceiling=stats.mean(top) if top is not None else None,
        verdict=verdict_of(beats and over(min(sides), 0.5) and bool(controls), beats),
        rule=rule_of(
            "holds: the interval's lower end is above one half, above the random directions' "
            "95th centile and (paired) above the decorrelated control, and so is the lower end "
            "above one half with the trigger and without it, each alone; in part: all but the "
            "last.",
            controlled=bool(controls),
        ),
        command=command,
    )
    return testable(judged, len(cells.clusters))


def _contrast(results: Results, arm: str, command: str) -> Claim | None:
    cells = results.scoring.cells(results.rows, arm)
    if cells is None:
        return None
    pair = results.tasks.poles
    random = results.scoring.random_scores(results.rows, "random direction")
    null = float(np.quantile(np.abs(random), 0.95)) if random else None
    pairs = "pairs of random directions" if pair else "random directions"
    nulls = []
    if null is not None:
        name = f"{len(random)} {pairs}, 95th centile of |contrast|"
        nulls.append(Null(name=name, value=null))
    shuffled = results.scoring.cells(results.rows, arm, "shuffled")
    if shuffled is not None:
        name = "shuffled training" + (", opposite twins" if pair else "")
        nulls.append(Null(name=name, value=stats.mean(shuffled)))
    top = results.scoring.cells(results.rows, "ceiling")
    interval = stats.estimate(cells)
    outside = null is None or over(interval.value, null)
    beats = over(interval.low, 0) and (null is None or over(interval.low, null))
    beats = beats and (shuffled is None or over(stats.estimate(cells - shuffled).low, 0))
    claim = (
        f"Trained only on choices, {NAMES[arm]} changes what the model says of itself"
        if pair
        else f"Trained on narrow data, {NAMES[arm]} moves the answers to the probes"
    )
    measure = (
        f"{pair[0]}-trained minus {pair[1]}-trained log-odds of the {pair[0]} answer, nats"
        if pair
        else "trained minus untouched log-odds of the trained pole, nats"
    )
    judged = Claim(
        id=f"{arm}-self-report" if pair else f"{arm}-out-of-context",
        claim=claim,
        measure=measure,
        found=estimate_of(interval, n_of(cells, "probes")),
        base=0.0,
        nulls=tuple(nulls),
        ceiling=stats.mean(top) if top is not None else None,
        verdict=verdict_of(beats and shuffled is not None, over(interval.low, 0) and outside),
        rule=rule_of(
            f"holds: the interval's lower end is above 0, above the {pairs}' 95th centile, "
            "and (paired) above shuffled training; in part: the lower end is above 0 and the mean "
            f"above the {pairs}' 95th centile. The ceiling is the trait stated in the prompt.",
            controlled=shuffled is not None,
        ),
        command=command,
    )
    return testable(judged, len(cells.clusters))


def _constancy(results: Results, frame: pl.DataFrame, command: str) -> list[Claim]:
    """Constancy over all three token groups, one number per LoRA, clustered by member."""
    out = []
    for field, claim, high, low in (
        ("cosine", "What the LoRA adds points the same way at every token", 0.9, 0.7),
        ("energy", "One constant vector carries what the LoRA adds", 0.8, 0.5),
    ):
        trained = _by_member(frame.filter(pl.col("kind") == "adapter"), field)
        n = f"{len(trained)} members × {seeds_of(results.config.seeds)}"
        if not several(results):  # one member: its seeds are all there is to draw
            trained = _by_seed(frame.filter(pl.col("kind") == "adapter"), field)
            n = f"1 member × {seeds_of(len(trained))}"
        noise = _by_member(frame.filter(pl.col("kind") == "random adapter"), field)
        interval = stats.mean_interval(trained)
        value = float(np.mean(noise)) if noise else None
        above = value is None or over(interval.low, value)
        measure = {
            "cosine": "signed cosine of a token's difference to the mean, over span, other prompt "
            "tokens and unrelated text",
            "energy": "share of the differences' energy in their mean, over the same tokens",
        }[field]
        # Of one LoRA the number is its own; of two there is no telling what others would be.
        units = len(trained) if len(trained) > 1 else FEWEST
        out.append(
            testable(
                Claim(
                    id=f"constancy-{field}",
                    claim=claim,
                    measure=measure,
                    found=estimate_of(interval, n),
                    nulls=(Null(name="LoRAs of Gaussian noise", value=value),) if value else (),
                    ceiling=1.0,
                    verdict=verdict_of(
                        above and at_least(interval.low, high),
                        above and at_least(interval.low, low),
                    ),
                    rule=f"holds: the interval's lower end is at least {high} and above a LoRA of "
                    f"noise with the same norms; in part: at least {low}.",
                    command=command,
                ),
                units,
            )
        )
    return out


def _by_member(frame: pl.DataFrame, field: str) -> list[float]:
    """Mean over token groups, then over seeds."""
    groups = frame.group_by("member", "seed").agg(pl.col(field).mean())
    groups = groups.sort("member", "seed")  # the order of a sum is part of the number
    return groups.group_by("member").agg(pl.col(field).mean()).sort("member")[field].to_list()


def _by_seed(frame: pl.DataFrame, field: str) -> list[float]:
    """Mean over token groups, of one member."""
    return frame.group_by("seed").agg(pl.col(field).mean()).sort("seed")[field].to_list()


def _swap(results: Results, arm: str, command: str) -> Claim | None:
    contrast = results.tasks.score == "log_odds"

    def of(name: str) -> Cells | None:
        return results.scoring.cells(results.rows, name)

    swap, whole = of(arm), of("adapter")
    if swap is None or whole is None:
        return None
    if contrast:
        base = Cells(np.zeros_like(whole.values), whole.weights, whole.clusters, whole.facets)
    else:
        found = of("base")
        if found is None:
            return None
        base = found
    where = {
        "swap at span": "the same tokens as the trained vector",
        "swap everywhere": "every token",
    }
    name = f"The LoRA's mean difference, added at {where[arm]}, does what the LoRA does"
    rule = (
        "holds: the interval's lower end is at least 0.8 and above the random directions' "
        "95th centile; in part: at least 0.25 and above that centile; cannot be tested: the "
        "LoRA's own effect is not above 0."
    )
    n = n_of(swap, "probes" if contrast else "members" if several(results) else "probe groups")
    effect = stats.estimate(whole - base)
    if not over(effect.low, 0):  # a share of nothing is no number
        return Claim(
            id=arm.replace(" ", "-"),
            claim=name,
            measure="the LoRA's own out-of-context effect (over base), of which no share is told",
            found=estimate_of(effect, n),
            base=0.0,
            verdict="cannot be tested",
            rule=rule,
            command=command,
        )
    random = random_null(results, arm.replace("swap", "random direction"))
    start = stats.mean(base)
    null = (random.value - start) / (stats.mean(whole) - start) if random is not None else None
    interval = stats.ratio(swap, whole, base)
    above = null is None or over(interval.low, null)
    judged = Claim(
        id=arm.replace(" ", "-"),
        claim=name,
        measure="share of the LoRA's out-of-context effect (over base) that is kept",
        found=estimate_of(interval, n),
        base=0.0,
        nulls=(Null(name=random.name, value=null),) if random and null is not None else (),
        ceiling=1.0,
        verdict=verdict_of(
            above and at_least(interval.low, 0.8), above and at_least(interval.low, 0.25)
        ),
        rule=rule,
        command=command,
    )
    return testable(judged, len(swap.clusters))
