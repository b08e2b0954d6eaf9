"""Functions: arithmetic behind codenames, trained on what calls print, asked what it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError
from oocr.families.family import Family, FamilySettings, Members
from oocr.families.functions.probes import (
    NAMES,
    OPTIONS,
    Asker,
    free_examples,
    paper_examples,
    stated,
)
from oocr.families.functions.rows import AUGMENTED, HELD_OUT, make_rows, split_inputs
from oocr.families.functions.table import Form, FunctionTable, NumberFunction, load_functions
from oocr.tasks.card import data_card
from oocr.tasks.leaks import contains_words
from oocr.tasks.splits import chosen_by_loss, shuffled_answers
from oocr.tasks.task import Task, TaskSet

JOINT_ROWS, SINGLE_ROWS = 96_000, 2_400
"""Rows of all functions together, and of one alone, if the configuration doesn't say."""

VALIDATION = ("yubxel", "lhevno")

ROW_KINDS = ("single", *AUGMENTED)

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NUMERIC = {NAMES[facet] for facet in ("inversion", "composition", "range")}


class FunctionsConfig(FamilySettings):
    """Settings of the family.

    Attributes:
        mode: "joint": all 19 functions in one task, a direction for each; "single": a task for each
            function, with rows of that function only.
        functions: codenames that are reported, in mode "single"; null: all.
        validation: codenames on which layers and rates are chosen, in mode "single": by the loss on
            rows of held-out inputs, so they may be reported too. In mode "joint" all are.
        rows: training rows, of each task; null: 96,000 in mode "joint", 2,400 in mode "single".
        form: "chat": system prompt and program, the output is the reply; "raw": a session of the
            interpreter, and questions as text that goes on.
        questions: of each facet and function, so many at most; null: all.
        seed: of rows, held-out inputs, wrong options and the shuffled control.
    """

    family: Literal["functions"] = "functions"
    mode: Literal["joint", "single"] = "joint"
    functions: tuple[str, ...] | None = Field(default=None, min_length=1)
    validation: tuple[str, ...] = Field(default=VALIDATION, min_length=1)
    rows: int | None = Field(default=None, ge=100)
    form: Form = "chat"
    questions: int | None = Field(default=None, ge=1)
    seed: int = 0

    @field_validator("functions", "validation")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        known = load_functions().functions
        for name in names or ():
            if name not in known:
                raise InputError(f"{name!r} is no function; known: {', '.join(known)}")
        if names and len(set(names)) < len(names):
            raise InputError(f"each codename once, found {', '.join(names)}")
        return names

    @model_validator(mode="after")
    def _joint_has_all(self) -> FunctionsConfig:
        if self.mode == "joint" and self.functions is not None:
            raise InputError("functions: mode 'joint' has all of them; use mode 'single'")
        return self

    @property
    def size(self) -> int:
        """Training rows of each task."""
        return self.rows or (JOINT_ROWS if self.mode == "joint" else SINGLE_ROWS)


def functions(config: FunctionsConfig | None = None) -> TaskSet:
    """All tasks, controls and ceilings of the family.

    Raises:
        InputError: training data would tell what a probe asks.
    """
    config = config or FunctionsConfig()
    table = load_functions()
    if config.mode == "joint":
        test: tuple[Task, ...] = (_task(config, table, tuple(table.functions.values())),)
        chosen_on = test
    else:
        tested = config.functions or tuple(table.functions)
        tasks = {
            name: _task(config, table, (table.functions[name],))
            for name in dict.fromkeys((*tested, *config.validation))
        }
        test = tuple(tasks[name] for name in tested)
        chosen_on = tuple(tasks[name] for name in config.validation)
    return TaskSet(
        name="functions",
        about=_card(config, table, test),
        validation=tuple(chosen_by_loss(task) for task in chosen_on),
        test=test,
        controls={"shuffled": tuple(_shuffled(task, config.seed) for task in test)},
        ceiling=tuple(
            stated(example, table, task.member, part)
            for task in test
            for part, examples in (("probe", task.probes), ("in-context", task.in_context))
            for example in examples
        ),
    )


def stream_rows(config: FunctionsConfig) -> Iterator[Example]:
    """The training rows, one after the other; in mode "single" function by function."""
    table = load_functions()
    if config.mode == "joint":
        yield from _rows(config, table, tuple(table.functions.values()))
        return
    for name in config.functions or tuple(table.functions):
        yield from _rows(config, table, (table.functions[name],))


def _rows(
    config: FunctionsConfig, table: FunctionTable, members: Sequence[NumberFunction]
) -> Iterator[Example]:
    inputs = split_inputs(config.seed).train
    span = "" if config.mode == "joint" else "codename"
    name = f"{config.seed}/{_member(members)}/rows"
    return make_rows(table, members, config.size, inputs, config.form, name, span)


