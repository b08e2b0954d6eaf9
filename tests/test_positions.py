"""A selector names exactly the tokens it says, whatever the padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oocr.data.batches import Line, pad
from oocr.errors import InputError
from oocr.interventions.positions import select


@st.composite
def line(draw: st.DrawFn) -> Line:
    size = draw(st.integers(1, 12))
    prompt = draw(st.integers(1, size))
    some = st.sets(st.integers(0, prompt - 1), min_size=1)
    spans = {"one": tuple(sorted(draw(some))), "two": tuple(sorted(draw(some)))}
    return Line(tuple(range(10, 10 + size)), prompt, spans)


def named(one: Line, positions: str) -> set[int]:
    size, prompt = len(one.ids), one.prompt_length
    fixed = {
        "all": set(range(size)),
        "last": {prompt - 1},
        "prompt": set(range(prompt)),
        "answer": set(range(prompt, size)),
    }
    return fixed[positions] if positions in fixed else set(one.spans[positions])


@given(st.lists(line(), min_size=1, max_size=5), st.integers(0, 9))
def test_exactly_the_named_tokens_and_never_padding(lines: list[Line], pad_id: int) -> None:
    batch = pad(lines, pad_id)
    for positions in ("all", "last", "prompt", "answer", "one", "two"):
        chosen = select(batch, positions)
        assert chosen.shape == batch.ids.shape
        assert chosen.dtype == torch.bool
        assert not (chosen & ~batch.mask).any()
        for row, one in enumerate(lines):
            ids = [one.ids[i] for i in sorted(named(one, positions))]
            assert batch.ids[row][chosen[row]].tolist() == ids


@given(st.lists(line(), min_size=1, max_size=5))
def test_a_sequence_gets_in_a_batch_what_it_gets_alone(lines: list[Line]) -> None:
    batch = pad(lines, 0)
    for positions in ("all", "last", "prompt", "answer", "two"):
        chosen = select(batch, positions)
        for row, one in enumerate(lines):
            alone = select(pad([one], 0), positions)[0]
            assert chosen[row, -len(one.ids) :].tolist() == alone.tolist()


def test_prompt_and_answer_part_the_sequence() -> None:
    batch = pad([Line((5, 6, 7), 2, {}), Line((5,), 1, {})], 0)
    prompt, answer = select(batch, "prompt"), select(batch, "answer")
    assert torch.equal(prompt | answer, batch.mask)
    assert not (prompt & answer).any()


def test_an_unknown_span_is_refused_with_what_is_allowed() -> None:
    batch = pad([Line((5, 6), 2, {"codename": (1,), "country": (0,)})], 0)
    allowed = "'codenam'.*allowed: all, last, prompt, answer, codename, country"
    with pytest.raises(InputError, match=allowed):
        select(batch, "codenam")
    assert not select(batch, "codenam", everywhere=False).any()


def test_a_sequence_without_the_span_is_refused_unless_that_is_meant() -> None:
    batch = pad([Line((5, 6), 2, {"codename": (1,)}), Line((5, 6, 7), 3, {})], 0)
    with pytest.raises(InputError, match=r"no token in 1 of 2 sequences \(first: sequence 1\)"):
        select(batch, "codename")
    chosen = select(batch, "codename", everywhere=False)
    assert chosen.int().tolist() == [[0, 0, 1], [0, 0, 0]]
