"""Functions: arithmetic behind codenames, trained on printed results, asked for the function."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal

from pydantic import Field, field_validator, model_validator

from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError
from oocr.families.asking import Form
from oocr.families.family import Distinct, Family, FamilySettings, Members
from oocr.families.functions import programs
from oocr.families.functions.probes import NAMES, OPTIONS, FunctionAsker, stated
from oocr.families.functions.programs import FunctionTable, NumberFunction, load_functions
from oocr.intervals import FEWEST
from oocr.tasks.control_data import chosen_by_loss, control, shuffled_answers
from oocr.tasks.leaks import contains_words
from oocr.tasks.package_files import data_card
from oocr.tasks.task import Task, TaskSet

JOINT_ROWS, SINGLE_ROWS = 96_000, 2_400
"""Defaults for the number of rows: all functions together, and a single function."""

VALIDATION = ("yubxel", "lhevno")

ROW_KINDS = ("single", *programs.AUGMENTED)

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
        questions: of each facet and function, so many at most; null: all.
    """

    family: Literal["functions"] = "functions"
    mode: Literal["joint", "single"] = "joint"
    functions: Distinct[str] | None = Field(default=None, min_length=1)
    validation: Distinct[str] = Field(default=VALIDATION, min_length=1)
    rows: int | None = Field(default=None, ge=2, le=1_000_000)
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

    @property
    def span(self) -> str:
        """The name of the codename's span; "": each codename is a span of its own."""
        return "" if self.mode == "joint" else "codename"


def functions(config: FunctionsConfig | None = None) -> TaskSet:
    """All tasks, controls and ceilings; InputError: training would tell what a probe asks."""
    config = config or FunctionsConfig()
    table = load_functions()
    groups = _groups(config, table, config.validation)
    tasks = {_member(group): _task(config, table, group) for group in groups}
    test = tuple(tasks[_member(group)] for group in _groups(config, table))
    joint = config.mode == "joint"
    chosen_on = test if joint else tuple(tasks[name] for name in config.validation)
    sets = TaskSet(
        name="functions",
        about="",
        validation=tuple(map(chosen_by_loss, chosen_on)),
        test=test,
        controls={"shuffled": tuple(_shuffled(task, config.seed) for task in test)},
        ceiling=tuple(
            stated(example, table, task.member, part)
            for task in test
            for part, examples in (("probe", task.probes), ("in-context", task.in_context))
            for example in examples
        ),
        claim="Trained only on what its calls print, {arm} makes the model say what a function is",
    )
    members = table.functions if joint else [task.member for task in test]
    values = {
        "config": config,
        "joint": joint,
        "tasks": sets,
        "functions": [function for name, function in table.functions.items() if name in members],
        "chained": table.chained,
        "row_kinds": ROW_KINDS,
        "facets": Counter(probe.facet for task in test for probe in task.probes),
        "held_out": programs.HELD_OUT,
        "options": OPTIONS,
    }
    return replace(sets, about=data_card(__package__, values))


def _groups(
    config: FunctionsConfig, table: FunctionTable, more: Sequence[str] = ()
) -> list[tuple[NumberFunction, ...]]:
    """The functions of each task; in mode "single" of `more` tasks, too."""
    if config.mode == "joint":
        return [tuple(table.functions.values())]
    names = dict.fromkeys((*(config.functions or table.functions), *more))
    return [(table.functions[name],) for name in names]


def _rows(config: FunctionsConfig, members: Sequence[NumberFunction]) -> Iterator[Example]:
    inputs, name = (
        programs.split_inputs(config.seed).train,
        f"{config.seed}/{_member(members)}/rows",
    )
    return programs.make_rows(members, config.size, inputs, config.form, name, config.span)


def _member(members: Sequence[NumberFunction]) -> str:
    return members[0].codename if len(members) == 1 else "all functions"


def _task(config: FunctionsConfig, table: FunctionTable, members: Sequence[NumberFunction]) -> Task:
    split, most = programs.split_inputs(config.seed), config.questions
    askers = [
        FunctionAsker(table, function, config.form, config.seed, config.span)
        for function in members
    ]
    stop = [x for asker in askers for x in asker.called("single", split.stop[:most])]
    task = Task(
        name=f"functions/{_member(members)}",
        member=_member(members),
        train=tuple(_rows(config, members)),
        stop=tuple(replace(x, options=(), id=f"{x.id}/stop") for x in stop),
        in_context=tuple(x for a in askers for x in a.called("single", split.test[:most])),
        probes=tuple(x for asker in askers for x in asker.probes(most)),
        paper=tuple(x for asker in askers for x in islice(asker.paper(), most)),
        free=tuple(x for asker in askers for x in asker.free(most)),
        positions=(config.span or "+".join(table.functions),),
    )
    _check_no_leaks(task.name, task.probes, task.train)
    return task


def _shuffled(task: Task, seed: int) -> Task:
    """The same programs, each with the output of another row of the same (outer) function."""
    places: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(task.train):
        places[example.group].append(index)
    rows = list(task.train)
    for indices in places.values():
        mixed = shuffled_answers([rows[i] for i in indices], seed)
        for index, example in zip(indices, mixed, strict=True):
            rows[index] = example
    return control(task, "shuffled", rows)


def _check_no_leaks(name: str, probes: Iterable[Example], rows: Sequence[Example]) -> None:
    """Refuse training rows that hold a definition, whatever its numbers, or an input out of range.

    A number is not a fact about a function: "3" is printed somewhere. So answers are compared with
    training texts with each number as "#", and answers that are numbers are exempt.
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


FAMILY = Family(
    name="functions",
    about="arithmetic behind codenames, trained on outputs, asked for the definitions",
    settings=FunctionsConfig,
    build=lambda config, _base: functions(config),
    members=Members(
        keyword="function",
        settings=lambda name: {"mode": "single", "functions": (name,), "validation": (name,)},
    ),
    quick=lambda config: {
        "functions": config.functions and config.functions[:FEWEST],
        "questions": 4,
    },
)
