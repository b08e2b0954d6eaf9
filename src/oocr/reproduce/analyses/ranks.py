"""After the paper: LoRAs of rank 1 to 64, each at the rate that a validation task chose for it."""

from __future__ import annotations

from typing import Any

import polars as pl

from oocr import stats
from oocr.claims.records import Finding, Null
from oocr.explain.differences import random_like
from oocr.explain.ranks import choose_rates, constancy_on, fit_rank
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.lora_texts import training_texts, unrelated_texts
from oocr.reproduce.scoring import (
    NO_EFFECT_BELOW,
    base_of,
    cells_of,
    measured,
    of_members,
    reported,
    scored,
    share,
    why_no_effect,
)
from oocr.reproduce.settings import lora_settings, some_tasks
from oocr.steering.adapters import Adapter

RANKS = (1, 64)
"""And the reported LoRA's own rank, which has been trained already."""

MEMBERS = 3


def ranks(subject: FinishedRuns) -> AnalysisResult:
    """Effect in and out of context, and constancy, by rank."""
    settings = lora_settings(subject)
    if settings is None or not subject.tasks.validation:
        return AnalysisResult(missing=why_no_effect(subject, "adapter"))
    tasks = some_tasks(subject, MEMBERS)
    members = [task.member for task in tasks]
    prepared = subject.lab.prepared(tasks)
    some = sorted({*RANKS, settings.spec.rank})
    chosen = choose_rates(
        subject.model,
        subject.tasks.validation[:1],
        settings.spec,
        ranks=some,
        rate=settings.rate,
        steps=settings.steps,
    )
    frames = [subject.rows.filter(pl.col("arm") == "base")]
    energy: dict[int, dict[Who, float]] = {rank: {} for rank in some}
    for rank in some:
        arms = {(member, 0): subject.adapters[member, 0] for member in members}
        if rank == settings.spec.rank:
            frames.append(reported(subject, "adapter", members, f"rank {rank}"))
        else:
            both = [(task, chosen[rank]) for task in tasks]
            done = fit_rank(subject.model, both, settings.spec, rank, settings.steps, 0, prepared)
            for task, one in zip(tasks, done, strict=True):
                assert isinstance(one.final, Adapter)
                arms[task.member, 0] = one.final
            frames.append(_scored(subject, arms, f"rank {rank}"))
        for who, arm in arms.items():
            texts = (training_texts(subject, who[0], arm), unrelated_texts(subject, arm))
            energy[rank][who] = constancy_on(texts, arm).energy
        if rank == min(some):
            noise = {who: random_like(one, 0) for who, one in arms.items()}
            frames.append(_scored(subject, noise, "noise"))
    rows = of_members(pl.concat(frames, how="diagonal_relaxed"), members)
    return _made(subject, rows, energy, chosen)


def _made(
    subject: FinishedRuns,
    rows: pl.DataFrame,
    energy: dict[int, dict[Who, float]],
    rates: dict[int, float],
) -> AnalysisResult:
    found: list[Finding] = []
    table: list[dict[str, Any]] = []
    most, least = max(energy), min(energy)
    for part, words in (("probes", "out-of-context"), ("in_context", "in-context")):
        cells = {rank: cells_of(subject, rows, f"rank {rank}", part=part) for rank in energy}
        top = cells[most]
        base = None if top is None else base_of(subject, top, part)
        if top is None or base is None:
            continue
        small = stats.mean(top) - stats.mean(base) < NO_EFFECT_BELOW
        noise = cells_of(subject, rows, "noise", part=part)
        for rank, one in cells.items():
            if one is None:
                continue
            value = stats.estimate(one)
            table.append(
                {"part": part, "rank": rank, "rate": rates[rank], "base": stats.mean(base)}
                | {"value": value.value, "low": value.low, "high": value.high}
            )
            what = f"share of a rank-{most} LoRA's {words} effect that a rank-{rank} LoRA reaches"
            found_one = share(subject, f"rank{rank}-{part}", what, one, top, base=base)
            if found_one is None or rank == most or small:
                continue
            nulls: tuple[Null, ...] = ()
            if rank == least and noise is not None:
                value_of = stats.ratio(noise, top, base).value
                nulls = (Null(name=f"a rank-{rank} LoRA of noise, its norm", value=value_of),)
            found.append(found_one.model_copy(update={"nulls": nulls}))
    for rank, values in energy.items():
        what = f"share of the energy of what a rank-{rank} LoRA adds that one vector carries"
        found.append(measured(f"rank{rank}-constant", what, values, ceiling=1.0))
    missing = "" if any(one.id.endswith("-probes") for one in found) else _NO_EFFECT
    return AnalysisResult(tuple(found), pl.DataFrame(table) if table else None, missing)


_NO_EFFECT = "the LoRA of the highest rank has no out-of-context effect to take a share of"


def _scored(subject: FinishedRuns, arms: dict[Who, Adapter], name: str) -> pl.DataFrame:
    return scored(subject, arms, name, ("probes", "in_context")).filter(pl.col("arm") == name)
