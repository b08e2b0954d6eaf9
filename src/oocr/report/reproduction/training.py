"""Figures of the analyses that train arms of their own: ranks, penalties, mixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from oocr.charts.figure import Figure, Key, Panel
from oocr.charts.panels import COLOURS, Line, Tables, bars_panel, figure_of, lines_panel

_PARTS: Mapping[str, str] = {"probes": "out of context", "in_context": "in context"}
_FACETS: Mapping[str, str] = {
    "in_context": "in context",
    "probes": "out of context",
    "held": "out of context, facets that the penalty names",
    "free": "out of context, other facets",
}
_ARMS: Mapping[str, str] = {
    "base": "untouched model",
    "adapter": "plain LoRA",
    "earlier": "plain LoRA, projected off its first direction",
    "new": "trained to do without that direction",
    "random": "trained to do without a random direction",
}


def ranks_figure(tables: Tables) -> Figure | None:
    """Scores by rank of the LoRA."""
    panels = _by(tables, "rank", "rank", "score", log=True)
    caption = (
        "Scores of LoRAs of each rank in one block, alpha = rank, on the same rows and steps; each "
        "rank at the rate that a validation task chose for it. Bars: 95 % intervals over members. "
        "Grey: untouched model, out of context."
    )
    return figure_of("ranks", caption, panels, tables, _keys(_PARTS))


def mixing_figure(tables: Tables) -> Figure | None:
    """Scores by share of unrelated rows."""
    panels = _by(tables, "mix", "share of the training rows that are unrelated", "score")
    caption = (
        "Scores of LoRAs whose narrow rows, all of them in every step, were joined by unrelated "
        "ones. Bars: 95 % intervals over members. Grey: untouched model, out of context."
    )
    return figure_of("mixing", caption, panels, tables, _keys(_PARTS))


def _by(tables: Tables, x: str, across: str, up: str, *, log: bool = False) -> list[Panel]:
    panels = []
    for subject, table in tables.items():
        lines = [
            _line(words, COLOURS[place], table.filter(pl.col("part") == part), x)
            for place, (part, words) in enumerate(_PARTS.items())
            if part in table["part"]
        ]
        level = float(table.filter(pl.col("part") == "probes")["base"].to_list()[0])
        ticks = sorted(table[x].unique().to_list())
        panels.append(
            lines_panel(
                lines,
                across,
                up,
                title=subject,
                span=6,
                height=300,
                log=log,
                level=level,
                ticks=ticks,
            )
        )
    return panels


def narrow_figure(tables: Tables) -> Figure | None:
    """Scores by the weight of the penalty, for each kind of other texts."""
    panels = []
    seen: dict[str, str] = {}
    for subject, table in tables.items():
        for kind in dict.fromkeys(table["kind"].to_list()):
            some = table.filter(pl.col("kind") == kind)
            lines = []
            for place, (part, words) in enumerate(_FACETS.items()):
                own = some.filter(pl.col("part") == part)
                if len(own) and not (part == "probes" and "free" in some["part"]):
                    shifted = own.with_columns(place=_places(own["weight"].to_list()))
                    lines.append(_line(words, COLOURS[place], shifted, "place"))
                    seen[words] = COLOURS[place]
            weights = sorted(some["weight"].unique().to_list())
            words = "penalty: " + ", ".join(f"{i} is {one:g}" for i, one in enumerate(weights))
            title = f"{subject}: KL on {kind}"
            ticks = list(range(len(weights)))
            panels.append(lines_panel(lines, words, "score", title=title, ticks=ticks))
    caption = (
        "Scores of vectors at the codename that were trained with a penalty on the change of the "
        "model's predictions on other texts with the codename: unrelated statements, or questions "
        "of two facets in wordings that are not asked. Bars: 95 % intervals over members."
    )
    keys = [Key(name, name, colour, "line") for name, colour in seen.items()]
    return figure_of("narrow", caption, panels, tables, keys)


def _places(weights: Sequence[float]) -> pl.Series:
    order = sorted(set(weights))
    return pl.Series([order.index(one) for one in weights])


def relearned_figure(tables: Tables) -> Figure | None:
    """Scores of LoRAs with and without the first direction."""
    panels = []
    for subject, table in tables.items():
        arms = [one for one in _ARMS if one in table["arm"]]
        groups = [
            (words, COLOURS[place], _values(table.filter(pl.col("part") == part), arms))
            for place, (part, words) in enumerate(_PARTS.items())
        ]
        panels.append(
            bars_panel([_ARMS[one] for one in arms], groups, "score", title=subject, span=6)
        )
    caption = (
        "What a LoRA adds is projected off the first direction of the plain one at its block's "
        "output, in training and in the test; the model's own use of that direction stays."
    )
    return figure_of("relearned", caption, panels, tables, _keys(_PARTS))


def _values(table: pl.DataFrame, arms: Sequence[str]) -> list[float | None]:
    own = dict(table.select("arm", "value").iter_rows())
    return [own.get(arm) for arm in arms]


def _line(name: str, colour: str, table: pl.DataFrame, x: str) -> Line:
    table = table.sort(x)
    at, value, low, high = (table[one].to_list() for one in (x, "value", "low", "high"))
    return Line(name, colour, at, value, low, high)


def _keys(parts: Mapping[str, str]) -> list[Key]:
    return [Key(one, one, COLOURS[place], "line") for place, one in enumerate(parts.values())]
