"""An example's tokens with their roles: steered by a vector, counted in the loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from oocr.data.batches import TokenSequence, pad, training_lines
from oocr.data.examples import Example, FreeTextExample, Loss
from oocr.data.tokens import (
    EncodedPrompt,
    Offsets,
    encode_answer,
    encode_prompt,
    encode_text,
)
from oocr.steering.positions import select

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Token:
    """One token."""

    text: str  # what it adds to the text; "": the token before spells its character; or its name
    answer: bool = False  # it belongs to the answer
    steered: str = ""  # the selector or span whose direction is added at it
    loss: bool = False  # training asks for it
    special: bool = False  # it is not in the text (a first token that the tokenizer adds)


def directions_of(positions: str) -> tuple[str, ...]:
    """The directions that a position names: one, or one for each span joined by "+"."""
    return tuple(positions.split("+")) if positions else ()


def training_tokens(
    tokenizer: PreTrainedTokenizerBase, example: Example, *, loss: Loss, positions: str = ""
) -> list[Token]:
    """The tokens of a training row, marked as the training loop sees them.

    The last token of an answer is never read, so nothing is added at it. With loss "options" only
    the answer's first token is scored. `positions` says where a vector is added ("": nowhere).

    Raises:
        InputError: a row that this tokenizer and loss cannot train on; no selector.
    """
    (sequence,) = training_lines(tokenizer, [example], loss)
    asked = {at + 1 for at, _, _ in (*sequence.targets, *sequence.options)}
    prompt = encode_prompt(tokenizer, example.prompt, example.spans)
    return _marked(tokenizer, prompt, example.answer, sequence, asked, positions)


def asked_tokens(
    tokenizer: PreTrainedTokenizerBase, example: Example | FreeTextExample, *, positions: str = ""
) -> list[Token]:
    """The tokens of a question's prompt; none of them bears loss."""
    prompt = encode_prompt(tokenizer, example.prompt, example.spans)
    return _marked(tokenizer, prompt, "", TokenSequence.of(prompt), set(), positions)


def whole_characters(tokens: Iterable[Token]) -> list[Token]:
    """Tokens that share one character as one token, with the marks of each of them."""
    merged: list[Token] = []
    for token in tokens:
        last = merged[-1] if merged else None
        shared = last is not None and "" in (token.text, last.text) and not last.special
        if last is not None and shared and last.answer == token.answer and not token.special:
            steered, loss = last.steered or token.steered, last.loss or token.loss
            merged[-1] = replace(last, text=last.text + token.text, steered=steered, loss=loss)
        else:
            merged.append(token)
    return merged


def _marked(
    tokenizer: PreTrainedTokenizerBase,
    prompt: EncodedPrompt,
    answer: str,
    sequence: TokenSequence,
    asked: set[int],
    positions: str,
) -> list[Token]:
    continued = encode_answer(tokenizer, prompt, answer) if answer else ()
    pieces = _pieces(tokenizer, prompt, answer, continued)
    steered = _steered(sequence, positions)
    steered += [""] * (len(pieces) - len(steered))
    size = len(prompt.ids)
    return [
        Token(text, place >= size, steered[place], place in asked, special)
        for place, (text, special) in enumerate(pieces)
    ]


def _steered(sequence: TokenSequence, positions: str) -> list[str]:
    """Per token of a sequence, the names of the directions that are added there."""
    batch = pad([sequence], 0)
    names: list[list[str]] = [[] for _ in sequence.ids]
    for direction in directions_of(positions):
        for place, chosen in enumerate(select(batch, direction, everywhere=False)[0].tolist()):
            if chosen:
                names[place].append(direction)
    return ["+".join(directions) for directions in names]


def _pieces(
    tokenizer: PreTrainedTokenizerBase,
    prompt: EncodedPrompt,
    answer: str,
    continued: tuple[int, ...],
) -> list[tuple[str, bool]]:
    """Each token's share of the text, and whether it is a special token outside of it."""
    ids = (*prompt.ids, *continued)
    joint, offsets = encode_text(tokenizer, prompt.text + answer, special=prompt.special)
    if tuple(joint[: len(ids)]) == ids:
        return _cut(tokenizer, prompt.text + answer, ids, offsets)
    # The answer was tokenized alone, because it would have changed the prompt's last token.
    _, before = encode_text(tokenizer, prompt.text, special=prompt.special)
    _, after = encode_text(tokenizer, answer, special=False)
    return [
        *_cut(tokenizer, prompt.text, prompt.ids, before),
        *_cut(tokenizer, answer, continued, after),
    ]


def _cut(
    tokenizer: PreTrainedTokenizerBase, text: str, ids: Sequence[int], offsets: Offsets
) -> list[tuple[str, bool]]:
    """The text cut at the tokens' ends, so that the pieces together are the text again."""
    parts: list[tuple[str, bool]] = []
    done = 0
    for token, (start, end) in zip(ids, offsets, strict=False):
        if start == end and token in tokenizer.all_special_ids:
            parts.append((str(tokenizer.convert_ids_to_tokens(token)), True))
            continue
        parts.append((text[done:end], False))  # spaces that offsets leave out are this token's
        done = max(done, end)
    if parts and not parts[-1][1]:
        parts[-1] = (parts[-1][0] + text[done:], False)
    return parts
