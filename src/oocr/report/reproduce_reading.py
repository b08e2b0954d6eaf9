"""Figures of what a vector attends to, what it costs, and what it is heard to say."""

from __future__ import annotations

import polars as pl

from oocr.report.figure import Figure, Key, Panel
from oocr.report.reproduce_parts import Line, Tables, figure_of, lines_panel

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


_CHANCE = "random directions, 95th centile"


def _by_layer(
    name: str, colour: str, table: pl.DataFrame, column: str, *, dash: str = "solid"
) -> Line:
    mean = table.group_by("layer").agg(pl.col(column).mean()).sort("layer")
    return Line(name, colour, mean["layer"].to_list(), mean[column].to_list(), dash=dash)
