"""What an arm does to the residual stream and to neutral text."""

from __future__ import annotations

import polars as pl

from oocr.charts import pieces
from oocr.charts.arms import Arm
from oocr.charts.dots import strip_panel
from oocr.charts.figure import ColouredTexts, Figure, LegendEntry, Panel, figure_of
from oocr.charts.lines import log_axis
from oocr.intervals import POSITIVE, mean_interval
from oocr.runs.folder import RunFolder, as_float, has

METRICS = {
    "cosine": "cosine to the mean",
    "energy": "energy of the mean",
    "rank1": "rank-1 share",
    "held_out": "cosine to the other half's mean",
    "to_span": "cosine of the mean to the span's mean",
    "norm_cv": "spread of norms",
}
GROUPS = ("span", "other prompt tokens", "unrelated text")
_KINDS = {
    "adapter": ("trained LoRAs", "adapter"),
    "random adapter": ("LoRAs with random weights", "random"),
}
_NEUTRAL = {"kl": "KL from the untouched model (nats per token)", "perplexity": "perplexity"}
_TOKEN_COLUMNS = ("arm", "member", "text", "kind", "position", "token", "in_span", "cosine", "norm")


def constancy_figure(run: RunFolder) -> Figure | None:
    """How constant each LoRA's effect is: one dot per LoRA and token group, medians as ticks."""
    data = run.constancy
    if not has(data, "kind", "tokens", "member", "seed"):
        return None
    groups = [name for name in GROUPS if name in data["tokens"]]
    metrics = [name for name in METRICS if name in data.columns]
    if not groups or not metrics:
        return None
    keys = [
        LegendEntry(kind, f"{label} ({count})", colour, "circle")
        for kind, (label, colour) in _KINDS.items()
        if (count := _adapters(data, kind)) or kind == "adapter"
    ]
    panels = [_constancy_panel(data, metric, groups, keys) for metric in metrics]
    caption = (
        "One dot per LoRA; ticks are medians. Measured on the difference that a LoRA makes to the "
        "residual stream at its block's output, by token group. Cosines are signed. Words are "
        "explained at the end of the page."
    )
    return figure_of("constancy", caption, panels, data, keys)


def _adapters(data: pl.DataFrame, kind: str) -> int:
    return data.filter(pl.col("kind") == kind).select("arm", "member", "seed").unique().height


def _constancy_panel(
    data: pl.DataFrame, metric: str, groups: list[str], keys: list[LegendEntry]
) -> Panel:
    shown = data.filter(pl.col("tokens").is_in(groups), pl.col(metric).is_not_null())
    notes = [
        f"{pieces.hover_box(line['member'])}, seed {line['seed']}<br>{pieces.text(line['tokens'])} "
        f"(n = {line.get('n', '?')})<br>{METRICS[metric]} {pieces.number(line[metric], 3)}"
        for line in shown.iter_rows(named=True)
    ]
    cloud = shown.select(
        row=pl.col("tokens").replace_strict({name: _short(name) for name in groups}),
        series="kind",
        value=metric,
        note=pl.Series(notes, dtype=pl.String),
    )
    medians = cloud.group_by("row", "series", maintain_order=True).agg(pl.col("value").median())
    notes = [f"median {pieces.number(value, 3)}" for value in medians["value"]]
    medians = medians.with_columns(note=pl.Series(notes, dtype=pl.String))
    values = data[metric].drop_nulls().drop_nans()
    low, high = min(0.0, as_float(values.min())), max(1.0, as_float(values.max()))
    padding = 0.04 * (high - low)
    x = pieces.axis(
        range=[low - padding, high + padding], nticks=5, zeroline=low < 0, zerolinecolor="@line"
    )
    rows = [_short(name) for name in groups]
    return strip_panel(cloud, medians, rows, keys, x=x, title=METRICS[metric], span=2)


def _short(group: str) -> str:
    return group.removesuffix(" tokens").removesuffix(" text")


