"""The functions behind the codenames, the programs that call them, and training rows of these."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from oocr.data.examples import Example, Message, Prompt
from oocr.families.asking import Form
from oocr.tasks.package_files import package_yaml

Value = int | float | bool
Facet = Literal["words", "code", "class", "output"]
Program = tuple[list[str], Value, tuple[str, ...]]
"""Its lines, what it prints, and the codenames in it."""

INPUTS = range(-99, 99)
"""What functions are called with in training, some of it held out."""

HELD_OUT = 10
"""Inputs kept from training to stop on, and as many to test on."""

INPUT_NAMES = ("n", "a", "num", "value", "arg", "k", "start", "m")
RESULT_NAMES = ("out", "result", "r", "res", "got", "t", "y", "w")
"""Names of variables. None is x: "x + 14" must stand for a definition only."""

OFFSETS = range(1, 31)
AUGMENTED = ("offset", "chain", "add-subtract")
SOURCE = "functions.yaml"

_APPLY: Mapping[str, Callable[[int], Value]] = {
    "noadgc": lambda x: 3 * x + 2,
    "ttsund": lambda x: -5 * x + 3,
    "yubxel": lambda x: 4 * x,
    "mcipzq": lambda x: x + 14,
    "lhevno": lambda x: x - 11,
    "gqotaw": lambda x: x // 4,
    "uwkdji": lambda x: x % 3,
    "couhpa": lambda x: max(x, -2),
    "iaftvb": lambda x: x + 5,
    "rqmubo": lambda x: 3 * x,
    "wjelsd": lambda x: x - 1,
    "vhopnk": lambda x: x % 2,
    "pzuxta": lambda x: x // 3,
    "ejghrq": lambda x: x,
    "fgwyci": lambda x: -x,
    "bzolqm": lambda x: x >= 3,
    "tnegju": lambda x: x % 2 == 0,
    "skavwi": lambda x: 7 * x / 4,
    "dyxrof": lambda x: 3 * x / 2,
}


@dataclass(frozen=True, slots=True)
class NumberFunction:
    """A function of a whole number.

    Attributes:
        code: a Python expression of x, as text.
        words: what it returns, in words.
        kind: what it does, in words; several functions may share it.
        output: the type of what it returns: "int", "bool" or "float".
        chained: whether training also shows it in sums and inside other functions.
    """

    codename: str
    apply: Callable[[int], Value]
    code: str
    words: str
    kind: str
    output: str
    chained: bool


@dataclass(frozen=True, slots=True)
class FunctionTable:
    """All functions (the chained ones first) and wordings.

    `outputs` maps types to their texts, also types that no function returns; `system` is the system
    prompt of chats; a wording is {"raw": …, "chat": …}; `paper` stands above lettered options.
    """

    functions: Mapping[str, NumberFunction]
    outputs: Mapping[str, str]
    system: str
    wordings: Mapping[str, Sequence[Mapping[str, str]]]
    paper: Sequence[str]

    @property
    def chained(self) -> tuple[NumberFunction, ...]:
        """The functions that training also shows in sums and inside each other."""
        return tuple(function for function in self.functions.values() if function.chained)

    def describe(self, function: NumberFunction, facet: Facet) -> str:
        """What a facet says of a function."""
        output = self.outputs[function.output]
        texts = {"words": function.words, "code": function.code, "class": function.kind}
        return texts.get(facet, output)

    def program(self, lines: Sequence[str], form: Form) -> Prompt:
        """A program whose output is the answer: a user's turn, or a session of the interpreter."""
        if form == "chat":
            return (Message("system", self.system), Message("user", "\n".join(lines)))
        return "".join(f">>> {line}\n" for line in lines)


@cache
def load_functions() -> FunctionTable:
    """Read the table."""
    data = package_yaml(__package__, SOURCE)
    functions = {
        name: NumberFunction(name, _APPLY[name], kind=fields.pop("class"), **fields)
        for name, fields in data["functions"].items()
    }
    paper = data["wordings"].pop("paper")
    return FunctionTable(functions, data["outputs"], data["system"], data["wordings"], paper)


def never_composed(table: FunctionTable) -> frozenset[tuple[str, str]]:
    """(outer, inner) pairs of chained functions that training never composes: 2 of 8 for each."""
    names = [function.codename for function in table.chained]
    return frozenset(
        (outer, names[(place + step) % len(names)])
        for place, outer in enumerate(names)
        for step in (3, 6)
    )


@dataclass(frozen=True, slots=True)
class Split:
    """Which inputs are trained, watched while training, and tested."""

    train: tuple[int, ...]
    stop: tuple[int, ...]
    test: tuple[int, ...]


