"""Counts and lists as text, for messages and pages."""

from __future__ import annotations

from collections.abc import Iterable


def counted(count: float, noun: str) -> str:
    """A number with its noun: "1 token", "1,024 tokens", "2 processes"."""
    ending = "" if count == 1 else "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{count:,.0f} {noun}{ending}"


def short_list(names: Iterable[object], most: int = 6) -> str:
    """The first `most` names, with "…" if there are more: "a, b, …"; "none" if empty."""
    texts = [str(name) for name in names]
    return ", ".join([*texts[:most], *["…"] * (len(texts) > most)]) or "none"


def first_line(error: object) -> str:
    """The first line of an error's message."""
    return str(error).partition("\n")[0]


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers in ascending order: "0–3, 7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}–{run[-1]}" if run[1:] else f"{run[0]}" for run in runs)
