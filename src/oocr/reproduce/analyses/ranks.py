"""After the paper: LoRAs of rank 1 to 64, each at the rate that a validation task chose for it."""

from __future__ import annotations

from typing import Any

import polars as pl

from oocr import stats
from oocr.charts.figure import Figure
from oocr.charts.panels import Tables, figure_of
from oocr.claims.records import Finding, Null
from oocr.explain.constancy import constancy_of
from oocr.explain.differences import joined, random_like
from oocr.explain.ranks import rank_sweep
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.directions import training_texts, unrelated_texts
from oocr.reproduce.drawing import split_keys, split_panels
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import (
    NO_EFFECT_BELOW,
    SPLITS,
    NotMeasuredError,
    base_of,
    cells_of,
    interval_columns,
    measured,
    of_members,
    renamed,
    reported,
    scored,
    share,
    stacked,
    why_no_effect,
)

RANKS = (1, 64)
"""And the reported LoRA's own rank, which has been trained already."""

MEMBERS = 3
NO_EFFECT = "the LoRA of the highest rank has no out-of-context effect to take a share of"


def ranks(finished: FinishedRuns) -> AnalysisResult:
    """Effect in and out of context, and constancy, by rank."""
    trained_as = finished.lora_trained_as()
    if trained_as is None or not finished.tasks.validation:
        raise NotMeasuredError(why_no_effect(finished, "adapter"))
    tasks = finished.tasks.test[:MEMBERS]
    members = [task.member for task in tasks]
    own_rank = trained_as.spec.rank
    points = rank_sweep(
        finished.model,
        tasks,
        trained_as.spec,
        finished.tasks.validation[:1],
        ranks=sorted({*RANKS} - {own_rank}),
        rate=trained_as.rate,
        steps=trained_as.steps,
        prepared=finished.context.prepared(tasks),
    )
    loras = {(point.rank, (point.member, 0)): point.adapter for point in points}
    loras |= {(own_rank, (name, 0)): finished.adapters[name, 0] for name in members}
    energy = {(point.rank, (point.member, 0)): point.constancy.energy for point in points}
    for name in members:
        lora = finished.adapters[name, 0]
        texts = (training_texts(finished, name, lora), unrelated_texts(finished, lora))
        energy[own_rank, (name, 0)] = constancy_of(joined(texts, lora)).energy
    tried = sorted({*RANKS, own_rank})
    noise = {who: random_like(lora, 0) for (rank, who), lora in loras.items() if rank == tried[0]}
    rows = stacked(
        finished.base_rows,
        reported(finished, "adapter", members, f"rank {own_rank}"),
        scored(finished, noise, "noise", SPLITS).filter(pl.col("arm") == "noise"),
        *[renamed(point.scores.rows, f"rank {point.rank}", point.member) for point in points],
    )
    rates = {own_rank: trained_as.rate} | {point.rank: point.learning_rate for point in points}
    findings, table = _shares(finished, of_members(rows, members), rates)
    for rank in tried:
        what = f"share of the energy of what a rank-{rank} LoRA adds that one vector carries"
        values: dict[Who, float] = {who: v for (of, who), v in energy.items() if of == rank}
        findings.append(
            measured(f"rank{rank}-constant", what, values, bounds=stats.SHARE, ceiling=1.0)
        )
    missing = "" if any(finding.id.endswith("-probes") for finding in findings) else NO_EFFECT
    return AnalysisResult(tuple(findings), pl.DataFrame(table) if table else None, missing)


def _shares(
    finished: FinishedRuns, rows: pl.DataFrame, rates: dict[int, float]
) -> tuple[list[Finding], list[dict[str, Any]]]:
    """What each rank reaches of the highest rank's effect, and the figure's table."""
    findings: list[Finding] = []
    table: list[dict[str, Any]] = []
    least, *_, most = tried = sorted(rates)
    for split, words in (("probes", "out-of-context"), ("in_context", "in-context")):
        cells = {rank: cells_of(finished, rows, f"rank {rank}", split=split) for rank in tried}
        top = cells[most]
        base = None if top is None else base_of(finished, top, split)
        if top is None or base is None:
            continue
        start = stats.mean(base)
        noise = cells_of(finished, rows, "noise", split=split)
        for rank, arm in cells.items():
            if arm is None:
                continue
            shown = {"part": split, "rank": rank, "rate": rates[rank], "base": start}
            table.append({**shown, **interval_columns(arm)})
            if rank == most or stats.mean(top) - start < NO_EFFECT_BELOW:
                continue
            nulls = []
            if rank == least and noise is not None:
                value = stats.ratio(noise, top, base).value
                nulls = [Null(name=f"a rank-{rank} LoRA of noise, its norm", value=value)]
            what = f"share of a rank-{most} LoRA's {words} effect that a rank-{rank} LoRA reaches"
            id = f"rank{rank}-{split}"
            findings += share(finished, id, what, arm, top, base=base, nulls=nulls)
    return findings, table


def ranks_figure(tables: Tables) -> Figure | None:
    """Scores by rank of the LoRA."""
    panels = split_panels(tables, "rank", "rank", log=True)
    caption = (
        "Scores of LoRAs of each rank in one block, alpha = rank, on the same rows and steps; each "
        "rank at the rate that a validation task chose for it. Bars: 95 % intervals over members. "
        "Grey: untouched model, out of context."
    )
    return figure_of("ranks", caption, panels, tables, split_keys())
