"""An audit as one self-contained page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from oocr.audit.passes import MOST_TOKENS, SKIP
from oocr.audit.record import (
    CONSTANT,
    PARTLY,
    UNJUDGED,
    Audit,
    AuditInfo,
    block_rows,
)
from oocr.charts.figure import (
    ColouredText,
    ColouredTexts,
    Figure,
    LegendEntry,
    Panel,
    number,
    percent,
)
from oocr.charts.panels import Line, figure_of, line_of, lines_panel
from oocr.explain.lens import LensToken
from oocr.html import visible
from oocr.io import write_atomic
from oocr.report.page import GLOSSARY, Bar, Facts, PageBlock, Section, seconds, write_page
from oocr.report.tokens import token_marks
from oocr.stats import DRAWS, FEW

ANSWERS = {
    "constant": ("A constant vector", "good", "✓"),
    "partly": ("Partly a constant vector", "partly", "◐"),
    "not constant": ("Not a constant vector", "bad", "✕"),
    "nothing": ("No effect on these texts", "open", "?"),
    "texts disagree": ("The texts disagree", "open", "?"),
}

_KEPT = (
    "Layer",
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
    (
        "Interval",
        f"95 %, by a bootstrap of {DRAWS:,} draws of the reported texts (expanded percentiles; of "
        f"fewer than {FEW} texts it is stretched to about Student's).",
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


_LOWEST = -0.5
"""Shares below are drawn here: a vector can do any amount of harm."""

_CURVES = {
    "cosine": LegendEntry("cosine", "signed cosine", "other", "circle"),
    "absolute": LegendEntry("absolute", "|cosine|", "swap-all", "diamond-open"),
    "energy": LegendEntry("energy", "energy of the mean", "adapter", "square"),
}


def build_audit_page(record: Audit, folder: Path) -> Path:
    """Write `report.html`, and the two tables behind its figures, into an audit's folder.

    Raises:
        RunError: the folder cannot be written.
    """
    sections = [
        Section("blocks", "Block by block", _blocks_lead(record), (blocks_figure(record),)),
        *(_vector_sections(record) if record.norm > 0 else ()),
        _cost_section(record),
        _method_section(record),
    ]
    if record.norm <= 0:
        write_atomic(folder / "tokens.parquet", _tokens_figure(record).data.write_parquet)
    values = {
        "record": record,
        "answer": ANSWERS[record.kind],
        "stats": _stats(record),
        "glossary": WORDS,
    }
    return write_page(folder / "report.html", "audit.html", sections, values)


def blocks_of(layers: tuple[int, ...]) -> str:
    """Block numbers in few words: "4", "12–20", "0–3, 7"."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _stats(record: Audit) -> list[tuple[str, str]]:
    at = record.at_best
    kl = ("nats per token, KL(fine-tune ‖ base)", number(record.kl, 3))
    if record.kind in UNJUDGED:
        return [kl]
    interval = f"effect brought back at block {at.layer} [{percent(at.low)}, {percent(at.high)}]"
    return [
        (interval, f"{percent(at.recovered)} %"),
        ("signed cosine to the mean", number(at.constancy.cosine)),
        ("energy of the mean", number(at.constancy.energy)),
        kl,
    ]


def _blocks_lead(record: Audit) -> str:
    several = "block" if len(record.layers) == 1 else "blocks"
    lead = (
        f"The weights change in {several} {blocks_of(record.layers)}. From there on the residual "
        "streams of the two models differ; the question is by how much of one and the same vector."
    )
    fitted = record.fitted
    if fitted and not fitted.steps:
        lead += (
            f" Training a vector at block {record.best} found none that is better than the mean "
            "difference."
        )
    elif fitted:
        share = fitted.recovered
        lead += (
            f" At block {record.best} the best single vector that training found brings back "
            f"{number(share.value)} [{number(share.low)}, {number(share.high)}]; its cosine with "
            f"the mean difference is {number(fitted.cosine)}."
        )
    return lead


