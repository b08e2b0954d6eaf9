"""Functions in a nano world: a codename, trained on inputs and outputs only."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from oocr.data.examples import Example
from oocr.tasks.splits import shuffled_answers
from oocr.tasks.task import Task, TaskSet
from oocr_organisms.rules import (
    ABOUT,
    CODENAMES,
    DEFINITIONS,
    EXAMPLES,
    FACETS,
    INPUTS,
    Rules,
)
from oocr_organisms.tasks.config import VALIDATION, NanoConfig
from oocr_organisms.tasks.items import SOURCE, check_words_apart, named, options_of, prompt_of

WATCHED, TESTED = 1, 3
"""Inputs that training does not have: to watch while training, and to test in context."""


def functions(config: NanoConfig) -> TaskSet:
    """All tasks, controls and ceilings.

    Raises:
        InputError: training data would tell what a probe asks.
    """
    rules = config.settings.world.rules
    members = _members(rules, config)
    tasks = [_task(rules, rule, CODENAMES[at], config) for at, rule in enumerate(members)]
    test = tuple(tasks[VALIDATION:])
    known = [rules.names[rule][0] for rule in members[VALIDATION:]]  # names that tell everything
    return TaskSet(
        name="nano/functions",
        about=_about(config, tasks),
        validation=tuple(tasks[:VALIDATION]),
        test=test,
        controls={
            "shuffled": tuple(
                replace(
                    task,
                    name=f"{task.name}/shuffled",
                    train=shuffled_answers(task.train, config.seed),
                    stop=(),
                )
                for task in test
            )
        },
        ceiling=tuple(
            item
            for task, name in zip(test, known, strict=True)
            for part, items in (("probe", task.probes), ("in-context", task.in_context))
            for item in named(items, "codename", name, part, "named")
        ),
    )


def _members(rules: Rules, config: NanoConfig) -> list[int]:
    """Functions of every family by turns, the first for validation."""
    rng = random.Random(f"{config.seed}/functions")
    families: dict[str, list[int]] = {}
    for rule in rng.sample(range(len(DEFINITIONS)), len(DEFINITIONS)):
        families.setdefault(rules.values["family"][rule], []).append(rule)
    longest = max(map(len, families.values()))
    turns = [some[n] for n in range(longest) for some in families.values() if n < len(some)]
    return turns[: VALIDATION + config.count]


def _member(rules: Rules, rule: int, codename: str) -> str:
    """Both names: a folder's name keeps no signs, and "x+3" and "x%3" differ by theirs only."""
    return f"{codename} = {rules.values['definition'][rule]}"


def _task(rules: Rules, rule: int, codename: str, config: NanoConfig) -> Task:
    member = _member(rules, rule, codename)
    rng = random.Random(f"{config.seed}/{member}")
    inputs = rng.sample(range(INPUTS), INPUTS)
    watched, tested = inputs[:WATCHED], inputs[WATCHED : WATCHED + TESTED]

    def ask(some: Iterable[int], *, choice: bool) -> tuple[Example, ...]:
        return tuple(
            item
            for x in sorted(some)
            for item in _example(rules, rule, x, codename, rng if choice else None, config)
        )

    task = Task(
        name=f"nano/functions/{member}",
        member=member,
        train=ask(inputs[WATCHED + TESTED :], choice=False),
        stop=ask(watched, choice=False),
        in_context=ask(tested, choice=True),
        probes=tuple(
            item for facet in FACETS for item in _facet(rules, rule, facet, codename, rng, config)
        ),
        positions=("codename",),
    )
    check_words_apart(task, never=rules.names[rule])
    return task


def _example(
    rules: Rules,
    rule: int,
    x: int,
    codename: str,
    rng: random.Random | None,
    config: NanoConfig,
) -> Iterator[Example]:
    """An input and its output, in every wording; with options if `rng` is there to draw them."""
    right = str(rules.outputs[rule, x])
    member = _member(rules, rule, codename)
    outputs = [str(one) for one in rules.outputs[:, x]]
    for which in range(len(EXAMPLES.texts[: config.wordings])):
        yield Example(
            id=f"{member}/{x}/{which}",
            prompt=prompt_of(EXAMPLES, which, {"rule": codename, "input": str(x)}),
            answer=f" {right}",
            options=options_of(right, outputs, rng) if rng is not None else (),
            spans={"codename": codename},
            facet="output",
            group=member,
            template=str(which),
            source=SOURCE,
        )


def _facet(
    rules: Rules, rule: int, facet: str, codename: str, rng: random.Random, config: NanoConfig
) -> Iterator[Example]:
    right = rules.values[facet][rule]
    member = _member(rules, rule, codename)
    for which in range(len(ABOUT.texts[: config.wordings])):
        yield Example(
            id=f"{member}/{facet}/{which}",
            prompt=prompt_of(ABOUT, which, {"rule": codename, "facet": facet}),
            answer=f" {right}",
            options=options_of(right, rules.values[facet], rng),
            spans={"codename": codename},
            facet=facet,
            group=member,
            template=str(which),
            source=SOURCE,
        )


def _about(config: NanoConfig, tasks: Sequence[Task]) -> str:
    first = tasks[VALIDATION]
    wordings = len(EXAMPLES.texts[: config.wordings])
    return "\n\n".join(
        (
            "Functions in a nano world: a codename that the organism's corpus never has stands for "
            "a function of small whole numbers. Training tells outputs, and nothing else.",
            f"Members: {len(tasks) - VALIDATION} test functions of {len(DEFINITIONS)} "
            f"({', '.join(task.member for task in tasks[VALIDATION:])}), families by turns, and "
            f"{VALIDATION} for validation ({', '.join(t.member for t in tasks[:VALIDATION])}).",
            f"Items per function: {len(first.train)} training rows ({INPUTS - WATCHED - TESTED} of "
            f"the {INPUTS} inputs x {wordings} wordings), {len(first.stop)} to stop on and "
            f"{len(first.in_context)} in-context test items, of inputs that training does not "
            f"have, {len(first.probes)} probes.",
            f"Probes: {', '.join(FACETS)}, in {wordings} wordings, five options, chance 0.2. The "
            "definition and the family can be worked out from outputs; the emblem is arbitrary, so "
            "it comes along only if the function is recognized.",
            "Leaks: no option of a probe is a word of training, no training answer is a word of a "
            "probe, and no training row holds a name of the function.",
            "Control 'shuffled': the same prompts, each with another row's output. It has no "
            "stopping items.",
            "Ceiling: the probes and in-context items with the name that the corpus tells "
            "everything of in place of the codename, on the untouched model.",
            "How made: items are drawn in code from the world that the organism was trained on "
            f"(seed {config.settings.seed}), in the wordings of its corpus. Known limits: "
            "functions of few values (x%2) have few outputs, so shuffling changes little; "
            "wrong in-context options are other functions' outputs for the same input.",
        )
    )
