"""An item's tokens with what each is for: does a vector act at it, does it bear loss?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from oocr.data.batches import TokenSequence, pad, training_lines
from oocr.data.examples import Example, FreeTextExample, Loss
from oocr.data.tokens import EncodedPrompt, encode_answer, encode_prompt
from oocr.steering.positions import select

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Offsets = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        text: what it adds to the text; "" where the token before already spells its character
            (bytes of one character). Of a special token that is not in the text: its name.
        answer: it belongs to the answer.
        steered: the selector or span whose direction is added at it; "" where none is.
        loss: training asks for it: it bears loss.
        special: it is not in the text (a first token that the tokenizer adds).
    """

    text: str
    answer: bool = False
    steered: str = ""
    loss: bool = False
    special: bool = False


def directions_of(positions: str) -> tuple[str, ...]:
    """The directions that a position names: one, or one for each span joined by "+"."""
    return tuple(positions.split("+")) if positions else ()


def training_tokens(
    tokenizer: PreTrainedTokenizerBase, item: Example, *, loss: Loss, positions: str = ""
) -> list[Token]:
    """The tokens of a training row, marked as the training loop sees them.

    The last token of an answer is asked for but never read, so nothing is added at it. With loss
    "options" only the answer's first token is asked for.

    Args:
        tokenizer: the model's.
        item: the row.
        loss: of its task.
        positions: where a vector is added ("": nowhere).

    Raises:
        InputError: the row cannot be trained on with this tokenizer and loss, or `positions` is
            not a selector.
    """
    (line,) = training_lines(tokenizer, [item], loss)
    asked = {at + 1 for at, _, _ in (*line.targets, *line.options)}
    prompt = encode_prompt(tokenizer, item.prompt, item.spans)
    return _marked(tokenizer, prompt, item.answer, line, asked, positions)


def asked_tokens(
    tokenizer: PreTrainedTokenizerBase, item: Example | FreeTextExample, *, positions: str = ""
) -> list[Token]:
    """The tokens of a question's prompt; none of them bears loss.

    Raises:
        InputError: the prompt cannot be encoded, or `positions` is not a selector.
    """
    prompt = encode_prompt(tokenizer, item.prompt, item.spans)
    line = TokenSequence(prompt.ids, len(prompt.ids), dict(prompt.spans))
    return _marked(tokenizer, prompt, "", line, set(), positions)


def whole_characters(tokens: Iterable[Token]) -> list[Token]:
    """Tokens that share one character as one token, with the marks of each of them."""
    found: list[Token] = []
    for token in tokens:
        last = found[-1] if found else None
        shared = last is not None and "" in (token.text, last.text) and not last.special
        if last is not None and shared and last.answer == token.answer and not token.special:
            found[-1] = replace(
                last,
                text=last.text + token.text,
                steered=last.steered or token.steered,
                loss=last.loss or token.loss,
            )
        else:
            found.append(token)
    return found


def _marked(
    tokenizer: PreTrainedTokenizerBase,
    prompt: EncodedPrompt,
    answer: str,
    line: TokenSequence,
    asked: set[int],
    positions: str,
) -> list[Token]:
    continued = encode_answer(tokenizer, prompt, answer) if answer else ()
    pieces = _pieces(tokenizer, prompt, answer, continued)
    steered = _steered(line, positions)
    return [
        Token(
            text=text,
            answer=place >= len(prompt.ids),
            steered=steered[place] if place < len(steered) else "",
            loss=place in asked,
            special=special,
        )
        for place, (text, special) in enumerate(pieces)
    ]


def _steered(line: TokenSequence, positions: str) -> list[str]:
    """Per token of a line, the names of the directions that are added there."""
    batch = pad([line], 0)
    names: list[list[str]] = [[] for _ in line.ids]
    for direction in directions_of(positions):
        for place, chosen in enumerate(select(batch, direction, everywhere=False)[0].tolist()):
            if chosen:
                names[place].append(direction)
    return ["+".join(some) for some in names]


def _pieces(
    tokenizer: PreTrainedTokenizerBase,
    prompt: EncodedPrompt,
    answer: str,
    continued: tuple[int, ...],
) -> list[tuple[str, bool]]:
    """Each token's share of the text, and whether it is a special token outside of it."""
    own = tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
    special = len(prompt.ids) > len(own)

    def encode(text: str, *, special: bool) -> tuple[tuple[int, ...], Offsets]:
        found = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        return tuple(found["input_ids"]), found["offset_mapping"]

    ids = (*prompt.ids, *continued)
    joint, offsets = encode(prompt.text + answer, special=special)
    if joint[: len(ids)] == ids:
        return _cut(tokenizer, prompt.text + answer, ids, offsets)
    # The answer was tokenized alone, because it would have changed the prompt's last token.
    _, before = encode(prompt.text, special=special)
    _, after = encode(answer, special=False)
    return [
        *_cut(tokenizer, prompt.text, prompt.ids, before),
        *_cut(tokenizer, answer, continued, after),
    ]


def _cut(
    tokenizer: PreTrainedTokenizerBase, text: str, ids: Sequence[int], offsets: Offsets
) -> list[tuple[str, bool]]:
    """The text cut at the tokens' ends, so that the pieces together are the text again."""
    found: list[tuple[str, bool]] = []
    done = 0
    for token, (start, end) in zip(ids, offsets, strict=False):
        if start == end and token in tokenizer.all_special_ids:
            found.append((str(tokenizer.convert_ids_to_tokens(token)), True))
            continue
        found.append((text[done:end], False))  # spaces that offsets leave out are this token's
        done = max(done, end)
    if found and not found[-1][1]:
        found[-1] = (found[-1][0] + text[done:], False)
    return found
