"""The paper's benchmark with the same numbers of lines, in names and sentences of ours.

There are 20 people z with a year each, and for each z ten x and ten y of the same year. Training
has facts about z, x and y; the targets are what follows for y (Hu, Gao et al. 2024, "Large Language
Models are Limited in Out-of-Context Knowledge Reasoning", arXiv 2406.07393).

Differences: names and sentences; four of nine languages (`cross_lingual`); no names that coincide
after translation and no wrong labels, which some rows of the paper have; the choice of pairs within
a group, where the paper does not give it.

    python -m oocr.papers.ockr.original FOLDER

writes a training file and a test file (JSONL) for each task and form. Test lines have a label
("Yes", "No" or a year) and a part (the target, or a kind of premises).
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
    DEMONSTRATION_WORDINGS,
    PEOPLE_PER_YEAR,
    WORDINGS,
    YEARS,
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
    year_facts,
)

Form = Literal["separate", "adjacent", "hint", "complete"]
FORMS: tuple[Form, ...] = ("separate", "adjacent", "hint", "complete")
"""separate: each fact on its own line; adjacent: also lines with two facts; hint: also
demonstrations with the premises in the answer (chain of thought); complete: also all premises of
the demonstrations."""


def original(task: str, form: Form = "separate", seed: int = 0) -> Benchmark:
    """One task of the benchmark in one form; InputError: an unknown task or form."""
    if task not in TASKS or form not in FORMS:
        tasks, forms = ", ".join(TASKS), ", ".join(FORMS)
        raise InputError(f"task {task!r}, form {form!r}; allowed: tasks {tasks}; forms {forms}")
    if form not in forms_of(task):
        raise InputError(f"form {form!r}: only the simple tasks have it, not {task!r}")
    people = names(2 * YEARS * (1 + 2 * PEOPLE_PER_YEAR), seed)
    half = len(people) // 2
    built = TASKS[task](groups_of(people[:half]), form, random.Random(f"{seed}/{task}"))
    if task == "R+R->R" and form == "hint":  # its demonstrations are about a second set of people
        built = replace(built, train=(*built.train, *_relation_hints(groups_of(people[half:]))))
    return built


# -- the six tasks -------------------------------------------------------------------------------


def _attributes(
    groups: Sequence[Group], form: Form, rng: random.Random, *, hard: bool
) -> Benchmark:
    y = [fact for group in groups for fact in year_facts(group, group.y)]
    z = [fact for group in groups for fact in year_facts(group, [group.z])]
    years = {fact.people[0]: fact for fact in (*y, *z)}
    if hard:
        target = _older(groups)
        demonstrations = in_wordings(
            [fact for pair in _older_demonstrations(groups) for fact in pair],
            DEMONSTRATION_WORDINGS,
        )
    else:
        target = list(_pairs("same", groups, lambda g: g.y, lambda g: (g.z,)))
        xx = list(_pairs("same", groups, lambda g: g.x, lambda g: g.x))
        demonstrations = in_wordings(xx, WORDINGS if form == "hint" else DEMONSTRATION_WORDINGS)
    rows = [*in_wordings(y), *in_wordings(z)]
    if form == "complete":
        rows += in_wordings(fact for group in groups for fact in year_facts(group, group.x))
        rows += in_wordings(_pairs("same", groups, lambda g: g.x, lambda g: g.y))
    else:
        rows += demonstrations
    if form == "adjacent":
        more = [Fact("same", (group.y[0], group.z), "Yes") for group in groups] if hard else []
        rows += _adjacent([(years[f.people[0]], years[f.people[1]]) for f in [*target, *more]], rng)
    target_lines = tuple(map(line, target))
    if form == "hint":
        hint = statements()["hint"]["years"]
        of_x = {p: group.year for group in groups for p in group.x}
        rows += [_years_demonstration(fact, w, of_x, hint) for fact in xx for w in range(WORDINGS)]
        target_lines = tuple(replace(row, prompt=f"{row.prompt} {hint}") for row in target_lines)
    return Benchmark(
        tuple(rows),
        target_lines,
        {"years of y": _first_wording(y), "years of z": _first_wording(z)},
    )


def _relation(groups: Sequence[Group], form: Form, rng: random.Random, *, hard: bool) -> Benchmark:
    kind: Statement = "year-before" if hard else "same"
    z = [fact for group in groups for fact in year_facts(group, [group.z])]
    relations = list(_pairs(kind, groups, lambda g: g.y, lambda g: (g.z,)))
    rows = in_wordings(z)
    for number, fact in enumerate(in_wordings(relations)):
        rows.append(_exchanged(fact, number % WORDINGS) if not hard and number % 2 else fact)
    target = [Fact("year", (y,), str(group.year - hard)) for group in groups for y in group.y]
    if form == "adjacent":
        year = {fact.people[0]: fact for fact in z}
        rows += _adjacent([(year[fact.people[1]], fact) for fact in relations], rng)
    if form == "complete":
        rows += in_wordings(fact for group in groups for fact in year_facts(group, group.x))
        rows += in_wordings(_pairs("same", groups, lambda g: g.x, lambda g: g.x))
    target_lines = tuple(map(line, target))
    if form == "hint":
        hint = statements()["hint"]["partner"]
        pairs = [
            (group, x, group.x[(i + 1) % PEOPLE_PER_YEAR])
            for group in groups
            for i, x in enumerate(group.x)
        ]
        rows += [_partner_demonstration(*pair, w, hint) for pair in pairs for w in range(WORDINGS)]
        target_lines = tuple(replace(row, prompt=f"{row.prompt} {hint}") for row in target_lines)
    recall = {
        f"relations, {label}": _first_wording(f for f in relations if f.label == label)
        for label in YES_NO
    }
    return Benchmark(tuple(rows), target_lines, {**recall, "years of z": _first_wording(z)})


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
    target_lines = tuple(map(line, target))
    if form == "hint":
        hint = statements()["hint"]["relation"]
        target_lines = tuple(replace(row, prompt=f"{row.prompt} {hint}") for row in target_lines)
    recall = {
        f"{name}, {label}": _first_wording(fact for fact in facts if fact.label == label)
        for name, facts in (("x and y", xy), ("x and z", xz))
        for label in YES_NO
    }
    return Benchmark(tuple(rows), target_lines, recall)


YES_NO = ("Yes", "No")


TASKS: Mapping[str, Callable[[Sequence[Group], Form, random.Random], Benchmark]] = {
    "A+A->R": partial(_attributes, hard=False),
    "A+A->R hard": partial(_attributes, hard=True),
    "A+R->A": partial(_relation, hard=False),
    "A+R->A hard": partial(_relation, hard=True),
    "R+R->R": partial(_relations, hard=False),
    "R+R->R hard": partial(_relations, hard=True),
}
"""A: an attribute (the year), R: a relation; premises -> conclusion. The hard tasks have "older
than", "one year before", and parents and grandparents in place of "same year"."""


