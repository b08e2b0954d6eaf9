"""A selector names exactly the tokens it says, whatever the padding, the batch and the layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oocr.data.batches import Batch, TokenSequence, pad
from oocr.errors import InputError
from oocr.steering.positions import (
    FIXED,
    select,
    select_each,
    selectors,
    selects_new,
    spans_of,
)
from oocr.steering.vectors import Vector

WORDS = (*FIXED, "one", "two", "from:one", "from:two")


@st.composite
def lines(draw: st.DrawFn) -> tuple[list[TokenSequence], int]:
    """Ragged sequences with spans (not all have the second), and how many tokens they share."""
    prefix = draw(st.integers(0, 4))
    made: list[TokenSequence] = []
    for row in range(draw(st.integers(1, 5))):
        size = draw(st.integers(max(1, prefix), 12))
        prompt = draw(st.integers(1, size))
        places = st.sets(st.integers(0, prompt - 1), min_size=1).map(lambda s: tuple(sorted(s)))
        spans = {"one": draw(places)}
        if draw(st.booleans()):
            spans["two"] = draw(places)
        rest = tuple(100 * (row + 1) + at for at in range(prefix, size))
        made.append(TokenSequence((*range(10, 10 + prefix), *rest), prompt, spans))
    return made, prefix


def named(sequence: TokenSequence, word: str) -> list[int]:
    """The plain definition: indices into one sequence by itself."""
    size, prompt = len(sequence.ids), sequence.prompt_length
    fixed = {
        "all": range(size),
        "last": range(prompt - 1, prompt),
        "prompt": range(prompt),
        "answer": range(prompt, size),
        "from:last": range(prompt - 1, size),
    }
    if word in fixed:
        return list(fixed[word])
    tokens = sequence.spans.get(word.removeprefix("from:"), ())
    if word in sequence.spans or not tokens:
        return list(tokens)
    return list(range(min(tokens), size))


def indices(batch: Batch, chosen: torch.Tensor) -> list[list[int]]:
    """Chosen tokens as indices into their own sequences."""
    rows = zip(batch.positions, chosen, strict=True)
    return [positions[these].tolist() for positions, these in rows]


@settings(max_examples=300, deadline=None)
@given(lines(), st.integers(0, 9))
def test_exactly_the_named_tokens_and_never_padding(
    made: tuple[list[TokenSequence], int], pad_id: int
) -> None:
    sequences, shared = made
    for prefix in {0, shared}:
        batch = pad(sequences, pad_id, prefix=prefix)
        for word in WORDS:
            chosen = select(batch, word, everywhere=False)
            assert (chosen.shape, chosen.dtype) == (batch.ids.shape, torch.bool)
            assert not (chosen & ~batch.mask).any()
            assert indices(batch, chosen) == [named(sequence, word) for sequence in sequences], word
            for row, sequence in enumerate(sequences):
                ids = [sequence.ids[at] for at in named(sequence, word)]
                assert batch.ids[row][chosen[row]].tolist() == ids


@settings(max_examples=150, deadline=None)
@given(lines())
def test_a_sequence_gets_in_a_batch_what_it_gets_alone(
    made: tuple[list[TokenSequence], int],
) -> None:
    sequences, shared = made
    for prefix in {0, shared}:
        batch = pad(sequences, 0, prefix=prefix)
        for word in WORDS:
            together = indices(batch, select(batch, word, everywhere=False))
            new = selects_new(batch, word)
            for row, sequence in enumerate(sequences):
                alone = pad([sequence], 0)
                assert together[row] == indices(alone, select(alone, word, everywhere=False))[0]
                assert bool(new[row]) == bool(selects_new(alone, word)[0])


@settings(max_examples=150, deadline=None)
@given(lines(), st.integers(1, 3))
def test_new_tokens_are_selected_as_answer_tokens_are(
    made: tuple[list[TokenSequence], int], count: int
) -> None:
    sequences, shared = made
    longer = [
        TokenSequence((*sequence.ids, *[7] * count), sequence.prompt_length, sequence.spans)
        for sequence in sequences
    ]
    for prefix in {0, shared}:
        now, then = pad(sequences, 0, prefix=prefix), pad(longer, 0, prefix=prefix)
        for word in WORDS:
            before = indices(now, select(now, word, everywhere=False))
            after = indices(then, select(then, word, everywhere=False))
            for row, grows in enumerate(selects_new(now, word).tolist()):
                size = len(sequences[row].ids)
                new = list(range(size, size + count)) if grows else []
                assert after[row] == [*before[row], *new], word


def test_prompt_and_answer_part_the_sequence() -> None:
    batch = pad([TokenSequence((5, 6, 7), 2, {}), TokenSequence((5,), 1, {})], 0)
    prompt, answer = select(batch, "prompt"), select(batch, "answer")
    assert torch.equal(prompt | answer, batch.mask)
    assert not (prompt & answer).any()


def test_from_last_is_the_answer_and_the_token_before_it() -> None:
    batch = pad([TokenSequence((5, 6, 7), 2, {}), TokenSequence((5,), 1, {})], 0)
    both = select(batch, "last") | select(batch, "answer")
    assert torch.equal(select(batch, "from:last"), both)


@pytest.mark.parametrize("word", ["codenam", "from:codenam"])
def test_an_unknown_span_is_refused_with_what_is_allowed(word: str) -> None:
    batch = pad([TokenSequence((5, 6), 2, {"codename": (1,), "country": (0,)})], 0)
    allowed = ", ".join(selectors(["codename", "country"]))
    assert allowed.endswith("from:last, codename, country, from:codename, from:country")
    with pytest.raises(InputError, match=f"'{word}'.*allowed: {allowed}$"):
        select(batch, word)
    assert not select(batch, word, everywhere=False).any()
    assert not selects_new(batch, word).any()


@pytest.mark.parametrize(
    "word",
    [
        "",
        "from:",
        "from: ",
        "until:last",
        "from:all",
        "from:from:one",
        "one+",
        "one+one",
        "one+last",
        "from:one+two",
    ],
)
def test_what_is_no_selector_is_refused_everywhere(word: str) -> None:
    batch = pad([TokenSequence((5, 6), 2, {"one": (1,)})], 0)
    for ask in (spans_of, lambda w: select(batch, w, everywhere=False)):
        with pytest.raises(InputError, match=r"allowed: all, last, .*, a span's name, from:<span>"):
            ask(word)
    with pytest.raises(InputError, match="allowed: all, last"):
        selects_new(batch, word)


@pytest.mark.parametrize("word", ["codename", "from:codename"])
def test_a_sequence_without_the_span_is_refused_unless_that_is_meant(word: str) -> None:
    batch = pad([TokenSequence((5, 6), 2, {"codename": (1,)}), TokenSequence((5, 6, 7), 3, {})], 0)
    with pytest.raises(InputError, match=r"no token in 1 of 2 sequences \(first: sequence 1\)"):
        select(batch, word)
    chosen = select(batch, word, everywhere=False)
    assert chosen.int().tolist() == [[0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("word", WORDS)
def test_a_vector_file_keeps_the_selector(word: str, tmp_path: Path) -> None:
    vector = Vector(2, word, torch.ones(3), spans={"one": "a", "two": "b"})
    back = Vector.load(vector.save(tmp_path / "v.safetensors"))
    assert (back.positions, dict(back.spans)) == (word, {"one": "a", "two": "b"})
    assert spans_of(back.positions) == (() if word in FIXED else (word[-3:],))


def test_joined_spans_are_selected_each_by_itself() -> None:
    batch = pad(
        [
            TokenSequence((5, 6, 7), 3, {"one": (1,), "two": (0, 1)}),
            TokenSequence((5, 6), 2, {"two": (1,)}),
        ],
        0,
    )
    chosen = select_each(batch, "one+two")
    assert chosen[..., 0].int().tolist() == [[0, 1, 0], [0, 0, 0]]
    assert chosen[..., 1].int().tolist() == [[1, 1, 0], [0, 0, 1]]
    assert torch.equal(select(batch, "one+two"), chosen.any(dim=-1))
    assert not selects_new(batch, "one+two").any()
    with pytest.raises(InputError, match="no token in 1 of 2"):
        select_each(batch, "one+three")
