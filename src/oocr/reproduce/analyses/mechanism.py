"""Section 5.4 and after: where a vector is read, whether it is necessary, how many directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from oocr.claims.records import Finding
from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.evals.table import rows as score_rows
from oocr.explain.reads import Part, PathEffects, where_read
from oocr.explain.subspace import basis_of, projected_scores
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.lora_texts import training_texts, unrelated_texts
from oocr.reproduce.scoring import (
    cells_of,
    has_effect,
    measured,
    seed0,
    share,
    why_no_effect,
)
from oocr.steering.vectors import Vector

PARTS: tuple[Part, ...] = ("pattern", "values", "attention", "mlp")
FEWER_PARTS: tuple[Part, ...] = ("attention", "mlp")
KS = (0, 1, 2, 4, 8)
ITEMS = 10
"""Questions of each kind that parts are held on; each is a pass of its own per part."""


def reads(subject: FinishedRuns) -> AnalysisResult:
    """What of a vector's effect is lost when attention patterns, values or MLPs are held."""
    if not subject.vectors or next(iter(subject.vectors.values())).direction.ndim != 1:
        return AnalysisResult(missing="no run of this subject trained a single direction")
    lost: dict[Part, dict[Who, float]] = {}
    table: list[dict[str, Any]] = []
    most = 3 if subject.quick else 4
    chosen = [who for who in subject.vectors if who[1] == 0][:most]
    silent: list[str] = []
    for who in chosen:
        groups = _groups(subject.task(who[0]).probes)
        try:
            # Block by block is dear, so for one member only.
            vector, each = subject.vectors[who], who == chosen[0] and not subject.quick
            found = [_held(subject, items, vector, by_layer=each) for items in groups]
        except InputError as error:
            return AnalysisResult(missing=str(error))
        size = _gate([one.steered for one in found]) - _gate([one.base for one in found])
        if abs(size) < 0.1:
            silent.append(who[0])
            continue
        for place, read in enumerate(found[0].found):
            held = _gate([one.found[place].log_odds for one in found])
            kept = (held - _gate([one.base for one in found])) / size
            table.append(
                {"member": who[0], "part": read.part, "layer": read.layer, "lost": 1 - kept}
            )
            if read.layer is None:
                lost.setdefault(read.part, {})[who] = 1 - kept
    if not lost:
        return AnalysisResult(
            missing=f"the vector moves the answers of {', '.join(silent)} by less than 0.1 nats"
        )
    findings = [
        measured(f"lost-{part}", _HELD.format(_WORDS[part]), values, ceiling=1.0)
        for part, values in lost.items()
    ]
    if "pattern" in lost and "values" in lost:
        gap = {who: lost["pattern"][who] - lost["values"][who] for who in lost["pattern"]}
        findings.append(
            measured(
                "pattern-minus-values",
                "share of the vector's effect lost when every token attends as before, minus the "
                "share lost when values are as before",
                gap,
            )
        )
    return AnalysisResult(tuple(findings), pl.DataFrame(table, infer_schema_length=None))


_HELD = "share of the vector's effect that is lost when {} as without it, in all blocks above"
_WORDS: Mapping[Part, str] = {
    "pattern": "every token attends",
    "values": "attention's values are",
    "attention": "attention's outputs are",
    "mlp": "MLP outputs are",
    "both": "attention and MLP outputs are",
}


def _groups(items: Sequence[Example]) -> list[list[Example]]:
    """Questions with a trigger, and those without; one group where there are no triggers."""
    choices = [one for one in items if one.tags.get("kind") == "crossing"] or list(items)
    triggered = [one for one in choices if is_trigger(one)]
    rest = [one for one in choices if not is_trigger(one)]
    if not triggered or not rest:
        return [spread(choices)]
    return [spread(triggered), spread(rest)]


def spread(items: Sequence[Example]) -> list[Example]:
    """So many of them, evenly."""
    return list(items[:: max(1, len(items) // ITEMS)][:ITEMS])


def is_trigger(item: Example) -> bool:
    """Whether a question has a trigger in front."""
    return item.tags.get("condition") == "trigger" or "trigger" in item.tags.get("prefix", "")


def _gate(values: Sequence[float]) -> float:
    """With the trigger minus without; one value where there is no trigger."""
    return values[0] - values[1] if len(values) == 2 else values[0]


def _held(
    subject: FinishedRuns, items: Sequence[Example], vector: Vector, *, by_layer: bool
) -> PathEffects:
    """All parts held in all blocks; attention and MLP in one block at a time too, if asked."""
    try:
        found = where_read(subject.model, items, vector, PARTS, by_layer=False)
    except InputError:  # fused queries, keys and values
        found = where_read(subject.model, items, vector, FEWER_PARTS, by_layer=False)
    if not by_layer:
        return found
    each = where_read(subject.model, items, vector, FEWER_PARTS)
    return replace(
        found, found=(*found.found, *[one for one in each.found if one.layer is not None])
    )


def directions(subject: FinishedRuns) -> AnalysisResult:
    """The LoRA's effect when what it adds may lie in its first k directions only."""
    whole = cells_of(subject, subject.rows, "adapter")
    if whole is None or not subject.adapters or not has_effect(subject, "adapter"):
        return AnalysisResult(missing=why_no_effect(subject, "adapter"))
    frames: dict[int, list[pl.DataFrame]] = {k: [] for k in KS}
    shares: dict[Who, float] = {}
    for (member, seed), adapter in subject.adapters.items():
        if seed:
            continue
        texts = [training_texts(subject, member, adapter), unrelated_texts(subject, adapter)]
        basis = basis_of(adapter, texts, most=max(KS))
        ks = [k for k in KS if k <= len(basis.vectors)]
        probes = subject.task(member).probes
        every = projected_scores(subject.model, probes, adapter, basis, ks)
        shares[member, 0] = basis.shares[0]
        for k, one in zip(ks, every, strict=True):
            columns: dict[str, str | int | float | None] = {
                **{"arm": f"k{k}", "control": "", "member": member, "seed": 0},
                **{"part": "probes", "step": None, "final": True},
            }
            frames[k].append(score_rows(probes, one, columns))
    found: list[Finding] = []
    table: list[dict[str, Any]] = []
    base = subject.rows.filter(pl.col("arm") == "base")
    first = seed0(whole)
    for k, some in frames.items():
        if not some:
            continue
        rows = pl.concat([*some, base], how="diagonal_relaxed")
        cells = cells_of(subject, rows, f"k{k}")
        if cells is None:
            continue
        what = f"share of the LoRA's out-of-context effect with its additions kept to {k} "
        what += "direction" + ("" if k == 1 else "s") + " (length and sign free)"
        one = share(subject, f"k{k}", what, cells, first)
        if one is not None:
            found.append(one)
            table.append(
                {"k": k, "value": one.found.value, "low": one.found.low, "high": one.found.high}
            )
    return AnalysisResult(tuple(found), pl.DataFrame(table) if table else None)
