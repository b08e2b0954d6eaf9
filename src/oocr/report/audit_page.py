"""An audit as one self-contained page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

import polars as pl
from markupsafe import Markup

from oocr.audit.findings import CONSTANT, PARTLY, UNTOLD
from oocr.audit.passes import MOST_TOKENS, SKIP
from oocr.audit.record import AuditRecord
from oocr.charts.figure import number, percent
from oocr.charts.tokens import ColouredText, ColouredTexts, token_marks, visible
from oocr.io import write_atomic, write_text
from oocr.report.build import environment, own_file
from oocr.report.figures.audit import blocks_figure
from oocr.report.settings import GLOSSARY, seconds

ANSWERS = {
    "constant": ("A constant vector", "good", "✓"),
    "partly": ("Partly a constant vector", "partly", "◐"),
    "not constant": ("Not a constant vector", "bad", "✕"),
    "nothing": ("No effect on these texts", "open", "?"),
    "texts disagree": ("The texts disagree", "open", "?"),
}

_KEPT = (
    "Layer",
    "Interval",
    "Random direction",
    "Cosine to the mean",
    "Energy of the mean",
    "Rank-1 share",
    "Spread of norms",
)
WORDS = (
    (
        "Change, d",
        "At a block's output and a token: the residual stream of the fine-tune minus the base's.",
    ),
    (
        "Effect brought back",
        "1 − KL(fine-tune ‖ base + vector) / KL(fine-tune ‖ base), over next-token predictions. 1: "
        "the vector does all that the fine-tune does on these texts. 0: nothing. Below 0: worse "
        "than leaving it out.",
    ),
    ("Base", "The model that the fine-tune started from, untouched."),
    (
        "Best single vector",
        "Trained at the chosen block, from the mean on, to make the base predict what the "
        "fine-tune predicts: what any one vector there could do, about.",
    ),
    ("Gate", "A token that carries much more of the change than its share of all tokens."),
    *((word, meaning) for word, meaning in GLOSSARY if word in _KEPT),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A word with a number, and how long its bar is in percent."""

    word: str
    value: str
    width: float
    note: str = ""


def build_audit_page(record: AuditRecord, folder: Path) -> Path:
    """Write `report.html`, and the two tables behind its figures, into an audit's folder.

    Raises:
        RunError: the folder cannot be written.
    """
    from plotly.offline import get_plotlyjs

    figure = blocks_figure(record)
    tokens = pl.DataFrame(_token_rows(record))
    page = (
        environment()
        .get_template("audit.html")
        .render(
            record=record,
            at=record.at_best,
            answer=ANSWERS[record.kind],
            figure=figure,
            stats=_stats(record),
            colouring=_colouring(record),
            says=_said(record),
            gates=_gates(record),
            facts=_facts(record),
            limits=(percent(CONSTANT), percent(PARTLY), MOST_TOKENS),
            glossary=WORDS,
            css=own_file("page.css"),
            js=own_file("page.js"),
            plotly=Markup(get_plotlyjs()),
        )
    )
    write_atomic(folder / "blocks.parquet", figure.data.write_parquet)
    write_atomic(folder / "tokens.parquet", tokens.write_parquet)
    return write_text(folder / "report.html", page)


def blocks_of(layers: tuple[int, ...]) -> str:
    """Block numbers in few words: "4", "12–20", "0–3, 7"."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(f"{one[0]}–{one[-1]}" if len(one) > 1 else f"{one[0]}" for one in runs)


def _stats(record: AuditRecord) -> list[tuple[str, str]]:
    at = record.at_best
    found = [("nats per token, KL(fine-tune ‖ base)", number(record.kl, 3))]
    if record.kind in UNTOLD:
        return found
    interval = f"effect brought back at block {at.layer} [{percent(at.low)}, {percent(at.high)}]"
    return [
        (interval, f"{percent(at.recovered)} %"),
        ("signed cosine to the mean", number(at.constancy.cosine)),
        ("energy of the mean", number(at.constancy.energy)),
        *found,
    ]


def _token_rows(record: AuditRecord) -> list[dict[str, object]]:
    return [
        {"text": text, "kind": strip.kind, "position": place + SKIP, "token": token}
        | {"cosine": strip.cosines[place], "norm": strip.norms[place]}
        for text, strip in enumerate(record.strips)
        for place, token in enumerate(strip.tokens)
    ]


def _colouring(record: AuditRecord) -> tuple[ColouredTexts, ...]:
    middle = median([norm for strip in record.strips for norm in strip.norms] or [1.0])
    texts = tuple(
        ColouredText(
            strip.kind,
            token_marks(
                [
                    {"token": token, "cosine": cosine, "norm": norm, "in_span": False}
                    for token, cosine, norm in zip(
                        strip.tokens, strip.cosines, strip.norms, strict=True
                    )
                ],
                middle if middle > 0 else 1.0,
            ),
        )
        for strip in record.strips
    )
    return (ColouredTexts("", texts),)


def _said(record: AuditRecord) -> tuple[tuple[str, list[Bar]], ...]:
    most = max(1.0, *(one.score for one in (*record.says, *record.against)))
    return tuple(
        (
            title,
            [
                Bar(visible(one.token), number(one.score, 1), 100 * max(0.0, one.score) / most)
                for one in some
            ],
        )
        for title, some in (("Likelier", record.says), ("Less likely", record.against))
    )


def _gates(record: AuditRecord) -> list[Bar]:
    return [
        Bar(
            visible(one.token),
            f"{100 * one.share:.1f} %",
            100 * one.share,
            f"{100 * one.of_tokens:.1f} % of tokens ({one.count})",
        )
        for one in record.gates
    ]


def _facts(record: AuditRecord) -> tuple[tuple[str, list[tuple[str, str]]], ...]:
    info, model = record.info, record.info.model
    fine = [("Given as", info.source), ("Kind", info.what), *info.facts.items()]
    fine.append(("Acts in blocks", blocks_of(record.layers)))
    base = [
        (name.removeprefix("model_").replace("_", " ").capitalize(), value)
        for name, value in model.items()
    ]
    how = [
        ("Texts", info.texts),
        ("Used", f"{record.texts} of {record.given} texts, {record.read:,} tokens"),
        ("Compared", f"{record.tokens:,} predictions in the last third"),
        ("Time", seconds(info.seconds)),
        ("Date", info.date[:16].replace("T", " ") + " UTC"),
        *info.versions.items(),
    ]
    return (("Fine-tune", fine), ("Base", base), ("Audit", how))