def _vector_sections(record: Audit) -> tuple[Section, ...]:
    gates = [
        Bar(
            visible(gate.token),
            f"{100 * gate.share:.1f} %",
            100 * gate.share,
            f"{100 * gate.of_tokens:.1f} % of tokens ({gate.count})",
        )
        for gate in record.gates
    ]
    return (
        Section(
            "tokens",
            "Token by token",
            f"The change at block {record.best}. One flat colour is a constant direction; two "
            "colours are a sign that flips; thick lines here and none there are a gate.",
            (_tokens_figure(record),),
        ),
        Section(
            "says",
            "What the vector says",
            f"Tokens that the vector of block {record.best} (norm {number(record.norm)}) makes "
            "likelier and less likely, read through the final norm and the LM head, in standard "
            "deviations over the vocabulary. Far from the last block such a reading can miss what "
            "later blocks make of it.",
            (PageBlock("bars", _lens_bars(record)),),
        ),
        Section(
            "gates",
            "What gates it",
            f"Tokens that carry more of the change's energy at block {record.best} than their "
            f"number explains. {'' if gates else 'Here no token carries much more than the rest. '}"
            "The norm of the change varies by "
            f"{number(record.at_best.constancy.norm_cv)} of its mean.",
            (PageBlock("bars", (("", gates),)),) if gates else (),
        ),
    )


def _tokens_figure(record: Audit) -> Figure:
    strips: list[list[dict[str, Any]]] = [
        [
            {"text": text, "kind": strip.kind, "position": place + SKIP, "token": token}
            | {"cosine": strip.cosines[place], "norm": strip.norms[place]}
            for place, token in enumerate(strip.tokens)
        ]
        for text, strip in enumerate(record.strips)
    ]
    rows = [row for strip in strips for row in strip]
    middle = median([float(row["norm"]) for row in rows] or [1.0])
    scale = middle if middle > 0 else 1.0
    texts = tuple(
        ColouredText(
            strip.kind,
            token_marks([row | {"in_span": False} for row in tokens], scale),
        )
        for strip, tokens in zip(record.strips, strips, strict=True)
    )
    caption = (
        "Each token's colour is the signed cosine of the change there with the vector; the "
        "underline grows with the size of the change, relative to the median of these tokens. "
        "Point at a token for its numbers."
    )
    return Figure(
        "tokens",
        caption,
        (),
        pl.DataFrame(rows),
        file="tokens.parquet",
        texts=(ColouredTexts("", texts),),
        compared_with="the vector",
    )


def _lens_bars(record: Audit) -> tuple[tuple[str, list[Bar]], ...]:
    most = max(1.0, *(token.score for token in (*record.says, *record.against)))

    def bar(token: LensToken) -> Bar:
        width = 100 * max(0.0, token.score) / most
        return Bar(visible(token.token), number(token.score, 1), width)

    sides = (("Likelier", record.says), ("Less likely", record.against))
    return tuple((title, [bar(token) for token in tokens]) for title, tokens in sides)


def _cost_section(record: Audit) -> Section:
    cost = record.cost
    head = ("", "KL(base ‖ …), nats per token", "perplexity")
    rows = (
        ("base", "0", number(cost.perplexity_base)),
        ("fine-tune", number(cost.kl_changed, 3), number(cost.perplexity_changed)),
        ("base + vector", number(cost.kl_vector, 3), number(cost.perplexity_vector)),
    )
    lead = (
        f"On the built-in neutral passages, {cost.tokens} predictions: how far the fine-tune, and "
        "the vector in its place, are from the base."
    )
    return Section("cost", "What it costs to swap", lead, (PageBlock("table", (head, rows)),))


def _method_section(record: Audit) -> Section:
    fitted = record.fitted
    lead = (
        f"Both models read the same texts, each cut at {MOST_TOKENS} tokens; the first token is "
        "left out. In the order of the texts, every third gives the mean difference, every third "
        "chooses the block, and the rest are what this page reports: no text has two of these "
        f"parts. A vector that brings back at least {percent(CONSTANT)} % is called constant, at "
        f"least {percent(PARTLY)} % partly. Random directions of the same norm at the same block "
        f"bring back {number(record.random)}."
    )
    if fitted:
        steps = f" (after {fitted.steps} steps)" if fitted.steps else ""
        lead += (
            f" The best single vector is trained at block {record.best} only, by Adam on the "
            f"first third; when to stop is chosen on the second{steps}."
        )
    lead += " All of it holds for these texts; on others the fine-tune may do something else."
    assert record.info is not None, "a page is made of an audit with its circumstances"
    again = (("The same audit again:", record.info.command),)
    blocks = (PageBlock("commands", again), PageBlock("facts", _facts(record, record.info)))
    return Section("how", "How it was measured", lead, blocks)


