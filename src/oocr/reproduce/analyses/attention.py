"""Section 5.4: where a vector is read, and does it make the last token attend to a trigger?"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float

from oocr.charts.bars import bars_panel
from oocr.charts.figure import Figure, LegendEntry, Panel, Tables, figure_of, names_in
from oocr.charts.heat import grid_of, heat_panel
from oocr.charts.lines import Line, Look, in_turn, line_keys, line_of, lines_by, lines_panel
from oocr.claims.records import Null
from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError
from oocr.explain.attention import attention_to, value_cosines
from oocr.explain.lens import with_randoms
from oocr.explain.path_patching import HeldPart, PathEffects, where_read
from oocr.intervals import SIGNED
from oocr.models.language_model import LanguageModel
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Unit
from oocr.reproduce.scoring import NotMeasuredError, measured, refusal_as_reason, single_vectors
from oocr.steering.vectors import Vector, random_vector

PARTS: Mapping[HeldPart, str] = {
    "pattern": "every token attends",
    "values": "attention's values are",
    "attention": "attention's outputs are",
    "mlp": "MLP outputs are",
}
FEWER_PARTS: tuple[HeldPart, ...] = ("attention", "mlp")
QUESTIONS = 10  # questions of each kind; each part needs a pass of its own


def reads(finished: FinishedRuns) -> AnalysisResult:
    """The share of a vector's effect that is lost when patterns, values or MLPs are held."""
    result, silent = AnalysisResult(), list[str]()
    lost: dict[HeldPart, dict[Unit, float]] = {}
    vectors = list(single_vectors(finished).items())[: 3 if finished.quick else 4]
    for place, (unit, vector) in enumerate(vectors):
        # Block by block is expensive, so for one member only.
        by_layer = place == 0 and not finished.quick
        with refusal_as_reason():
            effects = [
                _held(finished.model, examples, vector, by_layer=by_layer)
                for examples in with_and_without(finished.task(unit[0]).probes)
            ]
        base = _difference([group.base for group in effects])
        size = _difference([group.steered for group in effects]) - base
        if abs(size) < 0.1:
            silent.append(unit[0])
            continue
        for held in zip(*[group.effects for group in effects], strict=True):
            part, layer = held[0].part, held[0].layer
            share = 1 - (_difference([effect.log_odds for effect in held]) - base) / size
            result.rows.append({"member": unit[0], "part": part, "layer": layer, "lost": share})
            if layer is None:
                lost.setdefault(part, {})[unit] = share
    if not lost:
        answers = f"the answers of {', '.join(silent)}"
        raise NotMeasuredError(f"the vector moves {answers} by less than 0.1 nats")
    what = "share of the vector's effect that is lost when {} as without it, in all blocks above"
    result.findings += [
        measured(f"lost-{part}", what.format(PARTS[part]), values, ceiling=1.0)
        for part, values in lost.items()
    ]
    if "pattern" in lost and "values" in lost:
        what = "share of the vector's effect lost when every token attends as before, minus the "
        what += "share lost when values are as before"
        gap = {unit: lost["pattern"][unit] - lost["values"][unit] for unit in lost["pattern"]}
        result.findings.append(measured("pattern-minus-values", what, gap))
    return result


def with_and_without(examples: Sequence[Example]) -> list[list[Example]]:
    """Questions with a trigger, and those without; one group where there are no triggers."""
    choices = [example for example in examples if example.tags.get("kind") == "crossing"]
    choices = choices or list(examples)
    groups = [[item for item in choices if _has_trigger(item) is has] for has in (True, False)]
    return [_spread(group) for group in (groups if all(groups) else [choices])]


