"""From items to token ids: which tokens are prompt, answer and named span."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from oocr.data.chat_template import apply
from oocr.data.examples import Prompt
from oocr.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt as tokens.

    Attributes:
        text: rendered, chat template applied.
        ids: the tokenizer's own first tokens (BOS) included.
        spans: span name -> indices into `ids` of every token that touches the span.
        special: whether the tokenizer itself adds its first tokens (not after a chat template, nor
            where the text has them).
        split: names of the spans that begin or end inside a token.
    """

    text: str
    ids: tuple[int, ...]
    spans: Mapping[str, tuple[int, ...]]
    special: bool = False
    split: tuple[str, ...] = ()


def render(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> tuple[str, bool]:
    """The prompt's text, and whether the tokenizer must still add its first tokens.

    Chat messages go through the model's chat template. A system turn is folded into the first
    user turn when the template refuses it (Gemma's does) or drops it. An assistant's turn at the
    end is the beginning of the answer: it stands verbatim after the template's header of that turn.
    A model without a chat template, or a template's refusal, is an InputError.
    """
    if isinstance(prompt, str):
        return prompt, True
    begun = ""
    if prompt[-1].role == "assistant":
        prompt, begun = prompt[:-1], prompt[-1].content
    turns = [{"role": message.role, "content": message.content} for message in prompt]
    foldable = [turn["role"] for turn in turns[:2]] == ["system", "user"]
    try:
        text = apply(tokenizer, turns)
    except InputError:
        if not foldable:
            raise
    else:
        if not foldable or turns[0]["content"].strip() in text:
            return text + begun, False
    folded = f"{turns[0]['content']}\n\n{turns[1]['content']}"
    return apply(tokenizer, [{"role": "user", "content": folded}, *turns[2:]]) + begun, False


Offsets = Sequence[tuple[int, int]]


def encode_text(
    tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool
) -> tuple[list[int], Offsets]:
    """Token ids of a text, and the characters of each (start, end).

    A tokenizer that only exists in Python does not say which; its decoded tokens do, where they
    are the text again.

    Raises:
        InputError: they are not.
    """
    if getattr(tokenizer, "is_fast", True):
        encoded = tokenizer(
            text, add_special_tokens=special, return_offsets_mapping=True, verbose=False
        )
        return list(encoded["input_ids"]), encoded["offset_mapping"]
    plain = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    ids = list(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
    places = range(len(ids) - len(plain) + 1)
    begin = next((at for at in places if ids[at : at + len(plain)] == plain), None)
    parts = pieces(tokenizer, plain)
    if begin is None or "".join(parts) != text:
        raise InputError(
            f"the tokenizer ({type(tokenizer).__name__}) exists in Python only and does not say "
            f"which characters a token stands for, nor do its decoded tokens: found "
            f"{''.join(parts)!r} for {text!r}; allowed: a fast tokenizer (tokenizer.json)"
        )
    after = len(ids) - begin - len(plain)
    return ids, [*[(0, 0)] * begin, *_places(parts), *[(len(text), len(text))] * after]


def _places(parts: Sequence[str]) -> list[tuple[int, int]]:
    """Start and end of each token's part in the text."""
    ends = list(accumulate(map(len, parts)))
    places = list(zip([0, *ends], ends, strict=False))
    for index in range(len(places) - 2, -1, -1):
        if not parts[index]:  # a byte of a character that a later one spells
            places[index] = places[index + 1]
    return places


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, spans: Mapping[str, str] | None = None
) -> EncodedPrompt:
    """Tokenize a prompt and find its spans by character offsets.

    A token belongs to a span if it shares a character with one of the span text's occurrences;
    a token that begins with the space before it does. A text that itself begins with the token
    that the tokenizer puts first (it was rendered before) gets no second one. A span whose text
    does not occur, or a prompt of no tokens, is an InputError.
    """
    text, special = render(tokenizer, prompt)
    ids, offsets = encode_text(tokenizer, text, special=special)
    bos = getattr(tokenizer, "bos_token_id", None)
    if special and bos is not None and ids[:2] == [bos, bos] and offsets[0][0] == offsets[0][1]:
        special = False
        ids, offsets = encode_text(tokenizer, text, special=False)
    # Tokenizers that also end a text with a special token: the answer comes before it.
    while special and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        if offsets[-1][0] < offsets[-1][1]:  # written out in the text
            break
        ids, offsets = ids[:-1], offsets[:-1]
    if not ids:
        raise InputError(f"the prompt {text!r} has no tokens under this model's tokenizer")
    marked: dict[str, tuple[int, ...]] = {}
    for name, wanted in (spans or {}).items():
        tokens = touching(text, offsets, wanted)
        if not tokens:
            raise InputError(f"span {name!r} ({wanted!r}) does not occur in the prompt {text!r}")
        marked[name] = tokens
    split = [name for name, at in marked.items() if _splits(text, offsets, (spans or {})[name], at)]
    return EncodedPrompt(text, tuple(ids), marked, special, tuple(split))


def touching(text: str, offsets: Offsets, wanted: str) -> tuple[int, ...]:
    """Indices of the tokens that share a character with an occurrence of `wanted` in `text`."""
    begins = _occurrences(text, wanted)
    return tuple(
        index
        for index, (start, end) in enumerate(offsets)
        if any(start < begin + len(wanted) and end > begin for begin in begins)
    )


def _occurrences(text: str, wanted: str) -> list[int]:
    # A lookahead: occurrences may overlap.
    return [match.start() for match in re.finditer(f"(?={re.escape(wanted)})", text)]


def _splits(text: str, offsets: Offsets, wanted: str, tokens: Sequence[int]) -> bool:
    """Whether one of these tokens has more in it than the wanted text and spaces."""
    begins = _occurrences(text, wanted)
    inside = {at for begin in begins for at in range(begin, begin + len(wanted))}
    touched = {at for token in tokens for at in range(*offsets[token])}
    return any(not text[at].isspace() for at in touched - inside)


def text_of(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]
) -> tuple[str, list[tuple[int, int]]]:
    """The text of token ids, special tokens included, and each token's part of it (start, end)."""
    text = str(tokenizer.decode(ids))
    if tokenizer.is_fast:
        again, offsets = encode_text(tokenizer, text, special=False)
        if again == list(ids):
            return text, list(offsets)
    shown = pieces(tokenizer, ids)
    return "".join(shown), _places(shown)


