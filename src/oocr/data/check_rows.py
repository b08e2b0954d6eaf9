"""All rows checked against a model before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from oocr.data.chat_template import template_notes, without_thoughts
from oocr.data.examples import Example, FreeTextExample, Loss, Prompt
from oocr.data.source_file import listing
from oocr.data.tokens import EncodedPrompt, RowTokens, encode_text
from oocr.errors import InputError
from oocr.words import counted, short_list

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


SAMPLE = "A text, of 12 words or so."
"""A text that every tokenizer can encode."""


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """Limits of a model's input.

    Attributes:
        embedded: number of tokens that it embeds.
        longest: most tokens of a sequence; None: no limit.
        trained: tokens of a sequence that it was made for; longer ones can be computed.
    """

    name: str
    embedded: int
    longest: int | None = None
    trained: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it will be used.

    Attributes:
        where: its file and line, or its id.
        answers: texts of which each must have tokens.
        compared: answers compete by their first tokens ("first"), by these or else by their whole
            texts ("text"), by their last tokens ("last"), or not at all ("").
        new: tokens that will be generated.
        most: of its tokens so many are read; None: all.
    """

    where: str
    prompt: Prompt
    spans: Mapping[str, str] = field(default_factory=dict[str, str])
    answers: tuple[str, ...] = ()
    compared: Literal["", "first", "text", "last"] = ""
    new: int = 0
    most: int | None = None

    @classmethod
    def trained(cls, example: Example, loss: Loss) -> Row:
        """A training row."""
        where, prompt, spans = _where(example), example.prompt, example.spans
        if loss == "options":
            return cls(where, prompt, spans, example.options, "first")
        return cls(where, prompt, spans, (example.answer,))

    @classmethod
    def asked(cls, example: Example | FreeTextExample) -> Row:
        """A question: a choice, or one that is answered in the model's own words."""
        where, prompt, spans = _where(example), example.prompt, example.spans
        if isinstance(example, FreeTextExample):
            return cls(where, prompt, spans, new=example.max_tokens)
        compared: Literal["text", "last"] = "last" if example.scored_by == "last_token" else "text"
        answers = tuple(dict.fromkeys((*example.options, example.answer)))
        return cls(where, prompt, spans, answers, compared if len(example.options) > 1 else "")


