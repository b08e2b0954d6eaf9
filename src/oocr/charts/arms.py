"""How each arm looks and is called, the same in every figure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from oocr.charts.figure import LegendEntry


@dataclass(frozen=True, slots=True, order=True)
class Arm:
    """An arm in figures: what was scored, and the control that it was trained as."""

    name: str
    control: str = ""

    @property
    def _look(self) -> tuple[str, str, str]:
        return _LOOKS.get(self.name, (self.name, "other", "circle"))

    @property
    def label(self) -> str:
        """For legends and hover boxes."""
        name = self._look[0]
        return f"{name} · {self.control}" if self.control else name

    @property
    def key(self) -> str:
        """The key that connects a legend entry with its traces."""
        return f"{self.name}/{self.control}"

    @property
    def colour(self) -> str:
        """The theme's name of the colour; a control has the colour of its arm."""
        return self._look[1]

    @property
    def symbol(self) -> str:
        """Filled for arms, hollow for controls."""
        shape = self._look[2]
        if self.control:
            return f"{shape}-open-dot" if self.control == "planted" else f"{shape}-open"
        return shape

    @property
    def order(self) -> tuple[int, str, str]:
        """Arms first, then controls, then references."""
        place = list(_LOOKS).index(self.name) if self.name in _LOOKS else len(_LOOKS)
        return (place + (100 if self.control else 0), self.name, self.control)

    def entry(self, label: str = "", *, symbol: str = "") -> LegendEntry:
        """The arm's legend entry."""
        return LegendEntry(self.key, label or self.label, self.colour, symbol or self.symbol)


BASE, CEILING = Arm("base"), Arm("ceiling")
RANDOM, RANDOM_EVERYWHERE = Arm("random direction"), Arm("random direction everywhere")
RANDOM_SPAN = Arm("random direction at span")
VECTOR, ADAPTER = Arm("vector"), Arm("adapter")
SWAP_SPAN, SWAP_EVERYWHERE = Arm("swap at span"), Arm("swap everywhere")
SWAPS = (SWAP_SPAN, SWAP_EVERYWHERE)
REFERENCES = (BASE, CEILING)
NULLS = (RANDOM, RANDOM_SPAN, RANDOM_EVERYWHERE)

_LOOKS = {
    "vector": ("steering vector", "vector", "circle"),
    "adapter": ("LoRA", "adapter", "square"),
    "swap at span": ("swap at span", "swap-span", "diamond"),
    "swap everywhere": ("swap everywhere", "swap-all", "triangle-up"),
    "LoRA, early block": ("LoRA, an early block", "adapter", "triangle-up"),
    "LoRA, late block": ("LoRA, a late block", "adapter", "triangle-up-open"),
    "full fine-tune": ("full fine-tune", "other", "diamond"),
    "random direction": ("random direction", "random", "x"),
    "random direction at span": ("random direction, at the span", "random", "x"),
    "random direction everywhere": ("random direction, every token", "random", "cross"),
    "factorized": ("two matrices, W_O W_V", "vector", "circle"),
    "combined": ("one matrix, W_OV", "adapter", "square"),
    "base": ("untouched model", "base", "line-ns"),
    "ceiling": ("told in the prompt (ceiling)", "ceiling", "line-ns"),
}
"""Arm -> label, colour and symbol, in the order of every figure."""


def arms_in(frame: pl.DataFrame) -> list[Arm]:
    """The arms of a table of rows, in the order of every figure."""
    pairs = frame.select("arm", "control").unique().iter_rows()
    return sorted((Arm(name, control) for name, control in pairs), key=lambda arm: arm.order)


def without_sweeps(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows without those of arms at layers that weren't chosen."""
    return frame.filter(~pl.col("arm").str.ends_with(" sweep"))


def rows_of_arm(frame: pl.DataFrame, arm: Arm) -> pl.DataFrame:
    """The rows of one arm."""
    return frame.filter(pl.col("arm") == arm.name, pl.col("control") == arm.control)


def dot_keys(arms: Iterable[Arm]) -> tuple[LegendEntry, ...]:
    """Legend of a dot plot: ticks for references, bands for random directions, dots for arms."""
    special = {BASE: "tick", CEILING: "tick", RANDOM: "band", RANDOM_EVERYWHERE: "frame"}
    arms = list(arms)
    if RANDOM not in arms:
        special[RANDOM_EVERYWHERE] = "band"
    return tuple(arm.entry(symbol=special.get(arm, "")) for arm in arms)


def is_null(arm: Arm) -> bool:
    """Whether an arm is a set of random directions."""
    return arm.name in {null.name for null in NULLS}
