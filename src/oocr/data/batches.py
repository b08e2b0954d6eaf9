"""Padded batches of sequences, with the rows at which logits are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from oocr.data.examples import Example, Loss
from oocr.data.layout import SharedColumns, lay_out
from oocr.data.tokens import EncodedPrompt, RowTokens
from oocr.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


ENOUGH_TOKENS = 64
"""Tokens of a batch that is large enough for fast matrix products on one core."""

PADDING = 0.1
"""Share of padding at which a large enough batch is closed."""


MORE_PASSES = 48
"""Tokens that take about as long as two more passes over the weights: prompts, and answers."""


@dataclass(slots=True)
class TokenSequence:
    """A prompt and the answer tokens that are fed back in: all but the last.

    Attributes:
        spans: span name -> indices into `ids`.
        targets: (index into `ids` whose next token is asked, token id, weight), for the loss.
        options: (index into `ids`, option token ids, position of the right option).
        items: how many examples the sequence stands for.
    """

    ids: tuple[int, ...]
    prompt_length: int
    spans: dict[str, tuple[int, ...]]
    targets: list[tuple[int, int, float]] = field(default_factory=list)
    options: list[tuple[int, tuple[int, ...], int]] = field(default_factory=list)
    items: int = 0

    @classmethod
    def of(cls, prompt: EncodedPrompt, rows: Iterable[int] = ()) -> TokenSequence:
        """A prompt for itself; `rows`: indices where the state is wanted, with no token asked."""
        targets = [(at, 0, 1.0) for at in rows]
        return cls(prompt.ids, len(prompt.ids), dict(prompt.spans), targets, items=1)


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded sequences: padding is on the left, and before what sequences do not share.

    Attributes:
        mask: True at real tokens.
        positions: of each real token in its own sequence (0 at padding).
        last: column of each sequence's last prompt token.
        rows: (sequence, column) pairs at which logits are wanted, without repeats.
        target_rows, target_ids, target_weights: the loss over the whole vocabulary.
        option_rows, option_ids, option_right: the loss among options; -1 pads `option_ids`.
        option_tokens, option_places: all option ids once, and where each option is among them.
        items: how many examples the batch stands for.
        shared: the columns that sequences share, the first ones; those after are each one's own.
        first_row: the first column of `rows` (the last column of all, if there are none).
    """

    ids: Int[Tensor, "batch token"]
    mask: Bool[Tensor, "batch token"]
    positions: Int[Tensor, "batch token"]
    last: Int[Tensor, " batch"]
    spans: dict[str, Bool[Tensor, "batch token"]]
    rows: Int[Tensor, "row 2"]
    target_rows: Int[Tensor, " target"]
    target_ids: Int[Tensor, " target"]
    target_weights: Tensor
    option_rows: Int[Tensor, " choice"]
    option_ids: Int[Tensor, "choice option"]
    option_right: Int[Tensor, " choice"]
    option_tokens: Int[Tensor, " token"]
    option_places: Int[Tensor, "choice option"]
    items: int
    shared: tuple[SharedColumns, ...] = ()
    first_row: int = 0

    @property
    def size(self) -> int:
        """Number of sequences."""
        return int(self.ids.shape[0])

    @property
    def prefix(self) -> int:
        """The number of columns that sequences share."""
        return self.shared[-1].end if self.shared else 0

    @property
    def parts(self) -> tuple[SharedColumns, ...]:
        """All columns: those that are shared, then each sequence's own."""
        each = torch.arange(self.size, device=self.ids.device)
        unshared = SharedColumns(self.prefix, int(self.ids.shape[1]), each, each)
        return (*self.shared, unshared)

    def saved(self, first: int = 0) -> int:
        """Tokens from a column on that need not be run, where each group's are run once."""
        columns = ((part, part.end - max(first, part.begin)) for part in self.shared)
        return sum((self.size - len(part.rows)) * max(0, count) for part, count in columns)

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; the same object if it is there already."""
        if self.ids.device == device:
            return self
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        moved = {name: part.to(device) for name, part in values.items() if isinstance(part, Tensor)}
        spans = {name: span.to(device) for name, span in self.spans.items()}
        shared = tuple(part.to(device) for part in self.shared)
        return Batch(**{**values, **moved, "spans": spans, "shared": shared})


def pad(
    sequences: Sequence[TokenSequence],
    pad_id: int,
    device: torch.device | str = "cpu",
    *,
    prefix: int = 0,
    prompts: Sequence[int] | None = None,
) -> Batch:
    """Pad sequences into one batch, on the left, so that last tokens line up.

    `prefix`, `prompts`: how many tokens all sequences share, and then how many each one shares with
    those that begin alike (see `oocr.data.layout`).
    """
    starts = [[prefix] * len(sequences)] if prefix else []
    starts += [list(prompts)] if prompts is not None else []
    layout = lay_out([sequence.ids for sequence in sequences], *starts)
    width = layout.width
    ids = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    mask = torch.zeros(len(sequences), width, dtype=torch.bool)
    positions = torch.zeros(len(sequences), width, dtype=torch.long)
    names = sorted({name for sequence in sequences for name in sequence.spans})
    spans = {name: torch.zeros(len(sequences), width, dtype=torch.bool) for name in names}
    last: list[int] = []
    rows: dict[tuple[int, int], int] = {}
    targets: list[tuple[int, int, float]] = []
    choices: list[tuple[int, tuple[int, ...], int]] = []
    for index, (sequence, columns) in enumerate(zip(sequences, layout.columns, strict=True)):
        ids[index, columns] = torch.tensor(sequence.ids)
        mask[index, columns] = True
        positions[index, columns] = torch.arange(len(sequence.ids))
        last.append(columns[sequence.prompt_length - 1])
        for name, tokens in sequence.spans.items():
            spans[name][index, [columns[token] for token in tokens]] = True
        for at, token, weight in sequence.targets:
            row = rows.setdefault((index, columns[at]), len(rows))
            targets.append((row, token, weight))
        for at, options, right in sequence.options:
            row = rows.setdefault((index, columns[at]), len(rows))
            choices.append((row, options, right))
    most = max((len(options) for _, options, _ in choices), default=0)
    padded = [[*options, *[-1] * (most - len(options))] for _, options, _ in choices]
    option_ids = torch.tensor(padded, dtype=torch.long).reshape(len(choices), most)
    tokens, places = torch.unique(option_ids.clamp_min(0), return_inverse=True)

    def tensor(values: Iterable[object], dtype: torch.dtype = torch.long) -> Tensor:
        return torch.tensor(list(values), dtype=dtype, device=device)

    return Batch(
        ids=ids.to(device),
        mask=mask.to(device),
        positions=positions.to(device),
        last=tensor(last),
        spans={name: span.to(device) for name, span in spans.items()},
        rows=tensor(rows).reshape(-1, 2),
        target_rows=tensor(row for row, _, _ in targets),
        target_ids=tensor(token for _, token, _ in targets),
        target_weights=tensor((weight for _, _, weight in targets), torch.float32),
        option_rows=tensor(row for row, _, _ in choices),
        option_ids=option_ids.to(device),
        option_right=tensor(right for _, _, right in choices),
        option_tokens=tokens.to(device),
        option_places=places.to(device),
        items=sum(sequence.items for sequence in sequences),
        shared=tuple(part.to(torch.device(device)) for part in layout.shared),
        first_row=min((column for _, column in rows), default=width - 1),
    )


def training_lines(
    tokenizer: PreTrainedTokenizerBase | RowTokens, examples: Sequence[Example], loss: Loss
) -> list[TokenSequence]:
    """One sequence per distinct input; examples with equal input and spans share it.

    Loss "answer": minus the log-probability of the whole answer, one unit of weight per example.
    Loss "options": minus the log-probability of the right option's first token among the first
    tokens of all options.

    Raises:
        InputError: loss "options" where two options begin with the same token.
    """
    rows = RowTokens.of(tokenizer)
    sequences: dict[object, TokenSequence] = {}
    for example in examples:
        prompt = rows.prompt(example.prompt, example.spans)
        size = len(prompt.ids)
        spans = tuple(sorted(prompt.spans.items()))
        answer = () if loss == "options" else rows.answer(prompt, example.answer)
        ids = (*prompt.ids, *answer[:-1])
        sequence = sequences.setdefault((size, ids, spans), TokenSequence(ids, size, dict(spans)))
        sequence.items += 1
        sequence.targets.extend((size - 1 + i, token, 1.0) for i, token in enumerate(answer))
        if loss == "options":
            firsts = rows.first_tokens(prompt, example.options)
            if firsts is None:
                raise InputError(
                    f"item {example.id!r}: loss 'options' compares first tokens, but two of "
                    f"{example.options} begin with the same token; reword them or use loss 'answer'"
                )
            sequence.options.append((size - 1, firsts, example.options.index(example.answer)))
    return list(sequences.values())


def by_length(lengths: Sequence[int], tokens_per_batch: int) -> list[list[int]]:
    """Indices grouped into batches of similar length: small enough, and with little padding."""
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    groups: list[list[int]] = []
    real = 0
    for index in order:
        padded = lengths[index] * (len(groups[-1]) + 1) if groups else 0
        wasteful = real >= ENOUGH_TOKENS and padded - (real + lengths[index]) > PADDING * padded
        if not groups or padded > tokens_per_batch or wasteful:
            groups.append([])
            real = 0
        groups[-1].append(index)
        real += lengths[index]
    return groups


def by_prompt(sequences: Sequence[TokenSequence], tokens_per_batch: int) -> list[list[int]]:
    """Indices grouped into batches as by `by_length`, with the answers of a prompt together.

    They are parted only where they exceed a batch. Of padding only what is run counts, each prompt
    once for all its answers.
    """
    prompts: dict[tuple[int, ...], list[int]] = {}
    for index, sequence in enumerate(sequences):
        prompts.setdefault(sequence.ids[: sequence.prompt_length], []).append(index)

    def size(indices: Sequence[int]) -> tuple[int, int]:
        """The longest prompt and the longest answer, in tokens."""
        rests = (len(sequences[i].ids) - sequences[i].prompt_length for i in indices)
        return max(sequences[i].prompt_length for i in indices), max(rests)

    units: list[list[int]] = []
    for indices in prompts.values():
        most = max(1, tokens_per_batch // sum(size(indices)))
        units += [indices[at : at + most] for at in range(0, len(indices), most)]
    groups: list[list[int]] = []
    count = real = 0  # prompts of the last group, and their tokens without padding
    for indices in sorted(units, key=lambda indices: (*size(indices), indices)):
        joined = [*groups[-1], *indices] if groups else indices
        prompt, rest = size(joined)
        length = size(indices)[0]
        tokens = length + sum(len(sequences[i].ids) - length for i in indices)
        padded = (count + 1) * prompt + len(joined) * rest
        wasted = padded - (real + tokens)
        wasteful = real >= ENOUGH_TOKENS and wasted > max(MORE_PASSES, PADDING * padded)
        if not groups or len(joined) * (prompt + rest) > tokens_per_batch or wasteful:
            groups.append([])
            count = real = 0
        groups[-1] += indices
        count, real = count + 1, real + tokens
    return groups


def batches_by_length(
    sequences: Sequence[TokenSequence],
    tokens_per_batch: int,
    pad_id: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[list[int], Batch]]:
    """Sequences of similar length padded into batches (see `by_length`), each with its indices."""
    for indices in by_length([len(sequence.ids) for sequence in sequences], tokens_per_batch):
        yield indices, pad([sequences[index] for index in indices], pad_id, device)
