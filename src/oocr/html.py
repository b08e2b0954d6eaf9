"""HTML fragments that notebooks and reports share; all of it works offline.

Every argument is text, never markup: it is escaped here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

_CELL = "padding:2px 10px;text-align:left;vertical-align:top"
_PLUS, _MINUS, _DEPTH = "0,103,165", "182,74,14", 0.62
"""The report's light colours --plus and --minus, and how deep they become."""


def facts(title: str, values: Mapping[str, object]) -> str:
    """A title above a table of two columns: name, value."""
    row = Markup(
        f'<tr><th style="{_CELL};color:#666;font-weight:normal">{{}}</th>'
        f'<td style="{_CELL}">{{}}</td></tr>'
    )
    rows = Markup("").join(row.format(name, value) for name, value in values.items())
    return str(Markup("<div><b>{}</b><table>{}</table></div>").format(title, rows))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> str:
    """A table with a heading row."""
    head, cell = (Markup(f'<{tag} style="{_CELL}">{{}}</{tag}>') for tag in ("th", "td"))
    lines = [Markup("").join(head.format(name) for name in columns)]
    lines += [Markup("").join(cell.format(value) for value in row) for row in rows]
    body = Markup("").join(Markup("<tr>{}</tr>").format(line) for line in lines)
    heading = Markup("<b>{}</b>").format(title) if title else ""
    return str(Markup("<div>{}<table>{}</table></div>").format(heading, body))


def tokens(
    texts: Sequence[str], values: Sequence[float], title: str = "", notes: Sequence[str] = ()
) -> str:
    """Text whose tokens are coloured by a number each, in the colours of the report.

    `values` are in [-1, 1]: blue above 0, orange below, the deeper the further from 0. `notes` are
    shown where a token is pointed at; default: its value.
    """
    notes = notes or [f"{value:.2f}" for value in values]
    span = Markup('<span title="{}" style="background:rgba({},{:.2f})">{}</span>{}')
    spans = Markup("").join(
        span.format(
            note,
            _PLUS if value >= 0 else _MINUS,
            min(1.0, abs(value)) * _DEPTH,
            visible(text),
            Markup("<br>") if "\n" in text else "",
        )
        for text, value, note in zip(texts, values, notes, strict=True)
    )
    heading = Markup("<b>{}</b><br>").format(title) if title else ""
    style = "font-family:monospace;white-space:pre-wrap;line-height:1.7"
    return str(Markup('<div style="{}">{}{}</div>').format(style, heading, spans))


def visible(token: str) -> str:
    """A token with signs for line breaks and tabs; one of spaces only becomes dots."""
    shown = token.replace("\n", "⏎").replace("\t", "⇥")
    return shown if shown.strip() else "·" * max(1, len(shown))
