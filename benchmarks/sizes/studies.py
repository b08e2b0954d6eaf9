"""What the studies of blocks and of training rows show, in a sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.sizes.arrange import all_but_rows, claim_of, counts_of, size_of, training_rows
from benchmarks.sizes.records import KeptRun
from oocr.charts.pieces import interval_text, number

CLAIM = "vector-out-of-context"
"""The claim whose numbers are given."""


def by_block(runs: Sequence[KeptRun]) -> list[str]:
    """What a vector does by the block at whose output it is added."""
    lines = []
    for run in runs:
        curves = [
            curve
            for curve in run.curves
            if (curve.kind, curve.method, curve.part, curve.facet)
            == ("layer", "vector", "probes", "")
        ]
        for curve in curves:
            numbers = [
                f"{number(value)} at {layer:g}"
                for layer, value in zip(curve.x, curve.value, strict=True)
            ]
            claim = claim_of(run, CLAIM)
            untouched = f"; untouched {number(claim.base)}" if claim else ""
            lines.append(
                f"**At which block.** {_about(run)}, by the block (of {run.blocks}) at whose "
                f"output one vector is added ({counts_of(run)}): {', '.join(numbers)}{untouched}."
            )
    return lines


def by_rows(runs: Sequence[KeptRun]) -> list[str]:
    """What a vector does by its training rows, of runs that differ in nothing else; or nothing."""
    groups: dict[str, list[KeptRun]] = {}
    for run in sorted(runs, key=training_rows):
        if training_rows(run):
            groups.setdefault(all_but_rows(run), []).append(run)
    lines = []
    for group in groups.values():
        claims = [(training_rows(run), claim_of(run, CLAIM)) for run in group]
        judged = [(rows, claim) for rows, claim in claims if claim is not None]
        if len(judged) < 2:
            continue
        numbers = [
            f"{interval_text(claim.found.value, claim.found.low, claim.found.high)} with {rows:,}"
            for rows, claim in judged
        ]
        run, untouched = group[0], judged[0][1].base
        lines.append(
            f"**How many rows.** {_about(run)}, by the rows that one vector was trained on "
            f"({counts_of(run)}): "
            f"{', '.join(numbers)}; untouched {number(untouched)}."
        )
    return lines


def _about(run: KeptRun) -> str:
    return f"{run.task.capitalize()} at {size_of(run.model, run.parameters)}, out of context"
