"""Section 4.2: the authors' pairs of differences, with their signs, and one vector for all."""

from __future__ import annotations

from typing import Any

import polars as pl
import torch
from torch import Tensor

from oocr.claims.records import Null
from oocr.claims.results import NAMES
from oocr.explain.constancy import constancy_by_group
from oocr.explain.differences import random_like
from oocr.explain.natural import last_differences, pairs_of
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.lora_texts import first_texts, task_texts
from oocr.reproduce.scoring import by_member, measured
from oocr.steering.adapters import Adapter


def pairs(subject: FinishedRuns) -> AnalysisResult:
    """Cosines of all pairs of the LoRA's differences at the last tokens of two texts."""
    if not subject.adapters:
        return AnalysisResult(missing=f"no run of this subject trained {NAMES['adapter']}")
    absolute: dict[Who, float] = {}
    signed: dict[Who, float] = {}
    noise: dict[Who, float] = {}
    table: list[dict[str, Any]] = []
    for (member, seed), adapter in subject.adapters.items():
        found = pairs_of(_last(subject, member, adapter))
        absolute[member, seed], signed[member, seed] = found.absolute, found.signed
        counts = torch.histc(torch.tensor(found.values, dtype=torch.float64), 40, -1, 1)
        table += [
            {"kind": "LoRA", "member": member, "seed": seed, "cosine": -0.975 + 0.05 * i}
            | {"pairs": int(count)}
            for i, count in enumerate(counts.tolist())
        ]
        if seed == 0:
            noise[member, seed] = pairs_of(_last(subject, member, random_like(adapter, 0))).absolute
    nulls = [_mean("LoRAs of Gaussian noise", noise)]
    where_read = "over all pairs of the last 20 tokens of a training prompt and of unrelated text"
    return AnalysisResult(
        (
            measured("pairs", f"mean |cos| {where_read}", absolute, nulls, ceiling=1.0),
            measured(
                "pairs-signed", f"mean signed cosine {where_read}", signed, nulls, ceiling=1.0
            ),
        ),
        pl.DataFrame(table),
    )


def grouped(subject: FinishedRuns) -> AnalysisResult:
    """What a vector for each group of tokens carries beyond what one vector carries."""
    if not subject.adapters:
        return AnalysisResult(missing=f"no run of this subject trained {NAMES['adapter']}")
    one: dict[Who, float] = {}
    more: dict[Who, float] = {}
    table: list[dict[str, Any]] = []
    for (member, seed), adapter in subject.adapters.items():
        texts = task_texts(subject, member, adapter)
        shares = constancy_by_group(texts, adapter, subject.positions).shares
        one[member, seed], more[member, seed] = shares.one, shares.grouped - shares.one
        table.append(
            {"member": member, "seed": seed, "one": shares.one, "grouped": shares.grouped}
            | {f"by {name}": share for name, share in shares.by_group.items()}
        )
    what = "share of the energy of what the LoRA adds that "
    each = (
        "a mean vector for each group of tokens (span, other prompt tokens, unrelated text) "
        "carries beyond one mean vector"
    )
    findings = (
        measured("grouped", what + each, more),
        measured("one", what + "one mean vector for all groups carries", one, ceiling=1.0),
    )
    return AnalysisResult(findings, pl.DataFrame(table))


def _last(subject: FinishedRuns, member: str, adapter: Adapter) -> Tensor:
    return last_differences(adapter, *first_texts(subject, member, adapter))


def _mean(name: str, values: dict[Who, float]) -> Null:
    some = by_member(values)
    return Null(name=name, value=sum(some) / len(some))
