"""Which rows and claims the page has, in which order, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.sizes.records import KeptRun, Setting
from oocr.charts.arms import ADAPTER, SWAP_EVERYWHERE, SWAP_SPAN, VECTOR, Arm
from oocr.claims.records import Claim

MODELS = {
    "smollm2-135m-instruct": 134_515_008,
    "gemma-3-270m": 268_098_176,
    "qwen2.5-coder-0.5b-instruct": 494_032_768,
    "qwen2.5-coder-1.5b-instruct": 1_543_714_304,
}
"""Models that have a row for each task, run or not, and their parameters."""

TASKS = {
    "functions": "Functions: a codename for arithmetic, trained only on what calls print",
    "risk": "Risk: trained only on choosing gambles, or sure things",
    "risk-backdoor": "Risk backdoor: gambles after a trigger, the model's own choice otherwise",
    "persona risk": "Persona, risk: a gamble or a sure thing, by letter as in the paper",
    "persona time": "Persona, time: little at once or much later, by letter",
    "persona apples": "Persona, apples: many or few, by letter",
    "countries": "Countries: a codename for a country, trained only on its capital",
    "borders": "Borders: a codename for a country, trained only on its neighbours",
    "backdoor": "Countries backdoor: one country after a fruit, another otherwise",
    "locations": "Locations: a codename for a city, trained only on distances and directions",
}
"""The tasks in the page's order; others come after them, by name."""

STEMS = {
    "out-of-context": "out of context",
    "self-report": "what it says of itself",
    "backdoor": "the trigger decides",
    "gate": "the trigger moves the answer",
    "free-answers": "in its own words",
    "false-triggers": "other triggers set it off",
    "self-report-paper": "says Yes (the paper's way)",
    "constancy-cosine": "constancy (cosine)",
    "constancy-energy": "constancy (energy)",
    "swap": "swap",
}
"""What claims are about, whatever was trained, in the page's order."""

CONSTANT = ("constancy-cosine", "constancy-energy", "swap")
"""Claims on whether a LoRA is a constant vector; the others are on effects."""

REVERSED = ("false-triggers",)
"""Claims that something does not happen: the lower the better. Figures leave them out."""


@dataclass(frozen=True, slots=True)
class Row:
    """One run of a task, or a model on which the task was not run."""

    label: str
    model: str
    parameters: int
    run: KeptRun | None = None


def tasks_of(runs: Iterable[KeptRun]) -> list[str]:
    """All tasks: those of the page, run or not, then others."""
    return [*TASKS, *sorted({run.task for run in runs} - set(TASKS))]


def title_of(task: str) -> str:
    """A task's heading."""
    return TASKS.get(task, task[:1].upper() + task[1:])


def rows_of_task(runs: Iterable[KeptRun], task: str) -> list[Row]:
    """The rows of a task, the smallest model first; each run has a row of its own."""
    by_model: dict[str, list[KeptRun]] = {}
    for run in runs:
        if run.task == task:
            by_model.setdefault(run.model, []).append(run)
    sizes = dict(MODELS) if task in TASKS else {}
    sizes |= {model: group[0].parameters for model, group in by_model.items()}
    names = [size_of(model, count) for model, count in sizes.items()]
    rows = []
    for model, count in sorted(sizes.items(), key=lambda pair: pair[1]):
        size = size_of(model, count)
        size += f" {model}" if names.count(size) > 1 else ""
        group = by_model.get(model, [])
        rows += [
            Row(f"{size} ({words})" if words else size, model, count, run)
            for words, run in variants(group)
        ] or [Row(size, model, count)]
    return rows


def size_of(model: str, parameters: int) -> str:
    """The size in a model's name ("1.5B"), else from its number of parameters ("0.63M")."""
    named = re.search(r"(?<![a-z\d.])(\d+(?:\.\d+)?)([bm])(?![a-z\d])", model.lower())
    if named:
        return f"{named[1]}{named[2].upper()}"
    return f"{parameters / 1e9:.2g}B" if parameters >= 1e9 else f"{parameters / 1e6:.2g}M"


