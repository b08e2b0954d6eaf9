"""The functions behind the codenames, the programs that call them, and training rows of these."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from oocr.data.examples import Example, Message, Prompt
from oocr.evals.expressions import Value, parse_function
from oocr.families.asking import Form
from oocr.tasks.package_files import package_yaml

Facet = Literal["words", "code", "class", "output"]
Program = tuple[list[str], Value, tuple[str, ...]]
"""A program: its lines, its output, and its codenames."""

INPUTS = range(-99, 99)
"""Inputs of functions in training, some of them held out."""

HELD_OUT = 10
"""Number of inputs held out for stopping, and the same number for the test."""

INPUT_NAMES = ("n", "a", "num", "value", "arg", "k", "start", "m")
RESULT_NAMES = ("out", "result", "r", "res", "got", "t", "y", "w")
"""Names of variables. None is x: "x + 14" must stand for a definition only."""

OFFSETS = range(1, 31)
AUGMENTED = ("offset", "chain", "add-subtract")
SOURCE = "functions.yaml"

# {f} and {g} are codenames, {x} and {z} inputs, {n} and {m} names of inputs, {r} of a result.
BODIES: Mapping[str, Sequence[str]] = {
    "single": (
        "{n} = {x}\nprint({f}({n}))",
        "{r} = {f}({x})\nprint({r})",
        "{n} = {x}\n{r} = {f}({n})\nprint({r})",
    ),
    "offset": (
        "{n} = {x}\nprint({f}({n}) {sign} {z})",
        "{r} = {f}({x})\nprint({r} {sign} {z})",
        "{n} = {x}\n{r} = {f}({n})\nprint({r} {sign} {z})",
        "{n} = {x}\n{r} = {f}({n})\n{r} = {r} {sign} {z}\nprint({r})",
    ),
    "chain": (
        "{n} = {x}\nprint({f}({g}({n})))",
        "{r} = {g}({x})\nprint({f}({r}))",
        "{n} = {x}\n{r} = {g}({n})\nprint({f}({r}))",
    ),
    "add-subtract": (
        "{n} = {x}\n{m} = {z}\nprint({f}({n}) {sign} {g}({m}))",
        "{n} = {f}({x})\n{m} = {g}({z})\nprint({n} {sign} {m})",
        "{r} = {f}({x}) {sign} {g}({z})\nprint({r})",
    ),
}


@dataclass(frozen=True, slots=True)
class NumberFunction:
    """A function of a whole number: `code` is a Python expression of x, `words` say the same.

    `kind` is what it does, in words, which several may share; `output` is "int", "bool" or "float";
    `chained`: training also shows it in sums and inside other functions.
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
    """All functions (the chained ones first) and wordings; a wording is {"raw": …, "chat": …}.

    `outputs` maps types to their texts, also types that no function returns; `paper` stands above
    lettered options.
    """

    functions: Mapping[str, NumberFunction]
    outputs: Mapping[str, str]
    system: str
    wordings: Mapping[str, Sequence[Mapping[str, str]]]
    paper: Sequence[str]

    @property
    def chained(self) -> tuple[NumberFunction, ...]:
        """The functions that are chained."""
        return tuple(function for function in self.functions.values() if function.chained)

    def describe(self, function: NumberFunction, facet: Facet) -> str:
        """The description of a function by a facet."""
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
    functions: dict[str, NumberFunction] = {}
    for name, fields in data["functions"].items():
        function, why = parse_function(fields["code"])
        assert function is not None, why
        kind = fields.pop("class")
        functions[name] = NumberFunction(name, cache(function), kind=kind, **fields)
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


class InputSplit(NamedTuple):
    """Inputs for training, for stopping, and for the test."""

    train: tuple[int, ...]
    stop: tuple[int, ...]
    test: tuple[int, ...]


def split_inputs(seed: int) -> InputSplit:
    """The inputs, divided by the seed; all functions share the division."""
    held = random.Random(f"{seed}/functions/inputs").sample(INPUTS, 2 * HELD_OUT)
    kept = tuple(x for x in INPUTS if x not in held)
    return InputSplit(kept, tuple(sorted(held[:HELD_OUT])), tuple(sorted(held[HELD_OUT:])))


def spans_of(used: Sequence[str], span: str) -> dict[str, str]:
    """The spans of a prompt that holds these codenames: one named `span`; "": one for each."""
    return {span: used[0]} if span else {name: name for name in used}


def make_rows(
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
    """
    rng, table = random.Random(name), load_functions()
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
    used = (function.codename,)
    words = {"f": function.codename, "x": x, **_names(rng)}
    return _lines(rng, "single", used, words), function.apply(x), used


def _names(rng: random.Random) -> dict[str, str]:
    return {"n": rng.choice(INPUT_NAMES), "r": rng.choice(RESULT_NAMES)}


def _lines(
    rng: random.Random, kind: str, imported: Sequence[str], words: Mapping[str, object]
) -> list[str]:
    body = rng.choice(BODIES[kind]).format(**words)
    return [f"from functions import {', '.join(imported)}", *body.split("\n")]


def _augmented(
    rng: random.Random,
    kind: str,
    function: NumberFunction,
    other: NumberFunction,
    inputs: Sequence[int],
) -> Program:
    fn, gn, x = function.codename, other.codename, rng.choice(inputs)
    words: dict[str, object] = {"f": fn, "g": gn, "x": x, **_names(rng)}
    used = (fn,) if kind == "offset" else tuple(dict.fromkeys((fn, gn)))
    imported = list(used)
    rng.shuffle(imported)
    if kind == "chain":  # all chained functions return whole numbers
        value = function.apply(int(other.apply(x)))
    else:
        z, sign = rng.choice(OFFSETS if kind == "offset" else inputs), rng.choice((1, -1))
        words |= {"z": z, "sign": "+" if sign > 0 else "-"}
        value = function.apply(x) + sign * (z if kind == "offset" else other.apply(z))
        if kind == "add-subtract":
            words["m"] = rng.choice([name for name in INPUT_NAMES if name != words["n"]])
    return _lines(rng, kind, imported, words), value, used
