"""After the paper: is a LoRA's first direction necessary, and does training find another?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from oocr import stats
from oocr.claims.records import Finding, Null
from oocr.evals.table import rows as score_rows
from oocr.explain.subspace import scores_without
from oocr.explain.without import Without, rows_without, train_without
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.lora_texts import natural
from oocr.reproduce.scoring import (
    NO_EFFECT_BELOW,
    base_of,
    cells_of,
    has_effect,
    measured,
    of_members,
    seed0,
    share,
    why_no_effect,
)
from oocr.reproduce.settings import lora_settings, some_tasks
from oocr.steering.vectors import Vector, random_vector

RANDOMS = 2
MEMBERS = 3
"""Members whose LoRAs are trained anew."""


def ablation(subject: FinishedRuns) -> AnalysisResult:
    """The LoRA's effect with what it adds projected off its own first direction.

    Only what the LoRA adds loses the direction. Taking it out of the whole stream breaks the
    untouched model too (see `oocr.explain.without`): a random direction then seemed to carry four
    tenths of the effect.
    """
    whole = cells_of(subject, subject.rows, "adapter")
    if whole is None or not subject.adapters or not has_effect(subject, "adapter"):
        return AnalysisResult(missing=why_no_effect(subject, "adapter"))
    vectors = {who: one for who, one in natural(subject)["first direction"].items() if who[1] == 0}
    names = ["own", *[f"random {n}" for n in range(1 if subject.quick else RANDOMS)]]
    frames = [_base(subject)]
    for (member, seed), vector in vectors.items():
        probes = subject.task(member).probes
        drawn = [_random(vector, n) for n in range(len(names) - 1)]
        directions = torch.stack([vector.direction, *drawn])
        adapter = subject.adapters[member, seed]
        every = scores_without(subject.model, probes, adapter, directions)
        for name, one in zip(names, every, strict=True):
            frames.append(score_rows(probes, one, _columns(name, member, "probes")))
    rows = pl.concat(frames, how="diagonal_relaxed")
    first, found = seed0(whole), {name: cells_of(subject, rows, name) for name in names}
    own, base = found["own"], base_of(subject, first)
    if own is None or base is None:
        return AnalysisResult(missing="the answers without the direction cannot be scored")
    left = [
        stats.ratio(one, first, base).value for name, one in found.items() if one and name != "own"
    ]
    what = "share of the LoRA's out-of-context effect that is left when what it adds is projected "
    one = share(subject, "kept", what + "off its first direction", own, first)
    if one is None:
        return AnalysisResult(missing="no effect to take a share of")
    null = Null(name="projected off a random direction", value=float(np.mean(left)))
    return AnalysisResult((one.model_copy(update={"nulls": (null,)}),))


def relearned(subject: FinishedRuns) -> AnalysisResult:
    """LoRAs trained to do without the first direction of the reported one."""
    settings = lora_settings(subject)
    whole = cells_of(subject, subject.rows, "adapter")
    if settings is None or whole is None or not has_effect(subject, "adapter"):
        return AnalysisResult(missing=why_no_effect(subject, "adapter"))
    directions = natural(subject)["first direction"]
    frames, alone = [_base(subject)], dict[Who, float]()
    members = [task.member for task in some_tasks(subject, MEMBERS)]
    for member in members:
        task, vector, earlier = (
            subject.task(member),
            directions[member, 0],
            subject.adapters[member, 0],
        )
        frames.append(
            _named(rows_without(subject.model, task, earlier, vector.direction), "earlier", member)
        )
        for name, u in (("new", vector.direction), ("random", _random(vector, 0))):
            done: Without = train_without(
                subject.model,
                task,
                settings.spec,
                u,
                learning_rate=settings.rate,
                steps=settings.steps,
                batch_lines=settings.batch_lines,
            )
            frames.append(_named(done.rows, name, member))
            if name == "new":
                alone[member, 0] = done.cosine
    reported = of_members(subject.rows, members).filter(pl.col("seed").fill_null(0) == 0)
    frames.append(reported.filter(pl.col("arm") == "adapter"))
    rows = pl.concat(frames, how="diagonal_relaxed")
    found: list[Finding] = []
    table: list[dict[str, Any]] = []
    for part, words in (("probes", "out-of-context"), ("in_context", "in-context")):
        cells = {name: cells_of(subject, rows, name, part=part) for name in _ARMS}
        plain = cells["adapter"]
        base = None if plain is None else base_of(subject, plain, part)
        if plain is None or base is None:
            continue
        table += [_row(part, name, one) for name, one in cells.items() if one is not None]
        table.append(_row(part, "base", base))
        if stats.mean(plain) - stats.mean(base) < NO_EFFECT_BELOW or cells["new"] is None:
            continue
        for name, words_of in _SCORED.items():
            own = cells[name]
            what = f"share of the plain LoRA's {words} effect {words_of}"
            one = own and share(subject, f"{name}-{part}", what, own, plain, base=base)
            found += [one] if one else []
    found = _beside(found)
    found.append(measured("cosine", "|cos| of its own first direction with that direction", alone))
    return AnalysisResult(tuple(found), pl.DataFrame(table))


def _beside(found: Sequence[Finding]) -> list[Finding]:
    """The LoRA trained without a random direction as the null of the one without its own."""
    values = {one.id: one.found.value for one in found}
    every = []
    for one in found:
        twin = values.get(one.id.replace("new-", "random-")) if one.id.startswith("new-") else None
        null = () if twin is None else (Null(name="trained without a random one", value=twin),)
        every.append(one.model_copy(update={"nulls": null}))
    return every


_ARMS = ("adapter", "earlier", "new", "random")
_SCORED: Mapping[str, str] = {
    "new": "that a LoRA reaches which was trained to do without the plain one's first direction",
    "random": "that a LoRA reaches which was trained to do without a random direction",
    "earlier": "that is left of the plain LoRA, projected off its first direction",
}


def _random(like: Vector, number: int) -> Tensor:
    return random_vector(like, like.norm, 50_000 + number).direction


def _base(subject: FinishedRuns) -> pl.DataFrame:
    return subject.rows.filter(pl.col("arm") == "base")


def _columns(arm: str, member: str, part: str) -> dict[str, str | int | float | None]:
    return {
        **{"arm": arm, "control": "", "member": member, "seed": 0, "part": part},
        **{"step": None, "final": True},
    }


def _named(rows: pl.DataFrame, arm: str, member: str) -> pl.DataFrame:
    columns = _columns(arm, member, "")
    fixed = [pl.lit(value).alias(name) for name, value in columns.items() if name != "part"]
    return rows.with_columns(*fixed)


def _row(part: str, arm: str, cells: stats.Cells) -> dict[str, Any]:
    one = stats.estimate(cells)
    return {"part": part, "arm": arm, "value": one.value, "low": one.low, "high": one.high}
