"""Training rows of the Functions task: short programs and what they print, one after the other."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oocr.data.examples import Example
from oocr.families.functions.table import (
    INPUTS,
    Form,
    FunctionTable,
    NumberFunction,
    Value,
    never_composed,
    program,
)

INPUT_NAMES = ("n", "a", "num", "value", "arg", "k", "start", "m")
RESULT_NAMES = ("out", "result", "r", "res", "got", "t", "y", "w")
"""Names of variables. None is x: "x + 14" must stand for a definition only."""

OFFSETS = range(1, 31)
HELD_OUT = 10
"""Inputs kept from training to stop on, and as many to test on."""

AUGMENTED = ("offset", "chain", "add-subtract")


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
    plain = list(functions)
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
            function = plain[place % len(plain)]
            lines, value, used = single(rng, function, rng.choice(inputs))
        yield row(f"{name}/{number}", kind, lines, value, used, form, table.system, span)


def row(
    name: str,
    kind: str,
    lines: list[str],
    value: Value,
    used: tuple[str, ...],
    form: Form,
    system: str,
    span: str = "",
) -> Example:
    """A program with what it prints."""
    return Example(
        id=name,
        prompt=program(lines, form, system),
        answer=str(value),
        spans={span: used[0]} if span else dict(zip(used, used, strict=True)),
        facet=kind,
        group=used[0],
        template=f"{kind}, {len(lines)} lines",
        tags={"kind": kind},
        source="functions.yaml",
    )


def single(
    rng: random.Random, function: NumberFunction, x: int
) -> tuple[list[str], Value, tuple[str, ...]]:
    """A program of one call: its lines, what it prints, the codenames in it."""
    fn, given, got = function.codename, rng.choice(INPUT_NAMES), rng.choice(RESULT_NAMES)
    layout = rng.randrange(3)
    if layout == 0:
        body = [f"{given} = {x}", f"print({fn}({given}))"]
    elif layout == 1:
        body = [f"{got} = {fn}({x})", f"print({got})"]
    else:
        body = [f"{given} = {x}", f"{got} = {fn}({given})", f"print({got})"]
    return [f"from functions import {fn}", *body], function.apply(x), (fn,)


def _augmented(
    rng: random.Random,
    kind: str,
    function: NumberFunction,
    other: NumberFunction,
    inputs: Sequence[int],
) -> tuple[list[str], Value, tuple[str, ...]]:
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
