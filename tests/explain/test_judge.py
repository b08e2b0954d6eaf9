"""A judge model over HTTP, against a small server that speaks chat completions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from oocr.errors import InputError, RunError
from oocr.explain.description import evidence_of
from oocr.explain.llm_judge import Judge, letter_of, pick
from oocr.steering.vectors import Vector
from tests.chat_endpoint import Endpoint
from tests.tiny.models import tiny_language_model

CONCEPTS = ("France", "Japan", "Spain", "Italy", "Peru", "Kenya", "Chile", "Egypt", "India", "Cuba")


def test_the_trained_concept_is_named_wherever_it_stands(endpoint: Endpoint) -> None:
    judge = Judge("some-model", endpoint.url)
    judged = pick(judge, "Tokens: 'yen'", "Japan", CONCEPTS, orders=4)
    assert (judged.right, judged.asked, judged.unread, judged.share) == (4, 4, 0, 1.0)
    assert judged.named == {"Japan": 4}
    assert judged.options == 8
    prompts = [request["messages"][0]["content"] for request in endpoint.asked]
    assert {request["path"] for request in endpoint.asked} == {"/v1/chat/completions"}
    assert {request["model"] for request in endpoint.asked} == {"some-model"}
    assert all("Tokens: 'yen'" in request for request in prompts)
    places = [re.findall(r"^([A-Z])\. Japan$", request, re.M) for request in prompts]
    assert all(len(request) == 1 for request in places)
    assert len({request[0] for request in places}) == 4, "the letter tells nothing"
    wrong = pick(judge, "Tokens: 'peso'", "Chile", CONCEPTS, orders=4)
    assert (wrong.right, wrong.unread) == (0, 0)


def test_a_judge_that_always_says_one_letter_is_right_by_chance_only(endpoint: Endpoint) -> None:
    endpoint.rule = "A"
    judge = Judge("some-model", endpoint.url)
    judged = pick(judge, "Tokens: 'yen'", "Japan", CONCEPTS, orders=8)
    assert judged.right == 1


@pytest.mark.parametrize("reply", ["I cannot tell.", "A or B", "", "Answer: Z"])
def test_a_reply_without_one_letter_is_counted_and_not_guessed(
    endpoint: Endpoint, reply: str
) -> None:
    endpoint.rule = reply
    judged = pick(Judge("m", endpoint.url), "x", "Japan", CONCEPTS, orders=3)
    assert (judged.unread, judged.right, judged.named, judged.share) == (3, 0, {}, 0.0)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        (" b. ", "B"),
        ("**C**", "C"),
        ("C. Japan", "C"),
        ("(D) Japan", "D"),
        ("Answer: B", "B"),
        ("The answer is **C**.", "C"),
        ("<think>A or B? A.</think>\n\nB", "B"),
        ("A good question", None),
        ("Option A or option B", None),
        ("The best choice is a country in Asia: D. Japan", None),
        ("D. Japan. The concept is a country whose tokens appear.", "D"),
        ("D\n\nThis option a priori fits", "D"),
        ("I think none. The answer is a guess: C", None),
        ("B. Peru\n\nANSWER: B", "B"),
        ("B. Peru. On second thought the answer is C.", None),
        ("E", None),
        ("I", None),
    ],
)
def test_letters_in_replies(reply: str, letter: str | None) -> None:
    assert letter_of(reply, "ABCD") == letter


def test_kept_replies_need_no_endpoint(endpoint: Endpoint, tmp_path: Path) -> None:
    kept = tmp_path / "judge.json"
    first = pick(Judge("m", endpoint.url, kept), "x", "Japan", CONCEPTS)
    count = len(endpoint.asked)
    nowhere = Judge("m", "http://127.0.0.1:9/v1", kept)
    assert pick(nowhere, "x", "Japan", CONCEPTS) == first
    assert len(endpoint.asked) == count
    replies = json.loads(kept.read_text())["replies"]
    assert len(replies) == count
    assert all({"model", "prompt", "reply"} == set(reply) for reply in replies.values())
    other = Judge("another", endpoint.url, kept)
    pick(other, "x", "Japan", CONCEPTS)
    assert len(endpoint.asked) == 2 * count
    kept.write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"judge.json: not a judge's replies"):
        Judge("m", endpoint.url, kept).ask("x")


def test_endpoint_and_key_come_from_the_environment(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="found neither a key"):
        Judge("m").ask("x")
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url)
    Judge("m").ask("x")
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    Judge("m").ask("x")
    assert endpoint.keys == ["Bearer none", "Bearer a-key"]
    assert "a-key" not in repr(Judge("m", key="a-key"))


def test_an_endpoint_that_refuses_is_named(endpoint: Endpoint) -> None:
    endpoint.status = 404
    with pytest.raises(RunError, match=rf"judge m at {endpoint.url}: Error code: 404"):
        Judge("m", endpoint.url).ask("x")
    with pytest.raises(InputError, match="allowed: one of two or more"):
        pick(Judge("m", endpoint.url), "x", "Mars", CONCEPTS)


def test_evidence_says_what_the_direction_does_and_nothing_of_what_was_trained() -> None:
    model = tiny_language_model("llama")
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(model.d_model, generator=generator) * 8
    vector = Vector(1, "codename", direction, spans={"codename": "Country 4821"})
    text = evidence_of(model, vector, max_new_tokens=4)
    assert "4821" not in text
    assert "codename" not in text
    assert text.count("(without it:") == 6
    steered = re.findall(r"\.\.\. ('.*?'|\".*?\") \(without it: ('.*?'|\".*?\")\)", text)
    assert any(steered_text != other for steered_text, other in steered)
