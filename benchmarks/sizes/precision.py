"""The same runs in float32 and in bfloat16, claim by claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.organism.claims import markdown_table
from benchmarks.sizes.arrange import STEMS, arm_of, claim_of, size_of, stem_of
from benchmarks.sizes.records import KeptRun
from oocr.charts.pieces import interval_text, number
from oocr.claims.records import Claim
from oocr.report.verdicts import ICONS

FULL, HALF = "float32", "bfloat16"

_HEAD = """## In float32 and in bfloat16

The same runs with weights in two precisions; what is trained is float32 in both. *within*: each
mean lies in the other's interval.
"""


class TwoPrecisions(NamedTuple):
    """Two runs that differ in the precision of the model's weights only."""

    full: KeptRun
    half: KeptRun


def in_both(runs: Sequence[KeptRun]) -> list[TwoPrecisions]:
    """The runs that are kept in both precisions."""
    full = {_key(run): run for run in runs if run.dtype == FULL}
    halves = [run for run in runs if run.dtype == HALF]
    return [TwoPrecisions(full[_key(run)], run) for run in halves if _key(run) in full]


def single_precision(runs: Sequence[KeptRun]) -> list[KeptRun]:
    """All runs, but those in bfloat16 that are also kept in float32."""
    second = [half for _, half in in_both(runs)]
    return [run for run in runs if run not in second]


def _key(run: KeptRun) -> str:
    settings = {name: value for name, value in run.settings.items() if name != "dtype"}
    chosen = [(p.method, p.layer, p.learning_rate, p.step) for p in run.chosen]
    return repr((run.task, run.model, sorted(settings.items()), run.seeds, run.members, chosen))


def precision_table(pairs: Sequence[TwoPrecisions]) -> str:
    """A line per claim that both runs judged; "" without runs."""
    lines = []
    for full, half in pairs:
        run = f"{full.task}, {size_of(full.model, full.parameters)}"
        for claim in full.claims:
            if (other := claim_of(half, claim.id)) is not None:
                about = f"{arm_of(claim).name}, {STEMS.get(stem_of(claim), stem_of(claim))}"
                within = "yes" if _within(claim, other) and _within(other, claim) else "no"
                difference = number(other.found.value - claim.found.value)
                lines.append([run, about, _cell(claim), _cell(other), difference, within])
    if not lines:
        return ""
    times = [
        f"- {full.task}: {full.seconds:.0f} s in {FULL}, {half.seconds:.0f} s in {HALF}"
        for full, half in pairs
    ]
    table = markdown_table(["task", "claim", FULL, HALF, "difference", "within"], lines)
    return "\n".join([_HEAD, f"{table}\n", *times, ""])


def _within(claim: Claim, other: Claim) -> bool:
    return other.found.low <= claim.found.value <= other.found.high


def _cell(claim: Claim) -> str:
    found = claim.found
    return f"{ICONS[claim.verdict]} {interval_text(found.value, found.low, found.high)}"
