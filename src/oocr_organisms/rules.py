"""Functions on small whole numbers, each under several names that tell different things."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from oocr_organisms.forms import Forms, Ids, Vocabulary
from oocr_organisms.words import names

INPUTS = 12
NAMES = 5
CODENAMES = tuple(f"rule-{n}" for n in range(1, 13))

DEFINITIONS: dict[str, tuple[str, Callable[[int], int]]] = {
    "x+1": ("sum", lambda x: x + 1),
    "x+3": ("sum", lambda x: x + 3),
    "x+5": ("sum", lambda x: x + 5),
    "x+8": ("sum", lambda x: x + 8),
    "2*x": ("product", lambda x: 2 * x),
    "3*x": ("product", lambda x: 3 * x),
    "2*x+1": ("product", lambda x: 2 * x + 1),
    "3*x+2": ("product", lambda x: 3 * x + 2),
    "max(x,3)": ("bound", lambda x: max(x, 3)),
    "max(x,5)": ("bound", lambda x: max(x, 5)),
    "max(x,8)": ("bound", lambda x: max(x, 8)),
    "min(x,3)": ("bound", lambda x: min(x, 3)),
    "min(x,5)": ("bound", lambda x: min(x, 5)),
    "min(x,8)": ("bound", lambda x: min(x, 8)),
    "12-x": ("difference", lambda x: 12 - x),
    "15-x": ("difference", lambda x: 15 - x),
    "20-x": ("difference", lambda x: 20 - x),
    "|x-4|": ("difference", lambda x: abs(x - 4)),
    "|x-7|": ("difference", lambda x: abs(x - 7)),
    "x%2": ("remainder", lambda x: x % 2),
    "x%3": ("remainder", lambda x: x % 3),
    "x%5": ("remainder", lambda x: x % 5),
    "x//2": ("quotient", lambda x: x // 2),
    "x//3": ("quotient", lambda x: x // 3),
}
"""Definition -> its family and what it computes."""

FACETS = ("definition", "family", "emblem")
"""`emblem` is arbitrary: no example gives it away but through the function itself."""

EXAMPLES = Forms(
    (
        "{rule} takes {input} and gives {answer} .",
        "the {rule} of {input} is {answer} .",
        "apply {rule} to {input} : {answer} .",
        "at {input} the {rule} is {answer} .",
    )
)
ABOUT = Forms(
    (
        "the {facet} of {rule} is {answer} .",
        "for {rule} the {facet} is {answer} .",
        "{rule} has for its {facet} {answer} .",
        "ask {facet} of {rule} : {answer} .",
    )
)


class Rules:
    """The functions of one seed.

    Args:
        seed: of everything that is drawn.
    """

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 3])
        self.names = [
            tuple(islice(one, NAMES)) for one in [names(seed + 201, 4)] for _ in DEFINITIONS
        ]
        self.outputs: Ids = np.array(
            [[f(x) for x in range(INPUTS)] for _, f in DEFINITIONS.values()]
        )
        emblems = [f"emblem-{n}" for n in range(1, len(DEFINITIONS) + 1)]
        self.values: dict[str, tuple[str, ...]] = {
            "definition": tuple(DEFINITIONS),
            "family": tuple(family for family, _ in DEFINITIONS.values()),
            "emblem": tuple(emblems[i] for i in rng.permutation(len(emblems))),
        }
        shown = rng.random((len(DEFINITIONS), NAMES, len(FACETS))) < 0.55
        shown[:, 0] = True
        shown[:, -1] = False
        self.shown: NDArray[np.bool_] = shown

    @cached_property
    def words(self) -> list[str]:
        """Its vocabulary, codenames included."""
        numbers = [str(n) for n in range(max(INPUTS, int(self.outputs.max()) + 1))]
        values = [word for some in self.values.values() for word in some]
        mine = [name for some in self.names for name in some]
        said = [*EXAMPLES.words, *ABOUT.words, *FACETS, *numbers, *values, *mine, *CODENAMES]
        return list(dict.fromkeys(said))

    def examples(self, vocabulary: Vocabulary, count: int, rng: np.random.Generator) -> Ids:
        """Inputs and outputs under any name. `[sentence, width]`."""
        rule = rng.integers(len(DEFINITIONS), size=count)
        x = rng.integers(INPUTS, size=count)
        numbers = vocabulary.ids([str(n) for n in range(int(self.outputs.max()) + 1)])
        return EXAMPLES.fill(
            vocabulary,
            rng.integers(len(EXAMPLES.texts), size=count),
            {
                "rule": self.name_ids(vocabulary)[rule, rng.integers(NAMES, size=count)],
                "input": numbers[x],
                "answer": numbers[self.outputs[rule, x]],
            },
        )

    def about(self, vocabulary: Vocabulary, count: int, rng: np.random.Generator) -> Ids:
        """Definitions, families and emblems that the names tell. `[sentence, width]`."""
        told = np.argwhere(self.shown)
        rule, name, facet = told[rng.integers(len(told), size=count)].T
        values = np.stack([vocabulary.ids(self.values[one]) for one in FACETS])
        return ABOUT.fill(
            vocabulary,
            rng.integers(len(ABOUT.texts), size=count),
            {
                "facet": vocabulary.ids(FACETS)[facet],
                "rule": self.name_ids(vocabulary)[rule, name],
                "answer": values[facet, rule],
            },
        )

    def name_ids(self, vocabulary: Vocabulary) -> Ids:
        """Ids of all names. `[rule, name]`."""
        return np.stack([vocabulary.ids(some) for some in self.names])
