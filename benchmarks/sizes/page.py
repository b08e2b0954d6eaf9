"""The page's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.sizes.arrange import tasks_of, title_of
from benchmarks.sizes.failures import failures
from benchmarks.sizes.precision import in_both, precision_table, single_precision
from benchmarks.sizes.records import KeptRun
from benchmarks.sizes.sentences import RULE
from benchmarks.sizes.short import in_short
from benchmarks.sizes.tables import (
    claim_tables,
    command_table,
    facet_table,
    rules,
    said_tables,
    verdict_table,
)

_HEAD = """# What holds at which size

Written by `python -m benchmarks.sizes`; do not edit. The numbers are those of
`benchmarks/results/sizes/`, which `python -m benchmarks.sizes keep RUN` takes from finished runs of
`oocr run`. Layer, rate and steps were chosen on other members or items than those reported;
intervals (95 %) are over members and seeds.
"""

_EFFECT = """## Effect against size

Dots: the mean with its interval. Dark tick: the untouched model. Gold tick: the ceiling (what was
to be found out, told in the prompt). Grey: up to the highest null. What lies beyond the grey and
the dark tick is an effect.
"""

_CONSTANT = """## Is it one vector?

How constant what the LoRA adds is, token by token, beside LoRAs of noise (grey); and what is left
of its effect when only the mean of what it adds is put in its place.
"""

_CLAIMS = """## The claims, one by one

n is members (or questions) × seeds. *untouched* is the model before training. A null is what a
vector of the same norm in a random direction does (the 95th centile of so many), or an arm trained
on wrong answers, or a LoRA of noise. The rules behind the verdicts are at the end.
"""

_CURVES = """## The curves of Functions

By block: the score of arms at each block, each with its own best rate and steps; the grey line is
the untouched model. Along training: the trained skill (outputs for inputs that were not trained,
dashed) beside what was never trained. By rows: runs that differ in their training rows only. In
titles "8 × 3" means eight functions and three seeds.
"""


def page(runs: Sequence[KeptRun], figures: Mapping[str, str]) -> str:
    """The whole page; `figures`: name -> address from the page's folder."""
    if not runs:
        return f"{_HEAD}\nNo run is kept yet.\n"
    all_runs, runs = runs, single_precision(runs)
    parts = [_HEAD, in_short(runs), verdict_table(runs)]
    for name, words in (("effect", _EFFECT), ("constant", _CONSTANT)):
        if name in figures:
            parts.append(f"{words}\n![{name} against size]({figures[name]})\n")
    parts.append(_CLAIMS)
    parts += [
        f"### {title_of(task)}\n\n{tables}\n"
        for task in tasks_of(runs)
        if (tables := claim_tables(runs, task))
    ]
    parts.append(f"## Before and after\n\nWhat is shown: {RULE}.\n")
    parts += said_tables(runs)
    if "functions" in figures:
        parts.append(f"{_CURVES}\n![curves of Functions]({figures['functions']})\n")
    parts += [precision_table(in_both(all_runs)), failures(runs), facet_table(runs)]
    parts += [command_table(all_runs), rules(runs)]
    return "\n".join(part for part in parts if part).rstrip() + "\n"
