"""After the paper: how many directions a LoRA needs, and whether its first one is necessary."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from oocr import stats
from oocr.charts.bars import bars_panel
from oocr.charts.figure import Figure, Tables, figure_of, joined_tables
from oocr.charts.lines import in_turn, line_keys, lines_by, lines_panel
from oocr.claims.records import Null
from oocr.explain import subspace
from oocr.intervals import SHARE
from oocr.reproduce import scoring
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Unit, lora_texts, natural_by_kind
from oocr.steering.adapters import LowRankAdapter
from oocr.steering.vectors import Vector, random_vector

KS = (0, 1, 2, 4, 8)
RANDOMS = 2
MEMBERS = 3  # whose LoRAs are trained anew


def _effect_of_first_seed(finished: FinishedRuns) -> stats.Cells:
    whole = scoring.effective(finished, "adapter")
    if not finished.adapters:
        raise scoring.NotMeasuredError(scoring.why_no_effect(finished, "adapter"))
    return scoring.first_seed(whole)


def directions(finished: FinishedRuns) -> AnalysisResult:
    """The LoRA's effect when what it adds may lie in its first k directions only."""
    whole = _effect_of_first_seed(finished)
    frames = [finished.base_rows]
    for (member, _), adapter in scoring.of_first_seed(finished.adapters).items():
        basis = subspace.basis_of(adapter, lora_texts(finished, member, adapter), most=max(KS))
        ks = [k for k in KS if k <= len(basis.vectors)]
        probes = finished.task(member).probes
        scores = subspace.projected_scores(finished.model, probes, adapter, basis, ks)
        frames += scoring.probe_rows(finished, member, [f"k{k}" for k in ks], scores)
    rows = scoring.stacked(*frames)
    result = AnalysisResult()
    for k in KS:
        what = f"share of the LoRA's out-of-context effect with its additions kept to {k} "
        what += "direction" + ("" if k == 1 else "s") + " (length and sign free)"
        cells = scoring.cells_of(finished, rows, f"k{k}")
        shares = scoring.share(finished, f"k{k}", what, cells, whole)
        ends = [share.found.model_dump(include={"value", "low", "high"}) for share in shares]
        result.findings += shares
        result.rows += [{"k": k, **columns} for columns in ends]
    return result


def directions_figure(tables: Tables) -> Figure | None:
    """The effect that k directions keep."""
    data, looks = joined_tables(tables), in_turn(tables)
    lines = lines_by(data, "about", looks, "k", intervals=True)
    ticks, y = sorted({float(k) for line in lines for k in line.x}), "share of the LoRA's effect"
    panel = lines_panel(lines, "directions", y, span=6, height=300, level=1.0, ticks=ticks)
    caption = (
        "What is left of the LoRA's out-of-context effect when its additions are projected on the "
        "first k directions of what it adds to other text. Bars: 95 % intervals over members."
    )
    keys = line_keys(looks)
    return figure_of("directions", caption, [panel] if lines else [], data, keys)


def ablation(finished: FinishedRuns) -> AnalysisResult:
    """The LoRA's effect with what it adds projected off its own first direction.

    Only what the LoRA adds loses the direction: taken out of the whole stream, it breaks the
    untouched model too (see `oocr.explain.subspace`).
    """
    whole = _effect_of_first_seed(finished)
    names = ["own", *[f"random {number}" for number in range(1 if finished.quick else RANDOMS)]]
    frames = [finished.base_rows]
    first = scoring.of_first_seed(natural_by_kind(finished)["first direction"])
    for (member, seed), vector in first.items():
        probes, adapter = finished.task(member).probes, finished.adapters[member, seed]
        drawn = [_random(vector, number) for number in range(len(names) - 1)]
        stack = torch.stack([vector.direction, *drawn])
        scores = subspace.scores_without(finished.model, probes, adapter, stack)
        frames += scoring.probe_rows(finished, member, names, scores)
    rows = scoring.stacked(*frames)
    projected, *random = (scoring.cells_of(finished, rows, name) for name in names)
    base = scoring.base_of(finished, whole)
    if projected is None or base is None:
        raise scoring.NotMeasuredError("the answers without the direction cannot be scored")
    left = [stats.ratio(cells, whole, base).value for cells in random if cells]
    null = Null(name="projected off a random direction", value=float(np.mean(left)))
    what = "share of the LoRA's out-of-context effect that is left when what it adds is projected "
    what += "off its first direction"
    findings = scoring.share(finished, "kept", what, projected, whole, nulls=[null])
    if not findings:
        raise scoring.NotMeasuredError("no effect to take a share of")
    return AnalysisResult(findings)


