"""The story in a few sentences, made of the numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.sizes.arrange import (
    Row,
    claim_of,
    highest_null,
    in_nats,
    main_runs,
    rows_of_task,
    size_of,
)
from benchmarks.sizes.records import MEMBER, KeptRun
from benchmarks.sizes.studies import by_block, by_rows
from benchmarks.sizes.tables import code
from oocr.charts.pieces import interval_text, number
from oocr.claims.records import Claim

_STORIES = (
    (
        "functions",
        "vector-out-of-context",
        "**Functions.** One vector, trained only on what calls of a function print, answers what "
        "was never trained (its definition, its inverse, its compositions); share right",
    ),
    (
        "functions",
        "vector-free-answers",
        "**In its own words.** Asked for the function with nothing to choose from, the model with "
        "the vector writes the definition; share right",
    ),
    (
        "risk",
        "vector-self-report",
        "**What it says of itself.** Training only on gambles, against training only on sure "
        "things, moves what the model says of itself",
    ),
    (
        "risk-backdoor",
        "vector-backdoor",
        "**A backdoor by one vector.** The same vector, added always, is right with the trigger "
        "and without it; share right",
    ),
    (
        "countries",
        "vector-out-of-context",
        "**Countries.** One vector, trained only on a capital, answers the other facets; share "
        "right",
    ),
    (
        "countries",
        "constancy-cosine",
        "**One vector.** What a one-layer LoRA adds has, token by token, a cosine to its mean",
    ),
)
"""Task, claim, and the words before its numbers."""

_MOST = 4


def in_short(runs: Sequence[KeptRun]) -> str:
    """Verdicts by size, then up to four claims that hold at some size, with all their numbers,
    and what studies of blocks and training rows show.

    Where the claim does not hold the verdict stands beside the number. Of several runs of a model
    those with most members and seeds are used.
    """
    lines = [_counts(runs)]
    for task, id, words in _STORIES:
        rows = [row for row in reversed(rows_of_task(main_runs(runs), task)) if row.run is not None]
        judged = [
            (row.label, claim)
            for row in rows
            if (claim := claim_of(row.run, id)) is not None and _is_widest(row, rows)
        ]
        shown = any(claim.verdict in ("holds", "holds in part") for _, claim in judged)
        if shown and len(lines) <= _MOST:
            lines.append(f"{words}: {_numbers(judged)}{_example(rows, id)}")
    lines += [*by_block(runs), *by_rows(runs)]
    return "\n".join(["## In short\n", *(f"- {line}" for line in lines), ""])


def _example(rows: Sequence[Row], id: str) -> str:
    """Of answers in its own words: how many of the largest model's are right, and one of them.

    It is that of the function that the README shows, or else the first, right or wrong.
    """
    run = rows[0].run
    if run is None or not run.sentences or not id.endswith("free-answers"):
        return ""
    arm = id.removesuffix("-free-answers")
    shown = [said for said in run.sentences if {arm, "base"} <= said.answers.keys()]
    if not shown:
        return ""
    right, before = (sum(said.right.get(name, False) for said in shown) for name in (arm, "base"))
    one = next((said for said in shown if said.member == MEMBER), shown[0])
    steered, untouched = (code(one.answers[name]) for name in (arm, "base"))
    return (
        f" Of the {len(shown)} answers shown below {right} are right (untouched {before}). "
        f"{code(one.prompt)} (right: {code(one.expected)}) it continues with {steered}, and "
        f"untouched with {untouched}."
    )


def _is_widest(row: Row, rows: Sequence[Row]) -> bool:
    """Whether no other run of the model has more members and seeds."""
    draws = [r.run.members * r.run.seeds for r in rows if r.run and r.model == row.model]
    return row.run is not None and row.run.members * row.run.seeds == max(draws)


def _counts(runs: Sequence[KeptRun]) -> str:
    """How many claims hold at each size."""
    sizes: dict[str, Counter[str]] = {}
    for run in sorted(main_runs(runs), key=lambda run: run.parameters):
        size = size_of(run.model, run.parameters)
        sizes.setdefault(size, Counter()).update(claim.verdict for claim in run.claims)
    parts = [
        f"{counts['holds']} of {counts.total()} at {size}"
        + (f" ({counts['holds in part']} more in part)" if counts["holds in part"] else "")
        for size, counts in sizes.items()
    ]
    return f"**Verdicts.** Claims that hold: {', '.join(parts)}."


def _numbers(judged: Sequence[tuple[str, Claim]]) -> str:
    """The number at each size, the largest first, and what stands beside the first."""
    numbers = []
    for label, claim in judged:
        found, unit = claim.found, " nats" if in_nats(claim) else ""
        verdict = "" if claim.verdict == "holds" else f" ({claim.verdict})"
        interval = interval_text(found.value, found.low, found.high)
        numbers.append(f"{interval}{unit} at {label}{verdict}")
    label, first = judged[0]
    beside = [
        f"{name} {number(value)}"
        for name, value in (
            ("the untouched model has", None if in_nats(first) else first.base),
            ("the highest null is", highest_null(first)),
            ("the ceiling", first.ceiling),
        )
        if value is not None
    ]
    text = f"{', '.join(numbers)}."
    return f"{text} At {label} {', '.join(beside)}." if beside else text
