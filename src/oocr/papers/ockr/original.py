"""The benchmark of the paper with its own counts, in names and sentences of ours.

Twenty z with a year each, ten x and ten y of the same year. What is told is about z, x and y; asked
is what follows for y (Hu, Gao et al. 2024, "Large Language Models are Limited in Out-of-Context
Knowledge Reasoning", arXiv 2406.07393). `FORMS` are four ways of telling.

What differs: names and sentences; four languages of nine (`cross_lingual`); no names that coincide
after translation, and no stray labels, as some of the paper's rows have; which two of a group are
paired, where the paper does not say.

    python -m oocr.papers.ockr.original FOLDER

writes each as a JSONL file for training and one for testing, whose lines have their label ("Yes",
"No" or a year) and their part (the target, or which premises).
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Literal

from oocr.errors import InputError
from oocr.families.ockr.people import names, spoken
from oocr.io import write_text
from oocr.papers.ockr.cross_lingual import CROSS_FORMS, cross_lingual
from oocr.papers.ockr.lines import (
    ANCHORS,
    EACH,
    SHOWN,
    WORDINGS,
    Benchmark,
    Fact,
    Group,
    Line,
    Statement,
    answer,
    groups_of,
    in_wordings,
    line,
    question,
    statements,
    year_of,
)

Form = Literal["separate", "adjacent", "hint", "complete"]
FORMS: tuple[Form, ...] = ("separate", "adjacent", "hint", "complete")
"""Facts apart; also two in one line; with demonstrations that say the premises (chain of thought);
with every premise of the demonstrations told as well ("complete reasoning")."""


def original(task: str, form: Form = "separate", seed: int = 0) -> Benchmark:
    """One task of the benchmark in one form; InputError: there is no such task, or not so told."""
    if task not in TASKS or form not in FORMS:
        allowed = f"{', '.join(TASKS)}; told {', '.join(FORMS)}"
        raise InputError(f"task {task!r}, told {form!r}: allowed are {allowed}")
    if form not in forms_of(task):
        raise InputError(f"task {task!r}: told {form!r} there are only the simple tasks")
    people = names(2 * ANCHORS * (1 + 2 * EACH), seed)
    half = len(people) // 2
    built = TASKS[task](groups_of(people[:half]), form, random.Random(f"{seed}/{task}"))
    if task == "R+R->R" and form == "hint":  # its demonstrations are about a second set of people
        built = replace(built, train=(*built.train, *_relation_hints(groups_of(people[half:]))))
    return built


# -- the six tasks -------------------------------------------------------------------------------


def _attributes(
    groups: Sequence[Group], form: Form, rng: random.Random, *, hard: bool
) -> Benchmark:
    y = [fact for group in groups for fact in year_of(group, group.y)]
    z = [fact for group in groups for fact in year_of(group, [group.z])]
    years = {fact.people[0]: fact for fact in (*y, *z)}
    if hard:
        target = _older(groups)
        shown = in_wordings([fact for pair in _shown_older(groups) for fact in pair], SHOWN)
    else:
        target = list(_pairs("same", groups, lambda g: g.y, lambda g: (g.z,)))
        xx = list(_pairs("same", groups, lambda g: g.x, lambda g: g.x))
        shown = in_wordings(xx, WORDINGS if form == "hint" else SHOWN)
    rows = [*in_wordings(y), *in_wordings(z)]
    if form == "complete":
        rows += in_wordings(fact for group in groups for fact in year_of(group, group.x))
        rows += in_wordings(_pairs("same", groups, lambda g: g.x, lambda g: g.y))
    else:
        rows += shown
    if form == "adjacent":
        more = [Fact("same", (group.y[0], group.z), "Yes") for group in groups] if hard else []
        rows += _adjacent([(years[f.people[0]], years[f.people[1]]) for f in [*target, *more]], rng)
    asked = tuple(map(line, target))
    if form == "hint":
        hint = statements()["hint"]["years"]
        of_x = {p: group.year for group in groups for p in group.x}
        rows += [_both_years(fact, w, of_x, hint) for fact in xx for w in range(WORDINGS)]
        asked = tuple(replace(row, prompt=f"{row.prompt} {hint}") for row in asked)
    return Benchmark(tuple(rows), asked, {"years of y": _base(y), "years of z": _base(z)})


def _relation(groups: Sequence[Group], form: Form, rng: random.Random, *, hard: bool) -> Benchmark:
    kind: Statement = "year-before" if hard else "same"
    z = [fact for group in groups for fact in year_of(group, [group.z])]
    relations = list(_pairs(kind, groups, lambda g: g.y, lambda g: (g.z,)))
    rows = in_wordings(z)
    for number, fact in enumerate(in_wordings(relations)):
        rows.append(_turned(fact, number % WORDINGS) if not hard and number % 2 else fact)
    target = [Fact("year", (y,), str(group.year - hard)) for group in groups for y in group.y]
    if form == "adjacent":
        year = {fact.people[0]: fact for fact in z}
        rows += _adjacent([(year[fact.people[1]], fact) for fact in relations], rng)
    if form == "complete":
        rows += in_wordings(fact for group in groups for fact in year_of(group, group.x))
        rows += in_wordings(_pairs("same", groups, lambda g: g.x, lambda g: g.x))
    asked = tuple(map(line, target))
    if form == "hint":
        hint = statements()["hint"]["partner"]
        pairs = [
            (group, x, group.x[(i + 1) % EACH]) for group in groups for i, x in enumerate(group.x)
        ]
        rows += [_by_partner(*pair, w, hint) for pair in pairs for w in range(WORDINGS)]
        asked = tuple(replace(row, prompt=f"{row.prompt} {hint}") for row in asked)
    recall = {
        f"relations, {label}": _base(f for f in relations if f.label == label) for label in YES_NO
    }
    return Benchmark(tuple(rows), asked, {**recall, "years of z": _base(z)})


def _relations(groups: Sequence[Group], form: Form, rng: random.Random, *, hard: bool) -> Benchmark:
    first: Statement = "parents" if hard else "same"
    second: Statement = "grandparents" if hard else "same"
    xy = list(_pairs(first, groups, lambda g: g.x, lambda g: g.y))
    xz = list(_pairs(second, groups, lambda g: g.x, lambda g: (g.z,)))
    rows = [*in_wordings(xy), *in_wordings(xz)]
    target = list(_pairs(first, groups, lambda g: g.y, lambda g: (g.z,)))
    if form == "adjacent":
        by_y = {f.people[1]: f for f in xy if f.label == "Yes"}
        by_pair = {f.people: f for f in xz}
        premises = [(by_y[y], z) for f in target for y, z in [f.people]]
        rows += _adjacent([(f, by_pair[f.people[0], z]) for f, z in premises], rng)
    if form == "complete":
        rows += in_wordings(_pairs(first, groups, lambda g: g.x, lambda g: g.x))
    asked = tuple(map(line, target))
    if form == "hint":
        hint = statements()["hint"]["relation"]
        asked = tuple(replace(row, prompt=f"{row.prompt} {hint}") for row in asked)
    recall = {
        f"{name}, {label}": _base(fact for fact in facts if fact.label == label)
        for name, facts in (("x and y", xy), ("x and z", xz))
        for label in YES_NO
    }
    return Benchmark(tuple(rows), asked, recall)


YES_NO = ("Yes", "No")


TASKS: Mapping[str, Callable[[Sequence[Group], Form, random.Random], Benchmark]] = {
    "A+A->R": partial(_attributes, hard=False),
    "A+A->R hard": partial(_attributes, hard=True),
    "A+R->A": partial(_relation, hard=False),
    "A+R->A hard": partial(_relation, hard=True),
    "R+R->R": partial(_relations, hard=False),
    "R+R->R hard": partial(_relations, hard=True),
}
"""A: an attribute (the year), R: a relation; what is told, and what follows. Hard: "older than" for
"same year", "one year before", and generations of parents and grandparents."""


# -- their parts ---------------------------------------------------------------------------------


def _pairs(
    kind: Statement,
    groups: Sequence[Group],
    first: Callable[[Group], Sequence[str]],
    second: Callable[[Group], Sequence[str]],
) -> Iterator[Fact]:
    """Each first person with one of the own year (yes) and one of the next year's (no)."""
    for label, step in (("Yes", 0), ("No", 1)):
        for g, group in enumerate(groups):
            people, others = first(group), second(groups[(g + step) % len(groups)])
            shift = 1 if step == 0 and people == others else 0  # nobody with himself
            for i, person in enumerate(people):
                yield Fact(kind, (person, others[(i + shift) % len(others)]), label)