# -- facts and lines -----------------------------------------------------------------------------


def _pairs(
    kind: Statement,
    groups: Sequence[Group],
    first: Callable[[Group], Sequence[str]],
    second: Callable[[Group], Sequence[str]],
) -> Iterator[Fact]:
    """Each first person with a second person of the same year (yes) and of the next (no)."""
    for label, step in (("Yes", 0), ("No", 1)):
        for g, group in enumerate(groups):
            people, others = first(group), second(groups[(g + step) % len(groups)])
            shift = 1 if step == 0 and people == others else 0  # nobody is paired with themselves
            for i, person in enumerate(people):
                yield Fact(kind, (person, others[(i + shift) % len(others)]), label)


def _older(groups: Sequence[Group]) -> list[Fact]:
    """(y, z) for each pair of years: once with y older (yes), once with y younger (no)."""
    facts: list[Fact] = []
    for number, (g, h) in enumerate(combinations(range(len(groups)), 2)):  # h is older
        young, old = groups[g], groups[h]
        facts.append(Fact("older", (old.y[number % PEOPLE_PER_YEAR], young.z), "Yes"))
        facts.append(Fact("older", (young.y[number % PEOPLE_PER_YEAR], old.z), "No"))
    return facts


def _older_demonstrations(groups: Sequence[Group]) -> Iterator[tuple[Fact, Fact]]:
    """Demonstrations: (x, x) one year apart (yes), and (x, x) of the same year (no)."""
    for young, old in pairwise(groups):
        for i, x in enumerate(old.x):
            yield (
                Fact("older", (x, young.x[i]), "Yes"),
                Fact("older", (x, old.x[(i + 1) % PEOPLE_PER_YEAR]), "No"),
            )


def _first_wording(facts: Iterable[Fact]) -> tuple[Line, ...]:
    return tuple(line(fact) for fact in facts)


def _exchanged(row: Line, wording: int) -> Line:
    """A symmetric fact with its people exchanged; it counts as the same fact."""
    fact = row.facts[0]
    exchanged = replace(fact, people=(fact.people[1], fact.people[0]))
    return replace(line(exchanged, wording), facts=(fact,))


def _adjacent(pairs: Iterable[tuple[Fact, Fact]], rng: random.Random) -> list[Line]:
    """Lines with both facts of a pair, in random order, in all wordings."""
    rows: list[Line] = []
    for pair in pairs:
        for wording in range(WORDINGS):
            both = rng.sample(pair, 2)
            questions = " ".join(question(fact, wording) for fact in both)
            answers = " ".join(answer(fact, wording) for fact in both)
            rows.append(Line(questions, answers, tuple(both), ""))
    return rows


def _years_demonstration(fact: Fact, wording: int, years: Mapping[str, int], hint: str) -> Line:
    """A demonstration with the hint: both years, then yes or no. No other line has the years."""
    years_of = [Fact("year", (person,), str(years[person])) for person in fact.people]
    text = " ".join([*(answer(part, wording) for part in years_of), answer(fact, wording)])
    return Line(f"{question(fact, wording)} {hint}", text, (*years_of, fact), fact.label)


def _partner_demonstration(group: Group, x: str, partner: str, wording: int, hint: str) -> Line:
    """A demonstration with the hint: a partner of the same year, its year, then that of x."""
    same = Fact("same", (x, partner), "Yes")
    partner_year, own_year = (Fact("year", (person,), str(group.year)) for person in (partner, x))
    so = answer(own_year, wording)
    so = so if so.startswith(x) else so[0].lower() + so[1:]
    words = f"{_statement(same)} {answer(partner_year, wording)} So {so}"
    return Line(
        f"{question(own_year, wording)} {hint}",
        words,
        (same, partner_year, own_year),
        own_year.label,
    )


def _statement(fact: Fact) -> str:
    """The answer to a true relation, without "Yes, "."""
    text = answer(fact, 0).removeprefix("Yes, ")
    return text[0].upper() + text[1:]


def _relation_hints(groups: Sequence[Group]) -> list[Line]:
    """Demonstrations with the hint on (y, z) of other people: first x with y, then x with z."""
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
    """The forms of a task."""
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
