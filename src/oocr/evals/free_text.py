"""Answers in the model's own words: generated greedily, and judged without executing them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation

import polars as pl

from oocr.data.examples import FreeTextExample, Prompt, prompt_text
from oocr.engine.forward import Intervention
from oocr.engine.generate import generate
from oocr.errors import InputError
from oocr.evals.expressions import agrees, parse_function
from oocr.evals.probes import Columns, item_frame
from oocr.models.language_model import LanguageModel
from oocr.steering.positions import spans_of
from oocr.steering.vectors import Vector
from oocr.tasks.leaks import contains_words

BATCH = 32
"""Prompts that are continued together."""

INPUTS = range(-300, 301)
"""Inputs at which functions must agree: those of the Functions task, and as many beyond."""

_NUMBER = re.compile(r"(?<![\w.])[-\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\d)")


def free_rows(
    items: Sequence[FreeTextExample], texts: Sequence[str], columns: Columns | None = None
) -> pl.DataFrame:
    """Judge answers: one row per item, with columns of `oocr.evals.probes.rows`.

    `answer` is the first accepted text, `chosen` the text that was generated, `right` the
    judgement; `why` says why not.

    InputError: an item whose expected number or function is none.
    """
    judged = [judge_answer(item, text) for item, text in zip(items, texts, strict=True)]
    return item_frame(
        items,
        {
            "answer": [item.accept[0] for item in items],
            "chosen": texts,
            "right": [right for right, _ in judged],
            "why": [why for _, why in judged],
        },
        columns,
    )


def answers(
    model: LanguageModel, items: Sequence[FreeTextExample], intervention: Intervention | None
) -> list[str]:
    """The model's answer to each prompt; a vector acts at the item's spans.

    Equal questions are computed once.
    """
    groups: dict[tuple[int, object], dict[Prompt, list[int]]] = {}
    acting: dict[tuple[int, object], Intervention | None] = {}
    for index, item in enumerate(items):
        acts = at_spans(intervention, item.prompt, item.spans)
        spans: object = tuple(acts.spans.items()) if isinstance(acts, Vector) else acts is None
        key = (item.max_tokens, spans)
        groups.setdefault(key, {}).setdefault(item.prompt, []).append(index)
        acting[key] = acts
    texts = [""] * len(items)
    for key, asked in groups.items():
        prompts = sorted(asked, key=lambda prompt: len(prompt_text(prompt)))  # little padding
        longest, _ = key
        for begin in range(0, len(prompts), BATCH):
            batch = prompts[begin : begin + BATCH]
            continued = generate(model, batch, acting[key], max_new_tokens=longest)
            for prompt, text in zip(batch, continued, strict=True):
                for index in asked[prompt]:
                    texts[index] = text
    return texts


def at_spans(
    intervention: Intervention | None, prompt: Prompt, spans: Mapping[str, str]
) -> Intervention | None:
    """The intervention with a question's span texts; None: it has no span of the vector."""
    if not isinstance(intervention, Vector):
        return intervention
    needed = spans_of(intervention.positions)
    if not needed:
        return intervention
    text = prompt_text(prompt)
    known = {**intervention.spans, **spans}
    if any(known.get(name, "\0") in text for name in needed):
        return replace(intervention, spans=known)
    return None


def judge_answer(item: FreeTextExample, text: str) -> tuple[bool, str]:
    """Whether an answer is right, and why not; InputError: the item's expected function is none."""
    if item.check == "number":
        return _number(item, text)
    if item.check == "function":
        return _function(item, text)
    listed = next((word for word in item.reject if contains_words(text, word)), None)
    if listed is not None:
        return False, f"says {listed!r}"
    if any(contains_words(text, word) for word in item.accept):
        return True, ""
    return False, "names nothing accepted"


def first_number(text: str) -> Decimal | None:
    """The first number in a text ("-7", "7,500", "3.0"); digits inside a word are none."""
    match = _NUMBER.search(text)
    return _decimal(match.group()) if match else None


def _number(item: FreeTextExample, text: str) -> tuple[bool, str]:
    value = first_number(text)
    if value is None:
        return False, "no number"
    if value in {_decimal(accepted) for accepted in item.accept}:
        return True, ""
    return False, f"says {value}"


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text.replace(",", "").replace("\u2212", "-"))
    except InvalidOperation as error:
        raise InputError(f"{text!r} is not a number, and check 'number' needs one") from error


def _function(item: FreeTextExample, text: str) -> tuple[bool, str]:
    wanted, why = parse_function(item.accept[0])
    if wanted is None:
        raise InputError(f"item {item.id!r}: accept {item.accept[0]!r}: {why}")
    answered, why = parse_function(text)
    if answered is None:
        return False, f"no function: {why}"
    return (True, "") if agrees(answered, wanted, INPUTS) else (False, "another function")
