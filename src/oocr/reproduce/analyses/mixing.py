"""After the paper: does the effect survive unrelated rows in the training data?"""

from __future__ import annotations

from typing import Any

import polars as pl

from oocr import stats
from oocr.charts.figure import Figure
from oocr.charts.panels import Tables, figure_of
from oocr.claims.records import Finding
from oocr.explain.differences import joined
from oocr.explain.mixing import mixing as mixed_loras
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
    share,
    stacked,
    why_no_effect,
)
from oocr.steering.adapters import Adapter

MEMBERS = 3
SHARES = (0.0, 0.8)


def mixing(finished: FinishedRuns) -> AnalysisResult:
    """Effect in and out of context, and what a LoRA adds to unrelated text, by share mixed in."""
    trained_as = finished.lora_trained_as()
    if trained_as is None or finished.tasks.test[0].loss != "answer":
        raise NotMeasuredError(why_no_effect(finished, "adapter"))
    tasks = finished.tasks.test[:MEMBERS]
    members = [task.member for task in tasks]
    frames = [finished.base_rows]
    loras: dict[tuple[float, Who], Adapter] = {}
    shares = list(SHARES)
    # The reported LoRAs are those without a mix where all rows fit into each of their steps too.
    if all(len(task.train) <= trained_as.batch_lines for task in tasks):
        shares.remove(0.0)
        frames.append(reported(finished, "adapter", members, "mix 0"))
        loras |= {(0.0, (name, 0)): finished.adapters[name, 0] for name in members}
    for point in mixed_loras(
        finished.model,
        tasks,
        trained_as.spec,
        shares=shares,
        learning_rate=trained_as.rate,
        steps=trained_as.steps,
    ):
        frames.append(renamed(point.scores.rows, f"mix {point.share:g}", point.member))
        loras[point.share, (point.member, 0)] = point.adapter
    rows = of_members(stacked(*frames), members)
    findings: list[Finding] = []
    table: list[dict[str, Any]] = []
    for split, words in SPLITS.items():
        cells = {mix: cells_of(finished, rows, f"mix {mix:g}", split=split) for mix in SHARES}
        plain = cells[0.0]
        base = None if plain is None else base_of(finished, plain, split)
        if plain is None or base is None:
            continue
        for mix, arm in cells.items():
            if arm is None:
                continue
            start = stats.mean(base)
            table.append({"part": split, "mix": mix, "base": start, **interval_columns(arm)})
            if mix and stats.mean(plain) - start >= NO_EFFECT_BELOW:
                what = f"share of the effect {words} that is left when {mix:.0%} of the training "
                id = f"{split}-{100 * mix:.0f}"
                findings += share(finished, id, what + "rows are unrelated", arm, plain, base=base)
    for mix in SHARES:
        what = "length of what the LoRA adds to unrelated text, as a share of what it adds to "
        what += f"training prompts; {mix:.0%} of the rows unrelated"
        spill = {
            who: _spill(finished, who[0], lora) for (at, who), lora in loras.items() if at == mix
        }
        findings.append(measured(f"spill-{100 * mix:.0f}", what, spill, bounds=stats.POSITIVE))
    return AnalysisResult(tuple(findings), pl.DataFrame(table) if table else None)


def _spill(finished: FinishedRuns, member: str, lora: Adapter) -> float:
    """Mean length of d on unrelated text over that on training prompts.

    The text is none of that which the mixed rows are made of.
    """
    training, unrelated = (
        joined([texts], lora).norm(dim=1).mean()
        for texts in (training_texts(finished, member, lora), unrelated_texts(finished, lora))
    )
    return float(unrelated / training)


def mixing_figure(tables: Tables) -> Figure | None:
    """Scores by share of unrelated rows."""
    panels = split_panels(tables, "mix", "share of the training rows that are unrelated")
    caption = (
        "Scores of LoRAs whose narrow rows, all of them in every step, were joined by unrelated "
        "ones. Bars: 95 % intervals over members. Grey: untouched model, out of context."
    )
    return figure_of("mixing", caption, panels, tables, split_keys())
