"""HTML fragments that notebooks and reports share; all of it works offline.

Every argument is text, never markup: it is escaped here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

_CELL = "padding:2px 10px;text-align:left;vertical-align:top"


def facts(title: str, values: Mapping[str, object]) -> str:
    """A title above a table of two columns: name, value."""
    rows = Markup("").join(
        Markup('<tr><th style="{}">{}</th><td style="{}">{}</td></tr>').format(
            f"{_CELL};color:#666;font-weight:normal", name, _CELL, value
        )
        for name, value in values.items()
    )
    return str(Markup("<div><b>{}</b><table>{}</table></div>").format(title, rows))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> str:
    """A table with a heading row."""
    head = Markup("").join(Markup('<th style="{}">{}</th>').format(_CELL, name) for name in columns)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup('<td style="{}">{}</td>').format(_CELL, cell) for cell in row)
        )
        for row in rows
    )
    heading = Markup("<b>{}</b>").format(title) if title else ""
    return str(Markup("<div>{}<table><tr>{}</tr>{}</table></div>").format(heading, head, body))


def tokens(texts: Sequence[str], values: Sequence[float], title: str = "") -> str:
    """Text whose tokens are coloured by a number each: orange above 0, blue below, in [-1, 1]."""
    spans = Markup("").join(
        Markup('<span title="{:.2f}" style="background:rgba({},{:.2f})">{}</span>').format(
            value,
            "230,120,20" if value > 0 else "40,110,220",
            min(1.0, abs(value)) * 0.75,
            escape(text.replace("\n", "⏎")),
        )
        for text, value in zip(texts, values, strict=True)
    )
    heading = Markup("<b>{}</b><br>").format(title) if title else ""
    return str(
        Markup(
            '<div style="font-family:monospace;white-space:pre-wrap;line-height:1.7">{}{}</div>'
        ).format(heading, spans)
    )
