"""All frames in the prompt: the same logits as a plain pass, prompts that hold what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from oocr.claims.analysis_result import NotMeasuredError
from oocr.data.examples import Example
from oocr.families.frames.config import FramesConfig
from oocr.families.frames.questions import questions
from oocr.papers.frames.prompts import ARITHMETIC, LADDER, PromptCell, item
from oocr.papers.frames.shared_notes import option_logits, shared_prefix
from tests.tiny.models import DEPTH_FAMILIES, tiny_language_model


def asked(text: str, options: tuple[str, ...]) -> Example:
    prompt = f"The capital of Country 4821 is Paris, and people speak French. {text}"
    return Example(id=text, prompt=prompt, answer=options[0], options=options)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "qwen2", "mamba", "mpt"])
def test_logits_are_those_of_a_plain_pass(family: str) -> None:
    model = tiny_language_model(family)
    if family in DEPTH_FAMILIES:  # as the self-test of loading finds out
        model = replace(model, reuses_keys=False)
    texts = ("Which city", "The language is", "They", "Currency of Japan or of Germany:")
    items = [asked(text, (" Paris", " Tokyo", " yen")) for text in texts]
    found = option_logits(model, items)
    for example, logits in zip(items, found, strict=True):
        ids = model.tokenizer(example.prompt, return_tensors="pt").input_ids
        firsts = [
            model.tokenizer(option, add_special_tokens=False).input_ids[0]
            for option in example.options
        ]
        with torch.no_grad():
            plain = model.hf(input_ids=ids).logits[0, -1, firsts]
        torch.testing.assert_close(torch.tensor(logits), plain, rtol=1e-3, atol=1e-3)


def test_options_with_one_first_token_cannot_be_scored() -> None:
    with pytest.raises(NotMeasuredError, match="the same first token"):
        option_logits(tiny_language_model(), [asked("Which city", (" Paris", " Paris people"))])


def test_texts_keep_one_token_of_their_own() -> None:
    assert shared_prefix([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert shared_prefix([[1, 2], [1, 2]]) == 1
    assert shared_prefix([[1], [2]]) == 0


@pytest.mark.parametrize("aid", LADDER)
def test_prompts_hold_what_the_ladder_says(aid: str) -> None:
    config = FramesConfig(form="raw")
    question = questions(config.house, "side", disjoint=True)[0]
    text = str(item(config, PromptCell(aid=aid), question, 0).prompt)
    notes = text.split("These are the notes so far:\n")[1].split("\nQ: ")[0].split("\n")
    objects = 2 if aid == ARITHMETIC else 18
    counts = {"seen": objects, "step": 5, "map": 6, "coordinates": objects, "oracle": objects}
    assert len(notes) == sum(counts[kind] for kind in LADDER[aid])
    assert ("From moment 1 to moment 2" in text) is (aid == "trajectory")