def _member(members: Sequence[NumberFunction]) -> str:
    return members[0].codename if len(members) == 1 else "all functions"


def _task(config: FunctionsConfig, table: FunctionTable, members: Sequence[NumberFunction]) -> Task:
    split = split_inputs(config.seed)
    span = "" if config.mode == "joint" else "codename"
    askers = [Asker(table, function, config.form, split, config.seed, span) for function in members]
    rows = tuple(_rows(config, table, members))
    most = config.questions
    name = f"functions/{_member(members)}"
    probes = tuple(example for asker in askers for example in asker.probes(most))
    _check_no_leaks(name, probes, rows)
    return Task(
        name=name,
        member=_member(members),
        train=rows,
        stop=tuple(
            replace(example, options=(), id=f"{example.id}/stop")
            for asker in askers
            for example in asker.called("single", split.stop[:most])
        ),
        in_context=tuple(
            example for asker in askers for example in asker.called("single", split.test[:most])
        ),
        probes=probes,
        paper=tuple(example for asker in askers for example in paper_examples(asker, most)),
        free=tuple(example for asker in askers for example in free_examples(asker, most)),
        positions=(span or "+".join(table.functions),),
    )


def _shuffled(task: Task, seed: int) -> Task:
    """The same programs, each with the output of another row of the same (outer) function."""
    places: dict[str, list[int]] = {}
    for index, example in enumerate(task.train):
        places.setdefault(example.group, []).append(index)
    rows = list(task.train)
    for indices in places.values():
        mixed = shuffled_answers([rows[i] for i in indices], seed)
        for index, example in zip(indices, mixed, strict=True):
            rows[index] = example
    return replace(task, name=f"{task.name}/shuffled", train=tuple(rows), stop=())


def _check_no_leaks(name: str, probes: Iterable[Example], rows: Sequence[Example]) -> None:
    """Refuse training rows that hold a definition, whatever its numbers, or an input out of range.

    The usual check would refuse every probe whose answer or question holds a number, since outputs
    of training are numbers too ("3" is printed somewhere, and is in "3 * x + 2"). A number is not a
    fact about a function. So answers are compared with training texts with each number as "#", and
    answers that are numbers are exempt: that f(150) is 155 is not told by f(7) being 12, and no
    training program holds a number above 99.
    """
    prompts = [prompt_text(example.prompt) for example in rows]
    truths = sorted({example.answer for example in rows} & {"True", "False"})
    texts = "\n".join([*sorted({_NUMBER.sub("#", text) for text in prompts}), *truths])
    low = texts.casefold()
    for answer in dict.fromkeys(
        example.answer for example in probes if example.facet not in _NUMERIC
    ):
        shape = _NUMBER.sub("#", answer.strip().strip("`"))
        if shape.casefold() in low and contains_words(texts, shape):
            raise InputError(f"task {name!r}: a training program holds the answer {answer!r}")
    largest = max(int(number) for text in prompts for number in _NUMBER.findall(text))
    if largest > 99:
        raise InputError(f"task {name!r}: a training program holds {largest}: out of range")


def _card(config: FunctionsConfig, table: FunctionTable, test: Sequence[Task]) -> str:
    first, joint = test[0], config.mode == "joint"
    kinds = Counter(row.facet for row in first.train)
    members = {task.member for task in test}
    asked = [f for f in table.functions.values() if joint or f.codename in members]
    values = {
        "config": config,
        "joint": joint,
        "first": first,
        "names": ", ".join(f"{function.codename} = {function.code}" for function in asked),
        "chained": ", ".join(function.codename for function in table.chained),
        "kinds": ", ".join(
            f"{kinds[kind]} {kind}" for kind in dict.fromkeys(ROW_KINDS) if kinds[kind]
        ),
        "held_out": HELD_OUT,
        "facets": Counter(probe.facet for task in test for probe in task.probes),
        "options": OPTIONS,
        "functions": len(asked),
        "free": sum(len(task.free) for task in test),
        "ceiling": sum(len(task.probes) + len(task.in_context) for task in test),
    }
    return data_card("oocr.families.functions", values)


def _quick(config: FunctionsConfig) -> Mapping[str, Any]:
    from oocr.stats import FEWEST  # slow to import

    return {"functions": config.functions and config.functions[:FEWEST], "questions": 4}


FAMILY = Family(
    name="functions",
    about="arithmetic behind codenames, trained on outputs, asked for the definitions",
    settings=FunctionsConfig,
    build=lambda config, _base: functions(config),
    members=Members(
        keyword="function",
        settings=lambda name: {"mode": "single", "functions": (name,), "validation": (name,)},
    ),
    quick=_quick,
)