def _facts(record: Audit, info: AuditInfo) -> tuple[Facts, ...]:
    model = info.model
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
    groups = {"Fine-tune": fine, "Base": base, "Audit": how}
    return tuple(Facts(title, tuple(rows)) for title, rows in groups.items())


def blocks_figure(record: Audit) -> Figure:
    """Left the share of the effect brought back, right the constancy of the change."""
    data = pl.DataFrame(block_rows(record), infer_schema_length=None)
    keys = [LegendEntry("mean", "the mean difference", "vector", "circle")]
    if record.fitted and record.fitted.steps:
        keys.append(LegendEntry("fitted", "the best single vector", "swap-span", "triangle-up"))
    judged = record.kind not in UNJUDGED
    if judged:
        keys.append(LegendEntry("random", "random direction, same norm", "random", "line"))
    curves = [
        line_of(
            data,
            key.label,
            key.colour,
            "layer",
            name,
            key=name,
            symbols=key.symbol,
            dash="dot" if name == "absolute" else "solid",
        )
        for name, key in _CURVES.items()
    ]
    lowest = data["cosine"].min()
    cosine_low = min(0.0, float(lowest)) if isinstance(lowest, float) else 0.0
    recovered, levels = (_recovered(record, keys), (PARTLY, CONSTANT)) if judged else ([], ())
    panels = [
        _panel(record, recovered, "Effect brought back", _low(record), levels),
        _panel(record, curves, "Constancy", cosine_low),
    ]
    caption = (
        "Left: share of KL(fine-tune ‖ base) that is gone when the mean difference is added to "
        "every token of the base at that block's output; bars are 95 % intervals over texts, "
        "grey lines the verdict's thresholds "
        f"({percent(CONSTANT)} and {percent(PARTLY)} %). "
        "Filled: the block chosen on other texts. "
        "Right: the change at each block's output, token by token; a constant vector has signed "
        "cosine and energy 1, and an axis whose sign flips has only |cosine| 1."
    )
    figure = figure_of("blocks", caption, panels, data, [*keys, *_CURVES.values()])
    assert figure is not None
    return replace(figure, file="blocks.parquet")


def _low(record: Audit) -> float:
    ends = [block.recovered for block in record.blocks] + [block.low for block in record.blocks]
    ends += [] if record.fitted is None else [record.fitted.recovered.low]
    return max(_LOWEST, min([0.0, record.random, *(end for end in ends if math.isfinite(end))]))


def _panel(
    record: Audit, lines: list[Line], title: str, low: float, levels: Sequence[float] = ()
) -> Panel:
    layers = [block.layer for block in record.blocks]
    return lines_panel(
        lines,
        "block",
        "",
        title=title,
        height=300,
        level=(*levels, 0.0) if low < 0 else levels,
        ticks=layers[:: max(1, round(len(layers) / 10))],
        limits=(low - 0.06, 1.06),
    )


def _recovered(record: Audit, keys: Sequence[LegendEntry]) -> list[Line]:
    blocks = record.blocks
    labels = {key.key: key for key in keys}
    lines = [
        Line(
            labels["mean"].label,
            "vector",
            [block.layer for block in blocks],
            [_seen(block.recovered) for block in blocks],
            [_seen(block.low) for block in blocks],
            [_seen(block.high) for block in blocks],
            key="mean",
            symbols=["circle" if b.layer == record.best else "circle-open" for b in blocks],
            notes=["chosen" if block.layer == record.best else "" for block in blocks],
        ),
        _point(record, labels["random"], record.random, "line-ew"),
    ]
    if record.fitted and record.fitted.steps:
        recovered = record.fitted.recovered
        point = _point(record, labels["fitted"], recovered.value, "triangle-up")
        lines.append(replace(point, low=[_seen(recovered.low)], high=[_seen(recovered.high)]))
    return lines


def _point(record: Audit, key: LegendEntry, value: float, symbol: str) -> Line:
    return Line(key.label, key.colour, [record.best], [_seen(value)], key=key.key, symbols=symbol)


def _seen(value: float) -> float:
    return max(_LOWEST, value) if math.isfinite(value) else value
