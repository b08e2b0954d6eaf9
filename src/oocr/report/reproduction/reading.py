"""Figures of what a vector attends to, what it costs, and what it is heard to say."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from oocr.charts.figure import Figure, Key, Panel
from oocr.charts.panels import Line, Tables, figure_of, lines_panel

_ARMS = (
    ("without", "without the vector", "base"),
    ("vector", "with the vector", "vector"),
    ("random", "with a random vector", "random"),
)


def attention_figure(tables: Tables) -> Figure | None:
    """Attention from the last token to words in front, and their values' cosine, by block."""
    panels: list[Panel] = []
    for subject, table in tables.items():
        layers = sorted(table["layer"].unique().to_list())
        ticks = layers[:: max(1, len(layers) // 6)]
        for words in dict.fromkeys(table["words"].to_list()):
            own = table.filter(pl.col("words") == words)
            lines = [
                _by_layer(label, colour, own.filter(pl.col("arm") == arm), "attention")
                for arm, label, colour in _ARMS
            ]
            lines.append(
                _by_layer(
                    "with the vector, largest head",
                    "vector",
                    own.filter(pl.col("arm") == "vector"),
                    "largest",
                    dash="dot",
                )
            )
            title = f"{subject}: attention to {'the trigger' if words == 'trigger' else words}"
            panels.append(
                lines_panel(lines, "block", "attention weight", title=title, ticks=ticks, level=0.0)
            )
        values = table.filter(pl.col("arm") == "values")
        if len(values):
            lines = [
                _by_layer(words, colour, values.filter(pl.col("words") == words), "cosine")
                for words, colour in zip(
                    dict.fromkeys(values["words"].to_list()), ("adapter", "other"), strict=False
                )
            ]
            lines.append(_by_layer(_CHANCE, "random", values, "random", dash="dash"))
            title = f"{subject}: values and the vector"
            panels.append(
                lines_panel(lines, "block", "cosine", title=title, ticks=ticks, level=0.0)
            )
    caption = (
        "Attention weight from the last prompt token to the words in front, summed over their "
        "tokens: mean over heads, questions and members, and (dotted) the head with most of it. "
        "Values: cosine of the vector with what each block's attention writes where those tokens "
        "are attended to."
    )
    keys = [Key(label, label, colour, "line") for _, label, colour in _ARMS]
    keys += [Key("trigger", "values of the trigger", "adapter", "line")]
    keys += [Key("other words in front", "values of other words", "other", "line")]
    return figure_of("attention", caption, panels, tables, keys)


def costs_figure(tables: Tables) -> Figure | None:
    """Side effects by strength, beside the effect."""
    panels: list[Panel] = []
    for subject, table in tables.items():
        own = table.filter(pl.col("arm") == "vector")
        share = _is_share(own["effect"].to_list())
        for column, words, level in (
            ("effect", "share right" if share else "log-odds, nats", None),
            ("agreement", "share of neutral answers kept", 1.0),
            ("kl", "KL on neutral text, nats", 0.0),
        ):
            lines = [
                _by(label, colour, table.filter(pl.col("arm") == arm), "strength", column)
                for arm, label, colour in _COSTS
                if column != "effect" or arm == "vector"
            ]
            panels.append(lines_panel(lines, "strength", words, title=subject, span=2, level=level))
    caption = (
        "One vector (seed 0) per member at several strengths; 1 is the trained one. Its effect is "
        "read at its own positions; in neutral questions and text it is added at the last token "
        "before each answer or prediction. "
        "Grey line: the untouched model."
    )
    keys = [Key(label, label, colour, "line") for _, label, colour in _COSTS]
    return figure_of("costs", caption, panels, tables, keys)


_COSTS = (("vector", "vector", "vector"), ("random", "random direction of its norm", "random"))


def _is_share(values: Sequence[float]) -> bool:
    return all(0 <= value <= 1 for value in values)


_CHANCE = "random directions, 95th centile"


def _by_layer(
    name: str, colour: str, table: pl.DataFrame, column: str, *, dash: str = "solid"
) -> Line:
    return _by(name, colour, table, "layer", column, dash=dash)


def _by(
    name: str, colour: str, table: pl.DataFrame, x: str, y: str, *, dash: str = "solid"
) -> Line:
    """The mean of a column over members."""
    mean = table.group_by(x).agg(pl.col(y).mean()).sort(x)
    return Line(name, colour, mean[x].to_list(), mean[y].to_list(), dash=dash)
