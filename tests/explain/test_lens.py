"""What a direction says: known answers on a tiny model, and the reader's blind choice."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from oocr.errors import InputError
from oocr.explain.description import PROMPTS, describe, tell_by_model
from oocr.explain.lens import lens, scores_of, tell
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector, random_vector
from tests.tiny.models import tiny_language_model

WORDS = {"France": (" Paris", " French"), "Japan": (" Tokyo", " Japanese"), "Spain": (" Madrid",)}


@cache
def model_of(family: str = "gemma3_text") -> LanguageModel:
    return tiny_language_model(family)


def token(word: str) -> int:
    return int(model_of().tokenizer(word, add_special_tokens=False)["input_ids"][0])


def towards(word: str, by: str = "lm_head") -> Vector:
    parts = model_of().anatomy
    rows = parts.lm_head.weight if by == "lm_head" else parts.embed_weight
    assert isinstance(rows, torch.Tensor)
    return Vector(2, "all", rows[token(word)].clone() * 3)


def test_a_row_of_the_embedding_is_nearest_to_its_own_token() -> None:
    tokens = lens(model_of(), towards(" Paris", "embedding"), reading="embedding", top=3)
    assert tokens[0].id == token(" Paris")
    assert tokens[0].score > tokens[1].score > tokens[2].score


def test_readings_are_what_they_say() -> None:
    model, vector = model_of(), towards(" Tokyo")
    parts = model.anatomy
    head = parts.lm_head.weight
    assert isinstance(head, torch.Tensor)
    count = len(model.tokenizer)
    for reading, v in (
        ("raw", vector.direction),
        ("normed", parts.final_norm(vector.direction[None])[0]),
    ):
        logits = (head @ v)[:count].detach()
        expected = (logits - logits.mean()) / logits.std()
        scored = scores_of(model, vector.direction[None], reading)[0]  # type: ignore[arg-type]
        torch.testing.assert_close(scored, expected, rtol=1e-4, atol=1e-4)
    most, least = lens(model, vector, top=1), lens(model, vector, top=1, sign=-1)
    assert most[0].id != least[0].id


def test_the_reader_names_the_concept_a_direction_was_made_of() -> None:
    answer = tell(model_of(), towards(" Japanese"), "Japan", WORDS, reading="raw", randoms=40)
    assert (answer.named, answer.rank, answer.concepts) == ("Japan", 0, 3)
    assert answer.score > 1
    assert 0 < answer.random_rank < 2
    wrong = tell(model_of(), towards(" Japanese"), "Spain", WORDS, reading="raw", randoms=40)
    assert wrong.rank > 0
    assert wrong.named == "Japan"


def test_words_that_concepts_share_tell_nothing() -> None:
    shared = {"France": (" Paris", " euro"), "Spain": (" Madrid", " euro")}
    answer = tell(model_of(), towards(" euro"), "France", shared, reading="raw", randoms=40)
    alone = {name: words[:1] for name, words in shared.items()}
    assert answer == tell(model_of(), towards(" euro"), "France", alone, reading="raw", randoms=40)
    with pytest.raises(InputError, match="a word of its own"):
        tell(model_of(), towards(" euro"), "France", {**shared, "Spain": (" euro",)})
    with pytest.raises(InputError, match="allowed: one of two or more"):
        tell(model_of(), towards(" euro"), "Peru", shared)


def test_a_description_is_the_steered_continuation_beside_the_untouched_one() -> None:
    model = model_of()
    vector = Vector(
        1, "all", torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    )
    answers = describe(
        model, vector * 50, prompts=("The capital of x is", "x in the city"), scales=(0.0, 1.0)
    )
    still, moved = answers[:2], answers[2:]
    assert all(answer.text == answer.untouched for answer in still)
    assert any(answer.text != answer.untouched for answer in moved)
    with pytest.raises(InputError, match="holds 'x'"):
        describe(model, vector, prompts=("The capital of",))
    both = Vector(1, "a+b", torch.zeros(2, model.d_model))
    with pytest.raises(InputError, match="one by one"):
        describe(model, both)


def test_the_model_s_choice_is_the_rise_of_the_words_log_probabilities() -> None:
    """By hand for every direction: hooked passes, log-softmax, differences, places."""
    model = model_of()
    vector = replace(towards(" Japanese"), layer=1) * 4
    arms = [vector] + [random_vector(vector, vector.norm, seed) for seed in range(12)]
    words = {name: [token(word) for word in texts] for name, texts in WORDS.items()}
    flat = [arm for texts in words.values() for arm in texts]

    def logps(prompt: str, arm: Vector | None) -> torch.Tensor:
        encoded = model.tokenizer(prompt, return_offsets_mapping=True)
        at = prompt.index(" x")
        inside = [i for i, (a, b) in enumerate(encoded["offset_mapping"]) if a < at + 2 and b > at]

        def steer(_m: object, _a: object, out: torch.Tensor) -> torch.Tensor:
            moved = out.clone()
            moved[:, inside] += 0 if arm is None else arm.direction
            return moved

        handle = model.anatomy.blocks[1].register_forward_hook(steer)
        logits = model.hf(input_ids=torch.tensor([encoded["input_ids"]])).logits[0, -1, flat]
        handle.remove()
        return logits.log_softmax(-1)

    prompts = ("In one word, the meaning of x is", "The word x stands for")
    rises = [torch.stack([logps(p, arm) - logps(p, None) for p in prompts]).mean(0) for arm in arms]
    scores = torch.stack([torch.stack([r[:2].mean(), r[2:4].mean(), r[4]]) for r in rises])
    first, null = scores[0], scores[1:]
    normed = (first - null.mean(0)) / (null.std(0, correction=0) + 1e-9)
    reading = tell_by_model(model, vector, "Japan", WORDS, prompts=prompts, randoms=12)
    assert reading.named == list(WORDS)[int(normed.argmax())]
    assert reading.rank == int((normed > normed[1]).sum())
    assert reading.score == pytest.approx(float(normed[1] - normed[[0, 2]].mean()), rel=1e-3)
    assert 0 < reading.random_rank < 2


def test_the_model_names_the_concept_whose_word_a_late_direction_makes_likelier() -> None:
    model = model_of()
    last = replace(towards(" Tokyo"), layer=3) * 20  # no block above: only at the placeholder
    nothing = tell_by_model(model, last, "Japan", WORDS, randoms=5)
    assert nothing.score == pytest.approx(0, abs=1e-3)
    # The placeholder last: then the direction is read where it is put.
    reading = tell_by_model(model, last, "Japan", WORDS, prompts=("The city of x",), randoms=20)
    assert (reading.named, reading.rank) == ("Japan", 0)
    assert reading.score > 1
    assert len(PROMPTS) > 1
    with pytest.raises(InputError, match="holds 'x'"):
        tell_by_model(model, last, "Japan", WORDS, prompts=("The capital of",))
    with pytest.raises(InputError, match="allowed: one of two or more"):
        tell_by_model(model, last, "Peru", WORDS)


def test_what_cannot_be_read_is_refused() -> None:
    vector = towards(" Paris")
    with pytest.raises(InputError, match="reading: found 'deep'"):
        lens(model_of(), vector, reading="deep")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one direction of this model's width"):
        lens(model_of(), replace(vector, direction=torch.ones(5)))