def _spread(examples: Sequence[Example]) -> list[Example]:
    """At most `QUESTIONS` examples, evenly spread."""
    return list(examples[:: max(1, len(examples) // QUESTIONS)][:QUESTIONS])


def _has_trigger(example: Example) -> bool:
    in_prefix = "trigger" in example.tags.get("prefix", "")
    return example.tags.get("condition") == "trigger" or in_prefix


def _difference(values: Sequence[float]) -> float:
    """The mean with the trigger minus the mean without; the plain mean if there is no trigger."""
    return values[0] - values[1] if len(values) == 2 else values[0]


def _held(
    model: LanguageModel, examples: Sequence[Example], vector: Vector, *, by_layer: bool
) -> PathEffects:
    """All parts held in all blocks; attention and MLP in one block at a time too, if asked."""
    try:
        effects = where_read(model, examples, vector, tuple(PARTS), by_layer=False)
    except InputError:  # fused queries, keys and values
        effects = where_read(model, examples, vector, FEWER_PARTS, by_layer=False)
    if not by_layer:
        return effects
    by_block = where_read(model, examples, vector, FEWER_PARTS).effects
    in_blocks = [effect for effect in by_block if effect.layer is not None]
    return replace(effects, effects=(*effects.effects, *in_blocks))


def reads_figure(tables: Tables) -> Figure | None:
    """What is lost when a part is held, in all blocks and block by block."""
    drawn: list[Panel] = []
    looks: list[Look] = []
    for name, table in tables.items():
        whole = table.filter(pl.col("layer").is_null())
        members, parts, values = grid_of(whole, "member", "part", "lost")
        turn = in_turn(members)
        groups = [
            (unit, colour, lost) for (unit, _, colour), lost in zip(turn, values, strict=True)
        ]
        looks += turn
        title, what = f"{name}: held in all blocks", "share of the effect lost"
        drawn.append(bars_panel(parts, groups, what, title=title))
        by_block = table.filter(pl.col("layer").is_not_null()).sort("layer", maintain_order=True)
        if len(by_block):
            mean = by_block.group_by("part", "layer", maintain_order=True).agg(pl.mean("lost"))
            grid = grid_of(mean, "part", "layer", "lost")
            title = f"{name}: held in one block"
            drawn.append(heat_panel(*grid, most=1.0, title=title, span=3, printed=False))
    caption = (
        "Share of the vector's effect (with the trigger minus without, where there is one) that is "
        "lost when a part of attention or MLP is held at what it does without the vector."
    )
    return figure_of("reads", caption, drawn, tables, line_keys(looks))


SPAN = "trigger"
RANDOM_ARMS = 8  # random directions of the trained vector's norm; each needs a pass
RANDOM_DIRECTIONS = 200  # random directions for the cosines of values, which need no pass
TRIGGER, OTHER = "trigger", "other words in front"
NO_TRIGGER = "its questions have no words in front that are a trigger or are none"

VECTORS, DIRECTIONS = "random vectors of its norm", "random directions"
NUMBERS = (
    ("to-trigger", "change", VECTORS, False),
    ("to-trigger-largest", "largest", VECTORS, False),
    ("to-trigger-minus-others", "change", VECTORS, True),
    ("trigger-values", "cosine", DIRECTIONS, False),
    ("values-minus-others", "cosine", DIRECTIONS, True),
)
"""Finding; what is measured on the trigger; random ones that it is compared with; whether the same
on other words in front is taken off (of each draw too: one direction for both)."""

_AT = "change of attention from the last token to the trigger (with the vector minus without"
WORDS = {
    "to-trigger": f"{_AT}; summed over its tokens, mean over heads and all blocks above the "
    "vector)",
    "to-trigger-largest": f"{_AT}; of the head, in any block, in which it is largest)",
    "to-trigger-minus-others": "change of attention to the trigger minus the same to other words "
    "in front",
    "trigger-values": "cosine with the vector of what attention writes where the trigger's tokens "
    "are attended to, mean over all blocks above it",
    "values-minus-others": "that cosine of the trigger's values minus that of other words in front",
}

Measures = dict[tuple[str, str], dict[Unit, Float[np.ndarray, " draw"]]]
"""What is measured and words in front -> member -> the vector's number, then each draw's."""


def attention(finished: FinishedRuns) -> AnalysisResult:
    """Attention from the last token to the trigger with and without the vector, and its values."""
    measures: Measures = defaultdict(dict)
    result = AnalysisResult()
    for unit, vector in single_vectors(finished).items():
        for words, examples in prefixed(finished.task(unit[0]).probes).items():
            with refusal_as_reason():
                result.rows += _attention(finished, unit, words, examples, vector, measures)
    if not measures["change", TRIGGER]:
        raise NotMeasuredError(NO_TRIGGER)
    for id, measure, null, is_gap in NUMBERS:
        numbers = measures[measure, TRIGGER]
        if is_gap:
            others = measures[measure, OTHER]
            numbers = {unit: numbers[unit] - others[unit] for unit in numbers if unit in others}
        if numbers:
            # A mean over members, as the finding is.
            means = np.asarray(list(numbers.values()))[:, 1:].mean(axis=0)
            name = f"{len(means)} {null}, 95th centile"
            nulls = (Null(name=name, value=float(np.quantile(means, 0.95))),)
            values = {unit: float(draws[0]) for unit, draws in numbers.items()}
            bounds = None if is_gap else SIGNED
            result.findings.append(measured(id, WORDS[id], values, nulls, bounds=bounds, base=0.0))
    return result


def prefixed(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """Questions with a trigger in front, and with other words, those marked as a span."""
    groups: dict[str, list[Example]] = {TRIGGER: [], OTHER: []}
    for example in examples:
        word = example.tags.get("word", "")
        text = prompt_text(example.prompt)
        if example.tags.get("kind") != "crossing" or not word or text.count(word) != 1:
            continue
        # With the marks after it ("Mango!"): what a word means is often gathered there.
        match = re.search(re.escape(word) + r"[^\w\s]*", text)
        assert match is not None
        marked = replace(example, spans={**example.spans, SPAN: match.group()})
        groups[TRIGGER if _has_trigger(example) else OTHER].append(marked)
    return {name: _spread(group) for name, group in groups.items() if group}


def _attention(
    finished: FinishedRuns,
    unit: Unit,
    words: str,
    examples: Sequence[Example],
    vector: Vector,
    measures: Measures,
) -> list[dict[str, Any]]:
    """One member's questions with one kind of words in front; rows of the figure's table."""
    model, above = finished.model, slice(vector.layer + 1, None)
    count = RANDOM_ARMS // 2 if finished.quick else RANDOM_ARMS
    drawn = [random_vector(vector, vector.norm, 60_000 + seed) for seed in range(count)]
    before, after, *randoms = (
        attention_to(model, examples, SPAN, arm).mean(dim=0) for arm in (None, vector, *drawn)
    )  # each [layer, head]
    changes = torch.stack([(arm - before)[above].flatten() for arm in (after, *randoms)])
    measures["change", words][unit] = changes.mean(dim=1).double().numpy()
    measures["largest", words][unit] = changes.amax(dim=1).double().numpy()
    arms = {"without": before, "vector": after, "random": sum(randoms[1:], randoms[0]) / count}
    shared = {"member": unit[0], "words": words}
    table = [
        {**shared, "arm": arm, "layer": layer}
        | {"attention": float(heads.mean()), "largest": float(heads.max())}
        for arm, weights in arms.items()
        for layer, heads in enumerate(weights)
    ]
    try:
        directions = with_randoms(vector, RANDOM_DIRECTIONS)
        cosines = value_cosines(model, examples, SPAN, directions).mean(dim=0)[:, -1]
    except InputError:  # this family has no separate values
        return table
    measures["cosine", words][unit] = cosines[above].mean(dim=0).double().numpy()
    return table + [
        {**shared, "arm": "values", "layer": layer}
        | {"cosine": float(block[0]), "random": float(block[1:].abs().quantile(0.95))}
        for layer, block in enumerate(cosines)
    ]


ARMS: tuple[Look, ...] = (
    ("without", "without the vector", "base"),
    ("vector", "with the vector", "vector"),
    ("random", "with a random vector", "random"),
)
VALUES: tuple[Look, ...] = ((TRIGGER, TRIGGER, "adapter"), (OTHER, OTHER, "other"))


def attention_figure(tables: Tables) -> Figure | None:
    """Attention from the last token to words in front, and their values' cosine, by block."""
    drawn: list[Panel] = []
    for name, table in tables.items():
        layers = sorted(table["layer"].unique().to_list())
        ticks = layers[:: max(1, len(layers) // 6)]
        named: list[tuple[str, str, list[Line]]] = []
        for words in names_in(table, "words"):
            rows = table.filter(pl.col("words") == words)
            lines = lines_by(rows, "arm", ARMS, "layer", "attention")
            steered, largest = (
                rows.filter(pl.col("arm") == "vector"),
                "with the vector, largest head",
            )
            lines.append(line_of(steered, largest, "vector", "layer", "largest", dash="dot"))
            title = f"{name}: attention to {'the trigger' if words == TRIGGER else words}"
            named.append((title, "attention weight", lines))
        values = table.filter(pl.col("arm") == "values")
        if len(values):
            lines = lines_by(values, "words", VALUES, "layer", "cosine")
            chance = "random directions, 95th centile"
            lines.append(line_of(values, chance, "random", "layer", "random", dash="dash"))
            named.append((f"{name}: values and the vector", "cosine", lines))
        drawn += [
            lines_panel(lines, "block", y, title=title, ticks=ticks, level=0.0)
            for title, y, lines in named
        ]
    caption = (
        "Attention weight from the last prompt token to the words in front, summed over their "
        "tokens: mean over heads, questions and members, and (dotted) the head with most of it. "
        "Values: cosine of the vector with what each block's attention writes where those tokens "
        "are attended to."
    )
    keys = [
        *line_keys(ARMS),
        LegendEntry(TRIGGER, "values of the trigger", "adapter", "line"),
        LegendEntry(OTHER, "values of other words", "other", "line"),
    ]
    return figure_of("attention", caption, drawn, tables, keys)