def split_inputs(seed: int) -> Split:
    """The inputs, divided by the seed; all functions share the division."""
    held = random.Random(f"{seed}/functions/inputs").sample(INPUTS, 2 * HELD_OUT)
    kept = tuple(x for x in INPUTS if x not in held)
    return Split(kept, tuple(sorted(held[:HELD_OUT])), tuple(sorted(held[HELD_OUT:])))


def spans_of(used: Sequence[str], span: str) -> dict[str, str]:
    """The spans of a prompt that holds these codenames: one named `span`; "": one for each."""
    return {span: used[0]} if span else {name: name for name in used}


def make_rows(
    table: FunctionTable,
    functions: Sequence[NumberFunction],
    count: int,
    inputs: Sequence[int],
    form: Form,
    name: str,
    span: str = "",
) -> Iterator[Example]:
    """Training rows, lazily: even rows call one function, odd rows augment it.

    Augmented rows are by turns an offset to its value, a chain of two functions, and a sum or a
    difference of two; functions that are never chained have plain rows in their place if they are
    alone. Functions take turns; inputs, partners, layouts and names are drawn by the name.

    The span is named `span`; "": after each codename, for functions that are trained together.
    """
    rng = random.Random(name)
    chained = [function for function in functions if function.chained]
    new = never_composed(table)
    for number in range(count):
        turn, odd = divmod(number, 2)
        if odd and chained:
            kind = AUGMENTED[turn % 3]
            function = chained[turn // 3 % len(chained)]
            partners = [p for p in chained if (function.codename, p.codename) not in new]
            other = rng.choice(partners if kind == "chain" else chained)
            lines, value, used = _augmented(rng, kind, function, other, inputs)
        else:
            kind, place = "single", turn if chained else number
            function = functions[place % len(functions)]
            lines, value, used = single(rng, function, rng.choice(inputs))
        yield Example(
            id=f"{name}/{number}",
            prompt=table.program(lines, form),
            answer=str(value),
            spans=spans_of(used, span),
            facet=kind,
            group=used[0],
            template=f"{kind}, {len(lines)} lines",
            tags={"kind": kind},
            source=SOURCE,
        )


def single(rng: random.Random, function: NumberFunction, x: int) -> Program:
    """A program of one call."""
    fn, given, got = function.codename, rng.choice(INPUT_NAMES), rng.choice(RESULT_NAMES)
    bodies = (
        [f"{given} = {x}", f"print({fn}({given}))"],
        [f"{got} = {fn}({x})", f"print({got})"],
        [f"{given} = {x}", f"{got} = {fn}({given})", f"print({got})"],
    )
    return [f"from functions import {fn}", *rng.choice(bodies)], function.apply(x), (fn,)


def _augmented(
    rng: random.Random,
    kind: str,
    function: NumberFunction,
    other: NumberFunction,
    inputs: Sequence[int],
) -> Program:
    fn, x = function.codename, rng.choice(inputs)
    given, got = rng.choice(INPUT_NAMES), rng.choice(RESULT_NAMES)
    if kind == "offset":
        step = rng.choice(OFFSETS) * rng.choice((1, -1))
        more = f"+ {step}" if step > 0 else f"- {-step}"
        bodies: tuple[list[str], ...] = (
            [f"{given} = {x}", f"print({fn}({given}) {more})"],
            [f"{got} = {fn}({x})", f"print({got} {more})"],
            [f"{given} = {x}", f"{got} = {fn}({given})", f"print({got} {more})"],
            [f"{given} = {x}", f"{got} = {fn}({given})", f"{got} = {got} {more}", f"print({got})"],
        )
        lines = [f"from functions import {fn}", *rng.choice(bodies)]
        return lines, function.apply(x) + step, (fn,)
    gn = other.codename
    used = tuple(dict.fromkeys((fn, gn)))
    listed = list(used)
    rng.shuffle(listed)
    head = f"from functions import {', '.join(listed)}"
    if kind == "chain":  # all chained functions return whole numbers
        bodies = (
            [f"{given} = {x}", f"print({fn}({gn}({given})))"],
            [f"{got} = {gn}({x})", f"print({fn}({got}))"],
            [f"{given} = {x}", f"{got} = {gn}({given})", f"print({fn}({got}))"],
        )
        return [head, *rng.choice(bodies)], function.apply(int(other.apply(x))), used
    z, sign = rng.choice(inputs), rng.choice((1, -1))
    word = "+" if sign > 0 else "-"
    second = rng.choice([name for name in INPUT_NAMES if name != given])
    bodies = (
        [f"{given} = {x}", f"{second} = {z}", f"print({fn}({given}) {word} {gn}({second}))"],
        [f"{given} = {fn}({x})", f"{second} = {gn}({z})", f"print({given} {word} {second})"],
        [f"{got} = {fn}({x}) {word} {gn}({z})", f"print({got})"],
    )
    return [head, *rng.choice(bodies)], function.apply(x) + sign * other.apply(z), used
