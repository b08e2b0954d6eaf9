"""Section 4.2: the authors' pairs of differences, with their signs, and one vector for all."""

from __future__ import annotations

from typing import Any

import polars as pl
import torch

from oocr.charts.figure import Figure
from oocr.charts.panels import Tables, figure_of, histogram_panel
from oocr.claims.judge import NAMES
from oocr.explain.constancy import constancy_by_group
from oocr.explain.differences import random_like
from oocr.explain.swap import PairCosines, last_differences, pairs_of
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.directions import first_texts, task_texts
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import NotMeasuredError, measured, null_of_mean
from oocr.stats import SHARE, SIGNED
from oocr.steering.adapters import Adapter

BINS = 40


def pairs(finished: FinishedRuns) -> AnalysisResult:
    """Cosines of all pairs of the LoRA's differences at the last tokens of two texts."""
    adapters = _adapters(finished)

    def read(who: Who, adapter: Adapter) -> PairCosines:
        return pairs_of(last_differences(adapter, *first_texts(finished, who[0], adapter)))

    by_lora = {who: read(who, adapter) for who, adapter in adapters.items()}
    noise = {
        who: read(who, random_like(adapter, 0)).absolute
        for who, adapter in adapters.items()
        if who[1] == 0
    }
    table: list[dict[str, Any]] = []
    for (member, seed), lora in by_lora.items():
        counts = torch.histc(torch.tensor(lora.values, dtype=torch.float64), BINS, -1, 1)
        table += [
            {"kind": "LoRA", "member": member, "seed": seed, "cosine": -0.975 + 0.05 * place}
            | {"pairs": int(count)}
            for place, count in enumerate(counts.tolist())
        ]
    nulls = null_of_mean("LoRAs of Gaussian noise", noise)
    where = "over all pairs of the last 20 tokens of a training prompt and of unrelated text"
    absolute = {who: lora.absolute for who, lora in by_lora.items()}
    signed = {who: lora.signed for who, lora in by_lora.items()}
    what = f"mean signed cosine {where}"
    findings = (
        measured("pairs", f"mean |cos| {where}", absolute, nulls, bounds=SHARE, ceiling=1.0),
        measured("pairs-signed", what, signed, nulls, bounds=SIGNED, ceiling=1.0),
    )
    return AnalysisResult.of(findings, table)


def pairs_figure(tables: Tables) -> Figure | None:
    """Histogram of the pairs' signed cosines."""
    panels = []
    for name, table in tables.items():
        counts = table.group_by("cosine").agg(pl.col("pairs").sum()).sort("cosine")
        shares = counts["pairs"].to_numpy() / max(1, int(counts["pairs"].sum()))
        groups, x = [("LoRA", "adapter", shares.tolist())], "cosine of two tokens' differences"
        bins = counts["cosine"].to_list()
        panels.append(histogram_panel(bins, groups, x, "share of pairs", title=name))
    caption = (
        "What the LoRA adds at its block's output, at the last 20 tokens of a training prompt and "
        "of an unrelated passage: signed cosines of all 780 pairs, all members and seeds. The "
        "paper shows their absolute value."
    )
    return figure_of("pairs", caption, panels, tables)


def grouped(finished: FinishedRuns) -> AnalysisResult:
    """What a vector for each group of tokens carries beyond what one vector carries."""
    common: dict[Who, float] = {}
    more: dict[Who, float] = {}
    table: list[dict[str, Any]] = []
    for who, adapter in _adapters(finished).items():
        texts = task_texts(finished, who[0], adapter)
        shares = constancy_by_group(texts, adapter, finished.positions).shares
        common[who], more[who] = shares.common, shares.grouped - shares.common
        table.append(
            {"member": who[0], "seed": who[1], "one": shares.common, "grouped": shares.grouped}
            | {f"by {name}": share for name, share in shares.by_group.items()}
        )
    what = "share of the energy of what the LoRA adds that "
    groups = (
        "a mean vector for each group of tokens (span, other prompt tokens, unrelated text) "
        "carries beyond one mean vector"
    )
    mean = "one mean vector for all groups carries"
    findings = (
        measured("grouped", what + groups, more, bounds=SHARE),
        measured("one", what + mean, common, bounds=SHARE, ceiling=1.0),
    )
    return AnalysisResult.of(findings, table)


def _adapters(finished: FinishedRuns) -> dict[Who, Adapter]:
    if not finished.adapters:
        raise NotMeasuredError(f"no run of this subject trained {NAMES['adapter']}")
    return finished.adapters