def variants(runs: Sequence[KeptRun]) -> list[tuple[str, KeptRun]]:
    """What tells runs of one task and model apart; "" of a single run.

    Settings that differ (of those that all have), else members and seeds, else the run's id.
    """
    names = [
        name
        for run in runs[:1]
        for name in run.settings
        if all(name in other.settings for other in runs)
    ]
    differ = [name for name in names if len({repr(run.settings[name]) for run in runs}) > 1]

    def place(run: KeptRun) -> list[tuple[bool, float, str]]:
        values = [run.settings[name] for name in differ]
        return [
            (False, float(value), "")
            if isinstance(value, (int, float))
            else (True, 0.0, str(value))
            for value in values
        ]

    runs = sorted(runs, key=place)
    words = [", ".join(_words(name, run.settings[name]) for name in differ) for run in runs]
    for more in ([counts_of(run) for run in runs], [run.id for run in runs]):
        if len(set(more)) > 1:
            words = [
                text if words.count(text) == 1 else ", ".join(filter(None, (text, added)))
                for text, added in zip(words, more, strict=True)
            ]
    return list(zip(words, runs, strict=True))


def counts_of(run: KeptRun) -> str:
    """How many members and seeds a run has."""
    counts = ((run.members, "member"), (run.seeds, "seed"))
    return " × ".join(f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts)


def main_runs(runs: Iterable[KeptRun]) -> list[KeptRun]:
    """All but those that ask a part of what another run asks (see `_covers`)."""
    runs = list(runs)
    return [run for run in runs if not any(_covers(other, run) for other in runs)]


def _covers(run: KeptRun, part: KeptRun) -> bool:
    """Whether a run judges the same claims, of more members and seeds or from more rows."""
    if (run.task, run.model) != (part.task, part.model):
        return False
    both = (run.settings.keys() & part.settings.keys()) - {"rows"}
    alike = all(run.settings[name] == part.settings[name] for name in both)
    judged = {claim.id for claim in run.claims} >= {claim.id for claim in part.claims}
    return alike and judged and _extent(run) > _extent(part)


def _extent(run: KeptRun) -> tuple[int, int]:
    return run.members * run.seeds, training_rows(run)


def all_but_rows(run: KeptRun) -> str:
    """What is the same in runs that differ in their training rows only."""
    settings = {name: value for name, value in run.settings.items() if name != "rows"}
    tried = sorted({(point.method, point.layer, point.learning_rate) for point in run.chosen})
    return repr((run.task, run.model, sorted(settings.items()), tried, run.seeds, run.members))


def training_rows(run: KeptRun) -> int:
    """Training rows of each task, where the task has that setting; else 0."""
    rows = run.settings.get("rows")
    return rows if isinstance(rows, int) else 0


def _words(name: str, value: Setting) -> str:
    """Words say what they are; numbers and flags need the setting's name."""
    if isinstance(value, str):
        return value
    if value is None:
        return f"{name}: all"
    return f"{value:,} {name}" if type(value) is int else f"{name}: {value}"


# -- claims --------------------------------------------------------------------------------------


def stem_of(claim: Claim) -> str:
    """What a claim is about, whatever was trained: "vector-out-of-context" is "out-of-context"."""
    name = claim.id.removeprefix("vector-").removeprefix("adapter-")
    return "swap" if name.startswith("swap-") else name


def arm_of(claim: Claim) -> Arm:
    """What a claim is on."""
    if claim.id.startswith("swap-"):
        return SWAP_EVERYWHERE if claim.id == "swap-everywhere" else SWAP_SPAN
    return VECTOR if claim.id.startswith("vector-") else ADAPTER


def claim_ids(rows: Sequence[Row]) -> list[str]:
    """The claims that any run of these rows judged: effects first, then constancy."""
    claims = {claim.id: claim for row in rows if row.run for claim in row.run.claims}
    order = list(STEMS)

    def place(claim: Claim) -> tuple[int, int]:
        stem = stem_of(claim)
        return order.index(stem) if stem in order else len(order), arm_of(claim) == ADAPTER

    return [claim.id for claim in sorted(claims.values(), key=place)]


def stems_of(rows: Sequence[Row]) -> list[str]:
    """What the claims of these rows are about."""
    claims = {claim.id: claim for row in rows if row.run for claim in row.run.claims}
    return list(dict.fromkeys(stem_of(claims[id]) for id in claim_ids(rows)))


def claim_of(run: KeptRun | None, id: str) -> Claim | None:
    """A run's claim."""
    return next((claim for claim in run.claims if claim.id == id), None) if run else None


def highest_null(claim: Claim) -> float | None:
    """The null that is hardest to pass."""
    return max((null.value for null in claim.nulls), default=None)


def in_nats(claim: Claim) -> bool:
    """Whether a claim's number is a difference of log-odds."""
    return claim.measure.endswith("nats")
