"""After the paper: does the effect survive unrelated rows in the training data?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import torch

from oocr import stats
from oocr.claims.records import Finding
from oocr.explain.differences import SKIP
from oocr.explain.mixing import fit_mixed
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
from oocr.reproduce.settings import Settings, lora_settings, some_tasks
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.tasks.task import Task

MEMBERS = 3
SHARES = (0.0, 0.8)


def mixing(subject: FinishedRuns) -> AnalysisResult:
    """Effect in and out of context, and what a LoRA adds to unrelated text, by share mixed in."""
    settings = lora_settings(subject)
    if settings is None or subject.tasks.test[0].loss != "answer":
        return AnalysisResult(missing=why_no_effect(subject, "adapter"))
    tasks = some_tasks(subject, MEMBERS)
    members = [task.member for task in tasks]
    frames = [subject.rows.filter(pl.col("arm") == "base")]
    spill: dict[float, dict[Who, float]] = {}
    # The reported LoRAs are those without a mix where all rows fit into each of their steps too.
    whole = all(len(task.train) <= settings.batch_lines for task in tasks)
    for mix in SHARES:
        name = f"mix {mix:g}"
        if not mix and whole:
            arms = {(one, 0): subject.adapters[one, 0] for one in members}
            frames.append(reported(subject, "adapter", members, name))
        else:
            arms = _mixed(subject, tasks, settings, mix)
            rows = scored(subject, arms, name, ("probes", "in_context"))
            frames.append(rows.filter(pl.col("arm") == name))
        spill[mix] = {who: _spill(subject, who[0], one) for who, one in arms.items()}
    rows = of_members(pl.concat(frames, how="diagonal_relaxed"), members)
    found: list[Finding] = []
    table: list[dict[str, Any]] = []
    for part, words in (("probes", "out of context"), ("in_context", "in context")):
        cells = {mix: cells_of(subject, rows, f"mix {mix:g}", part=part) for mix in SHARES}
        plain = cells[0.0]
        base = None if plain is None else base_of(subject, plain, part)
        if plain is None or base is None:
            continue
        for mix, own in cells.items():
            if own is None:
                continue
            value = stats.estimate(own)
            table.append(
                {"part": part, "mix": mix, "base": stats.mean(base), "value": value.value}
                | {"low": value.low, "high": value.high}
            )
            if not mix or stats.mean(plain) - stats.mean(base) < NO_EFFECT_BELOW:
                continue
            what = f"share of the effect {words} that is left when {mix:.0%} of the training rows "
            kept = share(
                subject, f"{part}-{100 * mix:.0f}", what + "are unrelated", own, plain, base=base
            )
            found += [kept] if kept else []
    for mix, values in spill.items():
        what = "length of what the LoRA adds to unrelated text, as a share of what it adds to "
        what += f"training prompts; {mix:.0%} of the rows unrelated"
        found.append(measured(f"spill-{100 * mix:.0f}", what, values))
    return AnalysisResult(tuple(found), pl.DataFrame(table) if table else None)


def _mixed(
    subject: FinishedRuns, tasks: Sequence[Task], settings: Settings[LowRankAdapter], mix: float
) -> dict[Who, Adapter]:
    """LoRAs trained on a mix."""
    done = fit_mixed(subject.model, tasks, settings.spec, mix, settings.rate, settings.steps, 0)
    arms: dict[Who, Adapter] = {}
    for task, one in zip(tasks, done, strict=True):
        assert isinstance(one.final, Adapter)
        arms[task.member, 0] = one.final
    return arms


def _spill(subject: FinishedRuns, member: str, adapter: Adapter) -> float:
    """Mean length of d on unrelated text over that on training prompts.

    The text is none of that which the mixed rows are made of.
    """
    own, other = (
        torch.cat([d[SKIP:] for d in texts.differences(adapter)]).norm(dim=1).mean()
        for texts in (training_texts(subject, member, adapter), unrelated_texts(subject, adapter))
    )
    return float(other / own)
