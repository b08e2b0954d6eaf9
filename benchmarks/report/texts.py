"""Names and numbers as the table, the page and the figure write them."""

from __future__ import annotations

from typing import Any

from benchmarks.report.bars import Bar

WHO = {
    "ours": "oocr",
    "plain-all": "plain loop, all logits",
    "plain-last": "plain loop, last logits",
    "peft-last": "plain loop + PEFT, last logits",
    "trl": "TRL + PEFT",
    "beft": "PEFT BEFT",
    "beft-hook": "plain loop, hook on down_proj",
}
KIND = {
    "last": "vector, last token",
    "span": "vector, span",
    "all": "vector, all tokens",
    "lora": "LoRA r 8, down_proj",
    "beft": "bias of down_proj",
}


def row_name(row: dict[str, Any]) -> str:
    """What a row is, without who."""
    case = row["case"]
    name = KIND[case["kind"]]
    if row["seeds"]:
        return f"{name}, all layers x {row['seeds']} seeds"
    if row["together"]:
        name += f", {row['arms']} arm{'s' if row['arms'] > 1 else ''} at once"
    if case["tokens"] != 41:
        name += f", {case['tokens']} tokens"
    if case["examples"] != 64 and not row["together"]:
        name += f", {case['examples']} examples"
    return name


def unsteady_text(row: dict[str, Any]) -> str:
    """Says which row's rounds differ, and how."""
    rounds = ", ".join(seconds(entry) for entry in row["steps_measured"])
    where = f"block {row['case']['block']}, {row['case']['precision']}"
    return f"unsteady: {WHO[row['who']]}, {row_name(row)}, {where}: {rounds} s a step"


def seconds(value: float | None) -> str:
    """Three digits that say something."""
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def times(value: float | None) -> str:
    """A ratio."""
    if value is None:
        return "–"
    return f"{value:.1f}x" if value < 100 else f"{value:.0f}x"


def percent(value: float | None) -> str:
    """A share."""
    return "–" if value is None else f"{100 * value:.0f} %"


def giga(value: float | None) -> str:
    """Billions."""
    return "–" if value is None else f"{value / 1e9:.0f}"


def mega(value: float | None) -> str:
    """Megabytes."""
    return "–" if value is None else f"{value / 1e6:.0f}"


def bar_texts(bar: Bar) -> tuple[str, str, str]:
    """Required, found, and the verdict."""
    sign = "at most" if bar.most else "at least"
    required = f"{sign} {bar.required:.3g}{bar.unit}"
    if bar.found is None:
        return required, "not measured", "–"
    return required, f"{bar.found:.3g}{bar.unit} ({bar.where})", "met" if bar.met else "missed"
