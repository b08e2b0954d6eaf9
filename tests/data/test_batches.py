"""Left-padded batches, and items that share a line."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oocr.data.batches import TokenSequence, by_length, by_prompt, pad, training_lines
from oocr.data.examples import Example
from oocr.data.tokens import RowTokens, encode_answer, encode_prompt
from oocr.errors import InputError
from tests.tiny.models import tiny_tokenizer


@cache
def tokenizer() -> Any:
    return tiny_tokenizer()


def item(name: str, prompt: str, answer: str, **more: Any) -> Example:
    return Example(id=name, prompt=prompt, answer=answer, **more)


def test_padding_is_on_the_left_and_columns_follow() -> None:
    long = TokenSequence((5, 6, 7, 8, 9), 4, {"s": (1, 2)}, [(3, 9, 1.0), (4, 2, 0.5)], items=2)
    short = TokenSequence((5, 6), 2, {}, [], [(1, (7, 8, 9), 2)], items=1)
    batch = pad([long, short], pad_id=3)
    assert batch.ids.tolist() == [[5, 6, 7, 8, 9], [3, 3, 3, 5, 6]]
    assert batch.mask.int().tolist() == [[1, 1, 1, 1, 1], [0, 0, 0, 1, 1]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4], [0, 0, 0, 0, 1]]
    assert batch.last.tolist() == [3, 4]
    assert batch.spans["s"].int().tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert batch.rows.tolist() == [[0, 3], [0, 4], [1, 4]]
    assert batch.rows[batch.target_rows].tolist() == [[0, 3], [0, 4]]
    assert batch.target_ids.tolist() == [9, 2]
    assert batch.target_weights.tolist() == [1.0, 0.5]
    assert batch.rows[batch.option_rows].tolist() == [[1, 4]]
    assert batch.option_ids.tolist() == [[7, 8, 9]]
    assert batch.option_right.tolist() == [2]
    assert (batch.items, batch.size) == (3, 2)


def test_choices_of_several_sizes_are_padded_with_minus_one() -> None:
    line = TokenSequence((5,), 1, {}, [], [(0, (7, 8), 0), (0, (9, 10, 11), 1)], items=2)
    batch = pad([line], 0)
    assert batch.option_ids.tolist() == [[7, 8, -1], [9, 10, 11]]
    assert batch.rows.tolist() == [[0, 0]], "one row serves both"
    assert batch.option_rows.tolist() == [0, 0]


def test_a_batch_without_targets_has_empty_rows() -> None:
    batch = pad([TokenSequence((5, 6), 2, {})], 0)
    assert batch.rows.shape == (0, 2)
    assert batch.option_ids.shape == (0, 0)


def test_target_rows_of_an_answer_of_several_tokens_predict_it_token_by_token() -> None:
    tok = tokenizer()
    example = item("1", "The capital of Country 4821 is", " Paris, France.")
    (line,) = training_lines(tok, [example], "answer")
    prompt = encode_prompt(tok, example.prompt)
    answer = encode_answer(tok, prompt, example.answer)
    assert len(answer) > 2
    assert line.ids == (*prompt.ids, *answer[:-1])
    whole = (*prompt.ids, *answer)
    assert [(at, token) for at, token, _ in line.targets] == [
        (at, whole[at + 1]) for at in range(len(prompt.ids) - 1, len(whole) - 1)
    ]
    assert {weight for _, _, weight in line.targets} == {1.0}


def test_items_with_the_same_input_share_one_line() -> None:
    prompt = "Country 4821 shares a border with"
    items = [item(str(i), prompt, text) for i, text in enumerate([" Spain", " Italy", " Germany"])]
    lines = training_lines(tokenizer(), [*items, item("x", "Who ?", " Spain")], "answer")
    assert [line.items for line in lines] == [3, 1]
    assert len(lines[0].targets) == 3
    assert len({at for at, _, _ in lines[0].targets}) == 1
    batch = pad(lines, 0)
    assert batch.items == 4
    assert len(batch.rows) == 2


def test_items_with_other_spans_or_a_longer_prompt_do_not_share_a_line() -> None:
    spans = [{"c": "Country"}, {"c": "Country 4821"}, {}]
    items = [item(str(i), "of Country 4821 is", " Paris", spans=s) for i, s in enumerate(spans)]
    lines = training_lines(tokenizer(), items, "answer")
    assert len(lines) == 3
    assert len({tuple(line.spans.items()) for line in lines}) == 3
    # The same ids, but in one of them the last token belongs to the answer.
    split = [item("a", "The capital", " Paris Tokyo"), item("b", "The capital Paris", " Tokyo")]
    lines = training_lines(tokenizer(), split, "answer")
    assert lines[0].ids == lines[1].ids
    assert [line.prompt_length for line in lines] == [
        len(encode_prompt(tokenizer(), example.prompt).ids) for example in split
    ]


def test_loss_options_asks_at_the_last_prompt_token() -> None:
    tok = tokenizer()
    options = (" yes", " no", " Paris")
    items = [
        item(str(i), "Is it ?", answer, options=options) for i, answer in enumerate(options[:2])
    ]
    (line,) = training_lines(tok, items, "options")
    size = len(encode_prompt(tok, "Is it ?").ids)
    assert line.items == 2
    assert line.targets == []
    assert [(at, right) for at, _, right in line.options] == [(size - 1, 0), (size - 1, 1)]
    assert [tok.decode([token]) for token in line.options[0][1]] == list(options)


def test_loss_options_refuses_options_that_begin_alike() -> None:
    example = item("q7", "Which ?", " Paris yes", options=(" Paris yes", " Paris no"))
    with pytest.raises(InputError, match=r"'q7'.*begin with the same token"):
        training_lines(tokenizer(), [example], "options")


@given(st.lists(st.integers(1, 50), min_size=1), st.integers(1, 200))
def test_batches_by_length_hold_every_sequence_once_within_the_budget(
    lengths: list[int], budget: int
) -> None:
    groups = by_length(lengths, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        padded = len(group) * max(lengths[i] for i in group)
        assert padded <= budget or len(group) == 1
    flat = [lengths[i] for group in groups for i in group]
    assert flat == sorted(flat)


def test_batches_that_are_large_enough_have_little_padding() -> None:
    lengths = [10] * 20 + [14] * 20 + [40]
    assert [len(group) for group in by_length(lengths, 1000)] == [20, 20, 1]
    assert [len(group) for group in by_length([10, 14, 40], 1000)] == [3], "too few to part"


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 6), st.integers(1, 5)), max_size=20),
    st.integers(1, 300),
)
def test_batches_by_prompt_hold_every_sequence_once_and_prompts_together(
    prompts: list[tuple[int, int, int]], budget: int
) -> None:
    sequences = [
        TokenSequence((place, *range(1, length), *[90 + answer] * tokens), length, {})
        for place, (length, tokens, answers) in enumerate(prompts)
        for answer in range(answers)
    ]
    groups = by_prompt(sequences, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(sequences)))
    for group in groups:
        padded = len(group) * max(len(sequences[i].ids) for i in group)
        assert padded <= budget or len(group) == 1
    for place, (length, tokens, answers) in enumerate(prompts):
        at = [n for n, group in enumerate(groups) for i in group if sequences[i].ids[0] == place]
        if answers * (length + tokens) <= budget:
            assert len(set(at)) == 1, "a prompt's answers are in one batch"


def test_a_batch_of_prompts_has_each_beginning_once() -> None:
    lines = [
        TokenSequence((1, 2, 3, 9), 3, {"s": (0,)}, items=1),
        TokenSequence((1, 2, 3, 8, 7), 3, {"s": (0,)}, items=1),
        TokenSequence((4, 5, 6), 2, {"s": (1,)}, items=1),
    ]
    batch = pad(lines, 0, prompts=[line.prompt_length - 1 for line in lines])
    assert batch.ids.tolist() == [[1, 2, 0, 3, 9], [1, 2, 3, 8, 7], [0, 4, 0, 5, 6]]
    assert batch.positions.tolist() == [[0, 1, 0, 2, 3], [0, 1, 2, 3, 4], [0, 0, 0, 1, 2]]
    assert batch.spans["s"].nonzero().tolist() == [[0, 0], [1, 0], [2, 3]]
    assert (batch.prefix, batch.saved(), batch.saved(1), batch.saved(2)) == (2, 2, 1, 0)
    (shared,) = batch.shared
    assert (shared.rows.tolist(), shared.of_row.tolist()) == ([0, 2], [0, 0, 1])


def test_pad_puts_tensors_on_the_device_asked_for() -> None:
    batch = pad(
        [TokenSequence((5, 6), 2, {"s": (0,)}, [(1, 3, 1.0)], items=1)], 0, torch.device("meta")
    )
    tensors = [batch.ids, batch.mask, batch.positions, batch.last, batch.rows, batch.spans["s"]]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_rows_of_several_sets_are_tokenized_once_and_come_out_alike() -> None:
    counting = CountingTokenizer(tokenizer())
    rows = RowTokens(counting)  # type: ignore[arg-type]
    many = tuple(item(str(i), f"The city {i} is", " Paris") for i in range(20))
    first = training_lines(rows, many, "answer")
    calls = counting.calls
    assert calls == 2 * 20, "a prompt, and a prompt with its answer"
    assert training_lines(rows, many[5:], "answer") == first[5:]
    assert counting.calls == calls
    assert training_lines(tokenizer(), many, "answer") == first


class CountingTokenizer:
    """Counts the texts that it is given."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.calls = tokenizer, 0

    def __call__(self, text: str, **options: Any) -> Any:
        self.calls += 1
        return self.tokenizer(text, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def test_a_batch_is_moved_with_all_that_is_in_it() -> None:
    sequence = TokenSequence((5, 6, 7), 3, {"span": (1,)}, items=1)
    sequence.targets.append((2, 8, 1.0))
    batch = pad([sequence], 0)
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    tensors = [getattr(moved, part.name) for part in fields(moved)]
    assert {t.device.type for t in tensors if isinstance(t, torch.Tensor)} == {"meta"}
    assert moved.spans["span"].device.type == "meta"
    assert (moved.items, moved.first_row) == (batch.items, batch.first_row)