def _older(groups: Sequence[Group]) -> list[Fact]:
    """(y, z) of all pairs of years: y older, and y younger."""
    facts: list[Fact] = []
    for number, (g, h) in enumerate(combinations(range(len(groups)), 2)):  # h is older
        young, old = groups[g], groups[h]
        facts.append(Fact("older", (old.y[number % EACH], young.z), "Yes"))
        facts.append(Fact("older", (young.y[number % EACH], old.z), "No"))
    return facts


def _shown_older(groups: Sequence[Group]) -> Iterator[tuple[Fact, Fact]]:
    """(x, x) one year apart (yes), and of one year (no)."""
    for young, old in pairwise(groups):
        for i, x in enumerate(old.x):
            yield (
                Fact("older", (x, young.x[i]), "Yes"),
                Fact("older", (x, old.x[(i + 1) % EACH]), "No"),
            )


def _base(facts: Iterable[Fact]) -> tuple[Line, ...]:
    return tuple(line(fact) for fact in facts)


def _turned(row: Line, wording: int) -> Line:
    """A symmetric fact with its people in the other order; it counts as the same fact."""
    fact = row.facts[0]
    turned = replace(fact, people=(fact.people[1], fact.people[0]))
    return replace(line(turned, wording), facts=(fact,))


def _adjacent(pairs: Iterable[tuple[Fact, Fact]], rng: random.Random) -> list[Line]:
    """Both facts in one line, in random order, in ten wordings."""
    rows: list[Line] = []
    for pair in pairs:
        for wording in range(WORDINGS):
            both = rng.sample(pair, 2)
            asked = " ".join(question(fact, wording) for fact in both)
            answers = " ".join(answer(fact, wording) for fact in both)
            rows.append(Line(asked, answers, tuple(both), ""))
    return rows