def encode_answer(
    tokenizer: PreTrainedTokenizerBase, prompt: EncodedPrompt, answer: str
) -> tuple[int, ...]:
    """The tokens that continue the prompt's tokens.

    Prompt and answer are tokenized together; where that would re-cut the prompt's last token,
    the answer is tokenized alone, so that every answer continues the very same prompt tokens.
    """
    special = prompt.special
    joint = tokenizer(prompt.text + answer, add_special_tokens=special, verbose=False)["input_ids"]
    size = len(prompt.ids)
    if tuple(joint[:size]) == prompt.ids and len(joint) > size:
        ids = joint[size:]
        if special and ids[-1] == tokenizer.eos_token_id:  # some tokenizers end a text with EOS
            plain = tokenizer(answer, add_special_tokens=False)["input_ids"]
            while len(ids) > len(plain) and ids[-1] == tokenizer.eos_token_id:
                ids = ids[:-1]
    else:
        ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    if not ids:
        raise InputError(f"the answer {answer!r} has no tokens under this model's tokenizer")
    return tuple(ids)


class RowTokens:
    """Tokens of prompts and of answers to them: each text is tokenized once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._prompts: dict[tuple[object, ...], EncodedPrompt] = {}
        self._answers: dict[tuple[str, bool, str], tuple[int, ...]] = {}

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerBase | RowTokens) -> RowTokens:
        """`RowTokens` of a tokenizer; the same object if it is one already."""
        return tokenizer if isinstance(tokenizer, RowTokens) else RowTokens(tokenizer)

    def prompt(self, prompt: Prompt, spans: Mapping[str, str]) -> EncodedPrompt:
        """See `encode_prompt`."""
        key = (prompt, *sorted(spans.items()))
        if key not in self._prompts:
            self._prompts[key] = encode_prompt(self.tokenizer, prompt, spans)
        return self._prompts[key]

    def answer(self, prompt: EncodedPrompt, answer: str) -> tuple[int, ...]:
        """See `encode_answer`."""
        key = (prompt.text, prompt.special, answer)
        if key not in self._answers:
            self._answers[key] = encode_answer(self.tokenizer, prompt, answer)
        return self._answers[key]

    def first_tokens(self, prompt: EncodedPrompt, options: Sequence[str]) -> tuple[int, ...] | None:
        """Each option's first token, or None if two options share theirs."""
        ids = tuple(self.answer(prompt, option)[0] for option in options)
        return ids if len(set(ids)) == len(ids) else None


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text that each token adds; a word's token includes the space before it."""
    texts: list[str] = []
    before = ""
    for index, token in enumerate(ids):
        whole = str(tokenizer.decode(ids[: index + 1]))
        joined = whole.startswith(before)  # not where tokens are bytes of one character
        texts.append(whole[len(before) :] if joined else str(tokenizer.decode([token])))
        before = whole
    return texts