@dataclass(frozen=True, slots=True)
class RowNotes:
    """Remarks on rows that can be used: corrections, and other notes."""

    mended: tuple[str, ...] = ()
    known: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Corrections and notes."""
        return self.mended + self.known


def check_rows(
    tokenizer: PreTrainedTokenizerBase | RowTokens, rows: Iterable[Row], limits: ModelLimits | None
) -> RowNotes:
    """Check rows against a model; without limits only against its tokenizer.

    For chats the notes also say what the chat template adds and changes.

    Raises: InputError: rows that the model cannot read; names all of them with their places.
    """
    check, chats = _RowChecker(RowTokens.of(tokenizer), limits), False
    for row in rows:
        check.add(row)
        chats = chats or not isinstance(row.prompt, str)
    if check.refused:
        of_model = f"{limits.name} cannot read these rows" if limits else "rows that cannot be read"
        raise InputError(listing(of_model, sorted(check.refused, key=_in_order)))
    of_template = template_notes(check.tokenizer) if chats else []
    return RowNotes(_counted(check.mended), (*of_template, *_counted(check.known)))


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, name: str, embedded: int | None) -> None:
    """Refuse a tokenizer that cannot be used with the model of this name, whatever the rows.

    Raises:
        InputError: it has more tokens than the model embeds, or does not say which characters a
            token stands for.
    """
    # Added tokens may lie beyond (Gemma-3's image token does in its text models).
    if embedded is not None and tokenizer.vocab_size > embedded:
        raise InputError(
            f"{name}: the tokenizer has {tokenizer.vocab_size} tokens, the model embeds {embedded}"
        )
    try:
        encode_text(tokenizer, SAMPLE, special=True)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def tokenizer_notes(tokenizer: PreTrainedTokenizerBase, limits: ModelLimits) -> list[str]:
    """Remarks on a tokenizer that can be used, in sentences."""
    notes: list[str] = []
    if not tokenizer.is_fast:
        notes.append(
            f"{type(tokenizer).__name__} exists in Python only; which characters a token stands "
            "for is found from its decoded tokens"
        )
    added = sorted(tokenizer.get_added_vocab().items(), key=lambda pair: pair[1])
    if beyond := [word for word, token in added if token >= limits.embedded]:
        notes.append(
            f"the model embeds {counted(limits.embedded, 'token')}, and not "
            f"{counted(len(beyond), 'added token')} ({short_list(beyond, 5)}): texts with them are "
            "refused"
        )
    return notes


def _where(example: Example | FreeTextExample) -> str:
    """File and line, or the id of a generated item."""
    in_file = re.search(r":\d+$", example.source)
    return example.source if in_file else f"item {example.id!r}"


def _in_order(words: str) -> tuple[str, int]:
    """By file and line."""
    file, _, rest = words.partition(":")
    line = re.match(r"\d+", rest)
    return file, int(line.group()) if line else 0


def _counted(notes: Mapping[str, Mapping[str, None]]) -> tuple[str, ...]:
    def rows(places: Mapping[str, None]) -> str:
        first = next(iter(places))
        return f"{len(places)} rows, the first {first}" if len(places) > 1 else first

    return tuple(f"{note} ({rows(places)})" for note, places in notes.items())


class _RowChecker:
    """Collects messages of refused rows, and notes with their rows."""

    def __init__(self, rows: RowTokens, limits: ModelLimits | None) -> None:
        self.rows, self.limits, self.tokenizer = rows, limits, rows.tokenizer
        self.refused: dict[str, None] = {}
        self.mended: dict[str, dict[str, None]] = {}
        self.known: dict[str, dict[str, None]] = {}
        added = self.tokenizer.added_tokens_decoder.values()
        names = [token.content for token in added if token.special]
        self.special = re.compile("|".join(map(re.escape, names)) or "(?!)")

    def add(self, row: Row) -> None:
        """Check one more row."""
        try:
            prompt = self.rows.prompt(row.prompt, row.spans)
            answers = [self.rows.answer(prompt, answer) for answer in row.answers]
        except InputError as error:
            self._refuse(row, str(error))
            return
        self._look_at_tokens(row, prompt, answers)
        self._look_at_options(row, answers)
        self._look_at_text(row, prompt)

    def _refuse(self, row: Row, words: str) -> None:
        self.refused[f"{row.where}: {words}"] = None

    def _note(self, row: Row, words: str) -> None:
        self.known.setdefault(words, {})[row.where] = None

    def _look_at_tokens(
        self, row: Row, prompt: EncodedPrompt, answers: Sequence[tuple[int, ...]]
    ) -> None:
        limits, size = self.limits, len(prompt.ids)
        if row.most is not None and size > row.most:
            self._note(row, f"only the first {row.most} tokens of a text are read")
            size = row.most
        tokens = {token for ids in (prompt.ids[:size], *answers) for token in ids}
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        if unknown in tokens:
            word = self.tokenizer.unk_token
            self._note(row, f"characters that the tokenizer does not know are read as {word}")
        if limits is None:
            return
        beyond = sorted(token for token in tokens if token >= limits.embedded)
        if beyond:
            name = self.tokenizer.convert_ids_to_tokens(beyond[0])
            self._refuse(
                row,
                f"token: found {name!r} ({beyond[0]}); allowed: 0 to {limits.embedded - 1}, which "
                f"{limits.name} embeds (tokens were added, and the model was not resized)",
            )
        whole = row.compared == "text" and len({ids[0] for ids in answers}) < len(answers)
        after = [len(ids) for ids in answers] if whole or not row.compared else []
        fed = size + max([1, row.new, *after]) - 1  # the last token is not read
        if limits.longest is not None and fed > limits.longest:
            self._refuse(
                row, f"tokens: found {fed}; allowed: up to {limits.longest}, the model's positions"
            )
        elif limits.trained is not None and fed > limits.trained:
            self._note(row, f"more than the {limits.trained} tokens that the model was made for")

    def _look_at_options(self, row: Row, answers: Sequence[tuple[int, ...]]) -> None:
        place = -1 if row.compared == "last" else 0
        tokens = [ids[place] for ids in answers]
        if not row.compared or len(set(tokens)) == len(tokens):
            return
        if row.compared == "first":
            self._refuse(
                row,
                f"options: found {row.answers}, of which two begin with the same token; "
                "allowed: options that differ in it (loss 'options' compares first tokens), or "
                "loss 'answer'",
            )
        elif row.compared == "text":
            self._note(
                row,
                "options that begin with the same token are compared by their whole texts "
                "(and loss 'options' refuses them)",
            )
        else:
            self._note(row, "options that end in the same token tie: last tokens are compared")

    def _look_at_text(self, row: Row, prompt: EncodedPrompt) -> None:
        for name in prompt.split:
            self._note(row, f"the span {name!r} begins or ends inside a token, which counts as its")
        if isinstance(row.prompt, str):
            bos = self.tokenizer.bos_token
            texts = [row.prompt if prompt.special else row.prompt.removeprefix(bos or "")]
            if not prompt.special:
                note = f"the text begins with {bos}: the tokenizer's own is left out"
                self.mended.setdefault(note, {})[row.where] = None
        else:
            texts = [message.content for message in row.prompt]
            for number, text in enumerate(texts, start=1):
                self._look_at_message(row, number, text, prompt.text)
        written = {token for text in (*texts, *row.answers) for token in self.special.findall(text)}
        if written:
            names = ", ".join(sorted(written))
            self._note(row, f"special tokens stand in the text and are read as such: {names}")

    def _look_at_message(self, row: Row, number: int, content: str, rendered: str) -> None:
        if content in rendered:
            return
        if content.strip() in rendered:
            self._note(row, "spaces and line ends around messages are cut by the chat template")
        elif without_thoughts(content) in rendered:
            self._note(row, "thoughts in earlier turns are left out by the chat template")
        else:
            self._refuse(
                row,
                f"message {number}: found {content[:60]!r}; allowed: a text that the model's chat "
                "template keeps (it leaves this one out or rewrites it)",
            )