def side_effects_figure(run: RunFolder) -> Figure | None:
    """What each arm does to neutral text: a dot per arm trained, means with intervals."""
    data = run.side_effects
    needed = ("arm", "member", "seed", "kl", "perplexity", "perplexity_base")
    if not has(data, *needed):
        return None
    arms = sorted((Arm(name) for name in data["arm"].unique()), key=lambda arm: arm.order)
    panels = [_neutral_panel(data, metric, arms) for metric in _NEUTRAL]
    tokens = as_float(data["tokens"].max()) if "tokens" in data.columns else 0.0
    caption = (
        "On neutral text"
        + (f" of {tokens:,.0f} tokens" if tokens else "")
        + ". Small dots: single arms. Large: means over members and seeds with 95 % "
        "intervals over members. Upright line: the untouched model."
    )
    return figure_of("side-effects", caption, panels, data)


def _neutral_panel(data: pl.DataFrame, metric: str, arms: list[Arm]) -> Panel:
    labels = {arm.name: arm.label for arm in arms}
    shown = data.filter(pl.col(metric).is_finite(), pl.col(metric) > 0)
    row = pl.col("arm").replace_strict(labels, return_dtype=pl.String)
    notes = [
        f"{pieces.text(line['member'])}, seed {line['seed']}: {pieces.number(line[metric], 3)}"
        for line in shown.iter_rows(named=True)
    ]
    hover = pl.Series(notes, dtype=pl.String)
    cloud = shown.select(row=row, series="arm", value=metric, note=hover)
    centres = []
    for arm in arms:
        of_arm = shown.filter(pl.col("arm") == arm.name)
        if of_arm.is_empty():
            continue
        means = of_arm.group_by("member", maintain_order=True).agg(pl.col(metric).mean())[metric]
        interval = mean_interval(means.to_list(), bounds=POSITIVE)
        note = pieces.hover_box(
            arm.label, pieces.interval_text(interval.value, interval.low, interval.high, 3)
        )
        centres.append({"row": arm.label, "series": arm.name, "note": note} | interval.columns)
    perplexity = metric == "perplexity"
    return strip_panel(
        cloud,
        pl.DataFrame(centres, schema_overrides={"series": pl.String}),
        list(labels.values()),
        [LegendEntry(arm.name, arm.label, arm.colour, arm.symbol) for arm in arms],
        x=pieces.axis(nticks=6) if perplexity else log_axis(data[metric].to_list()),
        vertical=as_float(data["perplexity_base"].mean()) if perplexity else None,
        title=_NEUTRAL[metric],
    )


def coloured_texts(label: str, rows: pl.DataFrame) -> ColouredTexts:
    """Texts from rows with text, kind, position, token, in_span, cosine and norm."""
    middle = as_float(rows["norm"].drop_nans().median())
    texts = tuple(
        (str(kind), tokens.sort("position").to_dicts())
        for (kind, _), tokens in rows.group_by("kind", "text", maintain_order=True)
    )
    return ColouredTexts(label, middle if middle > 0 else 1.0, texts)  # no effect, or no number


def tokens_figure(run: RunFolder) -> Figure | None:
    """Real text, each token coloured by the LoRA's effect there; arms in the table's order."""
    if not has(run.tokens, *_TOKEN_COLUMNS):
        return None
    arms = list(run.tokens.group_by("arm", "member", maintain_order=True))
    if not arms:
        return None
    labels = [
        str(member) if str(member) in str(arm) else f"{member} ({arm})" for (arm, member), _ in arms
    ]
    texts = [
        coloured_texts(label if labels.count(label) == 1 else str(arm), rows)
        for label, ((arm, _), rows) in zip(labels, arms, strict=True)
    ]
    caption = (
        "Each token's colour is the signed cosine of the LoRA's effect there with the mean effect "
        "at the span; the underline grows with the size of the effect, relative to the median of "
        "the arm's tokens; the span is outlined. Point at a token for its numbers."
    )
    to = "the mean at the span"
    return Figure("tokens", caption, {}, run.tokens, texts=texts, compared_with=to)
