"""What does not hold, and which part is missing: by a rule made of the run's numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.organism.claims import markdown_table
from benchmarks.sizes.arrange import (
    CONSTANT,
    REVERSED,
    STEMS,
    arm_of,
    main_runs,
    rows_of_task,
    stem_of,
    tasks_of,
)
from benchmarks.sizes.records import KeptRun, Score
from benchmarks.sizes.tables import null_name
from oocr.charts.pieces import interval_text, number
from oocr.claims.records import Claim, Null

_HEAD = """## What failed, and what was missing

Of a claim on an effect that does not hold or cannot be tested, the first of these that is true is
said. *The ceiling*: told in the prompt what it should find out, the untouched model scores no
higher than untold, or than a null. *The skill*: on held-out items of the trained kind the arm is
not above the untouched model. *A null*: it does as much. *Members*: the mean is above the untouched
model and all nulls, the interval, or that of the paired difference to a trained control, is not.
Else the ceiling and the skill are there, and what is missing is *the step* from one to the other.
*Letters*: the effect is there, and the paper's questions, which are answered by letter, do not show
it.
"""
_SAME = 1e-3
_PAPER = "the paper's questions"
_FAILED = ("does not hold", "cannot be tested")


def failures(runs: Sequence[KeptRun]) -> str:
    """A line per claim that failed, and per lettered question; nothing if there are none."""
    lines = [
        [task, row.label, *cells]
        for task in tasks_of(runs)
        for row in rows_of_task(main_runs(runs), task)
        if row.run is not None
        for cells in (*_failed(row.run), *_letters(row.run))
    ]
    head = ["task", "size", "claim", "verdict", "missing", "by these numbers"]
    return f"{_HEAD}\n{markdown_table(head, lines)}\n" if lines else ""


def _failed(run: KeptRun) -> Iterator[list[str]]:
    for claim in run.claims:
        if claim.verdict in _FAILED:
            yield [_name(claim), claim.verdict, *missing_part(run, claim)]


def _name(claim: Claim) -> str:
    stem, label = stem_of(claim), arm_of(claim).label
    return label if stem == "swap" else f"{label}, {STEMS.get(stem, stem)}"


def missing_part(run: KeptRun, claim: Claim) -> tuple[str, str]:
    """The part that is missing, and the numbers that show it."""
    found = claim.found
    if stem_of(claim) in (*CONSTANT, *REVERSED):
        return "", _not_constant(claim)
    base, null = claim.base or 0.0, max(claim.nulls, key=lambda null: null.value, default=None)
    ceiling = _ceiling(run, claim)
    if ceiling is not None and (
        ceiling.low <= base or (null is not None and ceiling.value <= null.value)
    ):
        return "the ceiling", f"told {_shown(ceiling)}, untold {number(base)}{_beside(null)}"
    skill, before = _skill(run, claim)
    start = 0.0 if before is None else before.value
    if skill is not None and skill.low <= start:
        return "the skill", f"{_shown(skill)}, untouched {number(start)}"
    if null is not None and null.value >= found.value:
        return "a null does as much", f"{null_name(null)} {number(null.value)}"
    bar = max([base, *(null.value for null in claim.nulls)])
    if found.value > bar >= found.low:
        return "members", f"the interval over {found.n} reaches down to {number(bar)}"
    control = _control(claim) if stem_of(claim) == "out-of-context" else None
    if found.low > bar and control is not None:
        words = f"the paired difference to {null_name(control)} over {found.n} reaches down to 0"
        return "members", words
    there = [
        f"{name} {_shown(score)}"
        for name, score in (("skill", skill), ("ceiling", ceiling))
        if score is not None
    ]
    return ("the step", f"there are {', '.join(there)}") if there else ("", "no numbers on parts")


def _control(claim: Claim) -> Null | None:
    """The trained control that comes nearest, to which a rule compares the arm pair by pair."""
    controls = [null for null in claim.nulls if "training" in null.name]
    return max(controls, key=lambda null: null.value) if controls else None


def _ceiling(run: KeptRun, claim: Claim) -> Score | None:
    """The claim's ceiling, with the interval of the run's if that is the same number."""
    if claim.ceiling is None:
        return None
    whole = run.score("probes", "ceiling")
    if whole is not None and abs(whole.value - claim.ceiling) < _SAME:
        return whole
    ends = dict.fromkeys(("value", "low", "high"), claim.ceiling)
    return Score(part="probes", facet="", arm="ceiling", **ends)


def _skill(run: KeptRun, claim: Claim) -> tuple[Score | None, Score | None]:
    """The arm's trained skill and the untouched model's; in its own words where it was asked so."""
    arm = arm_of(claim).name
    free = stem_of(claim) == "free-answers" and run.score("free_in_context", arm) is not None
    part = "free_in_context" if free else "in_context"
    return run.score(part, arm), run.score(part, "base")


def _beside(null: Null | None) -> str:
    return "" if null is None else f", {null_name(null)} {number(null.value)}"


def _not_constant(claim: Claim) -> str:
    if "no share" in claim.measure:
        return "the LoRA has no effect of which a share could be kept"
    null = max(claim.nulls, key=lambda null: null.value, default=None)
    if stem_of(claim) in REVERSED:
        return f"found {number(claim.found.value)}{_beside(null)}"
    if null is not None and claim.found.low <= null.value:
        return f"not above its null: {null_name(null)} {number(null.value)}"
    return "above its null, and below what its rule asks for a part"


def _shown(score: Score) -> str:
    if score.low == score.high:
        return number(score.value)
    return interval_text(score.value, score.low, score.high)


def _letters(run: KeptRun) -> Iterator[list[str]]:
    """Where an effect holds by content, but not on the paper's questions."""
    for claim in run.claims:
        if stem_of(claim) not in ("out-of-context", "self-report") or claim.verdict in _FAILED:
            continue
        arm = arm_of(claim)
        for score in run.scores:
            if (score.part, score.arm) == ("paper", arm.name):
                base = run.score("paper", "base", score.facet)
                if base is not None and score.low <= base.value:
                    name = f"{arm.label}, {score.facet or _PAPER}"
                    numbers = f"{_shown(score)}, untouched {number(base.value)}"
                    yield [name, "–", "letters", numbers]
