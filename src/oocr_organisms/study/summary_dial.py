"""The dial in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oocr_organisms.study.dial import Reading
from oocr_organisms.study.means import INTERVALS, Of, by_world, count, mean
from oocr_organisms.study.study import Organism
from oocr_organisms.study.table import Cell, Table

GAPS = (
    ("LoRA", "adapter", "crossing"),
    ("its mean", "swap", "crossing"),
    ("vector", "vector", "crossing"),
    ("random direction", "random", "crossing"),
    ("untouched", "base", "crossing"),
    ("vector, out of context", "vector", "out-of-context"),
    ("random, out of context", "random", "out-of-context"),
    ("untouched, out of context", "base", "out-of-context"),
)
"""Head of a column, arm, kind of question."""


def _along(
    organisms: Sequence[Organism], numbers: Sequence[Callable[[Reading], float]]
) -> tuple[tuple[Cell, ...], ...]:
    """A row for each world and setting of the dial: means of the numbers."""
    rows: list[tuple[Cell, ...]] = []
    for world, some in by_world(organisms).items():
        every = readings(some)
        for share in sorted({one.value.share for one in every}, reverse=True):
            here = [one for one in every if one.value.share == share]
            rows.append((world, f"{share:.2f}", count(here), *(mean(here, one) for one in numbers)))
    return tuple(rows)


def readings(organisms: Sequence[Organism]) -> list[Of[Reading]]:
    """All readings along the dial."""
    return [
        Of(f"{organism.world}/{one.member}", number, one)
        for number, organism in enumerate(organisms)
        for one in organism.dial
    ]


def dial_table(organisms: Sequence[Organism]) -> Table:
    """What one vector accounts for."""
    return Table(
        "Where does it stop being one vector?",
        "Share: how often training takes the lure without the trigger; 1: always, 0: a backdoor. "
        "The LoRA sits in block 0. Energy: of what the LoRA adds to the training prompts that one "
        "vector accounts for, or one with the trigger and another without. Kept: of what it "
        "changes on the probes, with its mean on the training prompts in its place at every token "
        f"(sign kept; can be above 1 or below 0). {INTERVALS}",
        (
            "world",
            "share",
            "n",
            "energy in one vector",
            "in one by condition",
            "cosine to the mean",
            "swap: kept",
        ),
        _along(
            organisms,
            (
                lambda one: one.energy,
                lambda one: one.by_condition,
                lambda one: one.cosine,
                lambda one: one.recovered("crossing"),
            ),
        ),
    )


def gap_table(organisms: Sequence[Organism]) -> Table:
    """Gaps of all arms."""

    def gap(arm: str, kind: str) -> Callable[[Reading], float]:
        return lambda one: one.arms[arm][kind].gap

    return Table(
        "What does the trigger change?",
        "Probability of the lure with the trigger minus without, along the same dial: of choices "
        "between options that training never names, and out of context. The LoRA sits in block 0, "
        "the vector and a random direction of its norm on the speaker's embedding, the LoRA's mean "
        f"at every token. {INTERVALS}",
        ("world", "share", "n", *(name for name, _, _ in GAPS)),
        _along(organisms, [gap(arm, kind) for _, arm, kind in GAPS]),
    )