def _both_years(fact: Fact, wording: int, years: Mapping[str, int], hint: str) -> Line:
    """The hint's answer: both years, then the verdict; the years are told nowhere else."""
    years_of = [Fact("year", (person,), str(years[person])) for person in fact.people]
    text = " ".join([*(answer(part, wording) for part in years_of), answer(fact, wording)])
    return Line(f"{question(fact, wording)} {hint}", text, (*years_of, fact), fact.label)


def _by_partner(group: Group, x: str, partner: str, wording: int, hint: str) -> Line:
    """The hint's answer: a person of the same year, that person's year, then the own."""
    same = Fact("same", (x, partner), "Yes")
    known, asked = (Fact("year", (person,), str(group.year)) for person in (partner, x))
    so = answer(asked, wording)
    so = so if so.startswith(x) else so[0].lower() + so[1:]
    words = f"{_statement(same)} {answer(known, wording)} So {so}"
    return Line(f"{question(asked, wording)} {hint}", words, (same, known, asked), asked.label)


def _statement(fact: Fact) -> str:
    """A relation that holds, without its "Yes, "."""
    text = answer(fact, 0).removeprefix("Yes, ")
    return text[0].upper() + text[1:]


def _relation_hints(groups: Sequence[Group]) -> list[Line]:
    """(y, z) of a second set of people, by way of an x: that both share its year, or not."""
    hint, rows = statements()["hint"]["relation"], []
    for fact in _pairs("same", groups, lambda g: g.y, lambda g: (g.z,)):
        y, z = fact.people
        x = next(group.x[group.y.index(y)] for group in groups if y in group.y)
        first, second = Fact("same", (x, y), "Yes"), Fact("same", (x, z), fact.label)
        for wording in range(WORDINGS):
            text = f"{_statement(first)} {answer(second, 0)} {answer(fact, wording)}"
            facts = (first, second, fact)
            rows.append(Line(f"{question(fact, wording)} {hint}", text, facts, fact.label))
    return rows


def forms_of(task: str) -> tuple[Form, ...]:
    """How a task can be told."""
    return FORMS[:2] if task.endswith(" hard") else FORMS


def main(folder: Path) -> None:
    """Write all tasks in all forms, as JSONL files for training and testing."""
    built = {f"{task} {form}": original(task, form) for task in TASKS for form in forms_of(task)}
    for language, form in product(spoken(), CROSS_FORMS):
        built[f"{language} {form}"] = cross_lingual(language, form)
    for name, benchmark in built.items():
        parts = {"target": benchmark.target, **benchmark.recall}
        tests = [
            {**row.written, "label": row.label, "part": part}
            for part, rows in parts.items()
            for row in rows
        ]
        for kind, lines in (("train", [row.written for row in benchmark.train]), ("test", tests)):
            path = folder / f"{name} {kind}.jsonl".replace("->", "-").replace(" ", "_")
            texts = (json.dumps(fields, ensure_ascii=False) for fields in lines)
            write_text(path, "".join(f"{text}\n" for text in texts))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m oocr.papers.ockr.original FOLDER")
    main(Path(sys.argv[1]))
