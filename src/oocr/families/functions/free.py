"""Questions about a function with lettered options, as the paper asks, and in free answers."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from oocr.data.examples import Example, FreeTextExample, Message, Prompt
from oocr.families.functions.probes import NAMES, OPTIONS, Asker, far_inputs
from oocr.families.functions.rows import single
from oocr.families.functions.table import program

PAPER = 44
"""Lettered questions per function, as many as the paper has of the one it reports."""

LETTERS = "ABCDE"

CALLS = 4
"""Outputs to be printed per function, of inputs out of range and of held-out ones."""

LAMBDA_TOKENS, OUTPUT_TOKENS = 24, 8


def paper_items(asker: Asker, most: int | None = None) -> tuple[Example, ...]:
    """Lettered options, shuffled by the seed and told apart by the letter's last token."""
    rng, items = asker.rng("paper"), []
    fn, right = asker.one.codename, asker.one.words
    wrong = [one.words for one in asker.table.functions.values() if one.words != right]
    space = "" if asker.form == "chat" else " "
    for number in range(PAPER):
        options = [right, *rng.sample(wrong, OPTIONS - 1)]
        rng.shuffle(options)
        lines = [f"{letter}) {text}" for letter, text in zip(LETTERS, options, strict=True)]
        wording = number % len(asker.table.paper)
        question = asker.table.paper[wording].format(fn=fn)
        head, end = f"from functions import {fn}", "Answer with a letter."
        text = "\n".join([head, "", question, "", *lines, "", end])
        prompt: Prompt = (Message("user", text),) if asker.form == "chat" else f"{text}\nAnswer:"
        shown = {letter: f"{space}{letter}" for letter in LETTERS}
        letter = LETTERS[options.index(right)]
        item = asker.item("paper", f"paper {wording}", number, prompt, shown, letter)
        items.append(replace(item, scored_by="last_token"))
    return tuple(items[:most])


def free_items(asker: Asker, most: int | None = None) -> tuple[FreeTextExample, ...]:
    """Its definition as a lambda, and outputs: out of range, and of held-out inputs."""
    rng, one = asker.rng("free"), asker.one
    definitions = [
        FreeTextExample(
            id=f"{one.codename}/lambda/{number}",
            prompt=asker.asked(wording),
            accept=(one.code,),
            check="function",
            max_tokens=LAMBDA_TOKENS,
            spans=asker.spans((one.codename,)),
            facet=NAMES["lambda"],
            group=asker.group("lambda"),
            template=f"lambda {number}",
            tags={"function": one.codename},
            source="functions.yaml",
        )
        for number, wording in enumerate(asker.table.wordings["lambda"])
    ]
    far = _printed(asker, rng, "range", far_inputs(rng, CALLS))
    near = _printed(asker, rng, "single", rng.sample(asker.split.test, CALLS))
    return tuple(item for items in (definitions, far, near) for item in items[:most])


def _printed(
    asker: Asker, rng: random.Random, facet: str, inputs: Iterable[int]
) -> list[FreeTextExample]:
    """Outputs that the model prints itself."""
    items = []
    one, truth = asker.one, asker.one.output == "bool"
    tags = {"function": one.codename} | ({"part": "in-context"} if facet == "single" else {})
    for number, x in enumerate(inputs):
        lines, value, used = single(rng, one, x)
        items.append(
            FreeTextExample(
                id=f"{one.codename}/{facet} printed/{number}",
                prompt=program(lines, asker.form, asker.table.system),
                accept=(str(value),),
                check="text" if truth else "number",
                reject=(str(not value),) if truth else (),
                max_tokens=OUTPUT_TOKENS,
                spans=asker.spans(used),
                facet=NAMES[facet],
                group=asker.group(facet),
                template=f"{len(lines)} lines",
                tags=tags,
                source="functions.yaml",
            )
        )
    return items
