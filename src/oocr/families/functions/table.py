"""The functions behind the codenames, what is said of them, and how questions are worded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from oocr.data.examples import Message, Prompt
from oocr.tasks.package_files import package_yaml

Value = int | float | bool
Form = Literal["chat", "raw"]
Facet = Literal["words", "code", "class", "output", "inversion", "lambda"]

INPUTS = range(-99, 99)
"""What functions are called with in training, some of it held out."""

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
    """One function of a whole number.

    Attributes:
        codename: its name in training.
        apply: the function.
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
    """All of it.

    Attributes:
        functions: codename -> function; the chained ones first.
        outputs: type -> its text; also types that no function returns.
        system: the system prompt of chats.
        wordings: facet -> wordings, each as {"raw": …, "chat": …}.
        paper: the question above lettered options.
    """

    functions: Mapping[str, NumberFunction]
    outputs: Mapping[str, str]
    system: str
    wordings: Mapping[str, tuple[Mapping[str, str], ...]]
    paper: tuple[str, ...]

    @property
    def chained(self) -> tuple[NumberFunction, ...]:
        """The functions that training also shows in sums and inside each other."""
        return tuple(function for function in self.functions.values() if function.chained)


@lru_cache(maxsize=1)
def load_functions() -> FunctionTable:
    """Read the table."""
    data = package_yaml("oocr.families.functions", "functions.yaml")
    functions = {
        name: NumberFunction(
            codename=name,
            apply=_APPLY[name],
            code=fields["code"],
            words=fields["words"],
            kind=fields["class"],
            output=fields["output"],
            chained=fields["chained"],
        )
        for name, fields in data["functions"].items()
    }
    wordings = dict(data["wordings"])
    paper = tuple(wordings.pop("paper"))
    return FunctionTable(
        functions=functions,
        outputs=data["outputs"],
        system=data["system"],
        wordings={facet: tuple(some) for facet, some in wordings.items()},
        paper=paper,
    )


def program(lines: tuple[str, ...] | list[str], form: Form, system: str) -> Prompt:
    """A program whose output is the answer: a user's turn, or a session of the interpreter."""
    if form == "chat":
        return (Message("system", system), Message("user", "\n".join(lines)))
    return "".join(f">>> {line}\n" for line in lines)


def never_composed(table: FunctionTable) -> frozenset[tuple[str, str]]:
    """(outer, inner) pairs of chained functions that training never shows inside each other.

    Of each function as outer and as inner, two of eight.
    """
    names = [function.codename for function in table.chained]
    size = len(names)
    return frozenset(
        (outer, names[(place + step) % size])
        for place, outer in enumerate(names)
        for step in (3, 6)
    )