ARMS: Mapping[str, str] = {
    "base": "untouched model",
    "adapter": "plain LoRA",
    "earlier": "plain LoRA, projected off its first direction",
    "new": "trained to do without that direction",
    "random": "trained to do without a random direction",
}
SCORED: Mapping[str, str] = {
    "new": "that a LoRA reaches which was trained to do without the plain one's first direction",
    "random": "that a LoRA reaches which was trained to do without a random direction",
    "earlier": "that is left of the plain LoRA, projected off its first direction",
}


def relearned(finished: FinishedRuns) -> AnalysisResult:
    """LoRAs trained to do without the first direction of the reported one."""
    trained_as = finished.trained_as(LowRankAdapter)
    scoring.effective(finished, "adapter")
    if trained_as is None:
        raise scoring.NotMeasuredError(scoring.why_no_effect(finished, "adapter"))
    first = natural_by_kind(finished)["first direction"]
    tasks = finished.tasks.test[:MEMBERS]
    plain = scoring.reported(finished, "adapter", [task.member for task in tasks], "adapter")
    frames, cosines = [finished.base_rows, plain], dict[Unit, float]()
    for task in tasks:
        vector, earlier = first[task.member, 0], finished.adapters[task.member, 0]
        rows = subspace.task_rows_without(finished.model, task, earlier, vector.direction)
        frames.append(scoring.renamed(rows, "earlier", task.member))
        for name, direction in (("new", vector.direction), ("random", _random(vector, 0))):
            lora = subspace.train_without(
                finished.model,
                task,
                trained_as.spec,
                direction,
                learning_rate=trained_as.rate,
                steps=trained_as.steps,
                batch_lines=trained_as.batch_lines,
            )
            frames.append(scoring.renamed(lora.rows, name, task.member))
            if name == "new":
                cosines[task.member, 0] = lora.cosine
    result = AnalysisResult()
    arms = {name: name for name in ("adapter", "earlier", "new", "random")}
    for scores in scoring.by_split(finished, scoring.stacked(*frames), arms, "adapter"):
        result.rows += [
            {"part": scores.split, "arm": name, **stats.estimate(cells).columns}
            for name, cells in (*scores.cells.items(), ("base", scores.base))
        ]
        if "new" not in scores.cells:
            continue
        what = f"share of the plain LoRA's {scores.words.replace(' ', '-')} effect "
        random = scores.share("random", f"random-{scores.split}", what + SCORED["random"])
        twin = [Null(name="trained without a random one", value=f.found.value) for f in random]
        result.findings += scores.share("new", f"new-{scores.split}", what + SCORED["new"], twin)
        result.findings += random
        result.findings += scores.share(
            "earlier", f"earlier-{scores.split}", what + SCORED["earlier"]
        )
    what = "|cos| of its own first direction with that direction"
    result.findings.append(scoring.measured("cosine", what, cosines, bounds=SHARE))
    return result


def relearned_figure(tables: Tables) -> Figure | None:
    """Scores of LoRAs with and without the first direction."""
    drawn = []
    for name, table in tables.items():
        arms = [arm for arm in ARMS if arm in table["arm"]]
        scores = {(split, arm): v for split, arm, v in table.select("part", "arm", "value").rows()}
        groups = [
            (words, colour, [scores.get((split, arm)) for arm in arms])
            for split, words, colour in scoring.SPLIT_LOOKS
        ]
        labels = [ARMS[arm] for arm in arms]
        drawn.append(bars_panel(labels, groups, "score", title=name, span=6))
    caption = (
        "What a LoRA adds is projected off the first direction of the plain one at its block's "
        "output, in training and in the test; the model's own use of that direction stays."
    )
    keys = line_keys(scoring.SPLIT_LOOKS)
    return figure_of("relearned", caption, drawn, tables, keys)


def _random(like: Vector, number: int) -> Tensor:
    return random_vector(like, like.norm, 50_000 + number).direction
