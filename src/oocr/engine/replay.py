"""Replaying blocks from a recording, for several arms at once, without repeated work.

All of this uses only the blocks' arguments, so that no family needs code of its own:

- Arms that begin at a later token share the recorded keys and values before it, and ride on the
  token axis: queries attend to the one prefix and to their own arm's tokens.
- A block whose output is wanted at some last tokens only makes keys and values of all tokens first
  (its cache argument takes them and ends the call), then runs for those last tokens.
- Texts that begin alike, and alike in every arm, run each beginning once per arm.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch
from oocr.engine.recording import ONE_PASS, Recording, cache_name
from oocr.models.language_model import LanguageModel
from oocr.models.matmul import frozen_products
from oocr.steering.call_positions import prompt_known
from oocr.steering.hooks import PassEnded, changed_input, hidden_of, hooked, runs_apart

Layout = Literal["rows", "tokens"]
"""How arms are stacked: as more rows of the batch, or as more tokens of each row."""

WIDE = 4
"""Arms ride on the token axis while their tokens are at most so many times a sequence's: attention
to one another is computed and masked away, which is cheap only for few.
"""

VIEWS = 8
"""Views of a recording's call arguments that are kept."""

Pair = tuple[Tensor, Tensor]


def replay(
    model: LanguageModel,
    recording: Recording,
    hidden: Float[Tensor, "stack_batch tail d_model"],
    start: int,
    first: int = 0,
    stop: int | None = None,
    *,
    keep: int | None = None,
    alike: bool = False,
) -> Float[Tensor, "stack_batch kept d_model"]:
    """Run blocks `start` to `stop` - 1 for the tokens from `first` on; return the last output.

    `hidden` is the input of block `start`, [arm * batch, …] for several arms; tokens before `first`
    come from the recording; output is wanted from column `keep` on (None: `first`). `alike`: an
    arm's sequences that share a beginning have the same `hidden` there.
    """
    end = model.n_blocks if stop is None else stop
    keep = first if keep is None else keep
    if not runs_apart(model):
        return through_the_model(model, recording.batch, hidden, start, end)[:, keep - first :]
    if start == end:
        return hidden[:, keep - first :]
    batch, tail = recording.batch.size, hidden.shape[1]
    if not model.reuses_keys:
        arms = [
            _run_whole(model, recording, arm, range(start, end))
            for arm in torch.split(hidden, batch)
        ]
        return torch.cat(arms)[:, keep - first :]
    stack = hidden.shape[0] // batch
    saved = recording.batch.saved(first)
    passes = sum(part.end > first for part in recording.batch.shared)  # more over the weights
    if alike and recording.batch.prefix <= keep and saved > (ONE_PASS * passes if first else 0):
        return _run_shared_once(model, recording, hidden, start, end, first, keep)
    if not stacks_along_tokens(stack, first, tail):
        return _run(model, recording, hidden, range(start, end), first, keep, stack, "rows")
    width = hidden.shape[2]
    hidden = hidden.view(stack, batch, tail, width).transpose(0, 1).reshape(batch, -1, width)
    hidden = _run(model, recording, hidden, range(start, end), first, keep, stack, "tokens")
    return hidden.view(batch, stack, -1, width).transpose(0, 1).reshape(stack * batch, -1, width)


def through_the_model(
    model: LanguageModel,
    batch: Batch,
    hidden: Float[Tensor, "stack_batch token d_model"],
    start: int,
    end: int,
) -> Float[Tensor, "stack_batch token d_model"]:
    """The same by a pass of the whole model, for families whose blocks cannot be run alone."""
    if start == end:
        return hidden
    assert hidden.shape[1] == batch.ids.shape[1], "nothing was recorded in time"
    stack = hidden.shape[0] // batch.size
    outputs: list[Tensor] = []

    def put_in(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return changed_input(args, kwargs, lambda _: hidden)

    def take_out(_module: object, _args: object, output: Any) -> None:
        outputs.append(hidden_of(output))
        raise PassEnded

    blocks = model.anatomy.blocks
    handles = (
        blocks[start].register_forward_pre_hook(put_in, with_kwargs=True),
        blocks[end - 1].register_forward_hook(take_out),
    )
    with hooked(*handles, ends=True), prompt_known(batch, copies=stack):
        model.hf(
            input_ids=batch.ids.repeat(stack, 1),
            attention_mask=batch.mask.long().repeat(stack, 1),
            position_ids=batch.positions.repeat(stack, 1),
            use_cache=False,
        )
    return outputs[0]


def stacks_along_tokens(stack: int, first: int, tail: int) -> bool:
    """Whether so many arms, of `tail` tokens after `first` others, lie on the token axis."""
    return stack > 1 and first > 0 and stack * tail <= WIDE * (first + tail)


def _earlier(
    recording: Recording, first: int, copies: int, index: int, rows: Tensor | None = None
) -> Pair | None:
    """A block's keys and values of the tokens before `first`, for so many copies of the batch.

    Or of its `rows`.
    """
    if first == 0:
        return None
    keys, values = (part[:, :, :first] for part in recording.keys_values[index])
    if rows is not None:
        keys, values = (part.index_select(0, rows.to(part.device)) for part in (keys, values))
    assert keys.shape[2] == first, "fewer columns were recorded"
    if copies > 1:
        keys, values = keys.repeat(copies, 1, 1, 1), values.repeat(copies, 1, 1, 1)
    return keys, values


def _run(
    model: LanguageModel,
    recording: Recording,
    hidden: Tensor,
    blocks: range,
    first: int,
    keep: int,
    stack: int,
    layout: Layout,
) -> Tensor:
    """Run the blocks in turn; the last block only for tokens from `keep` on."""
    view = _view(recording, first, stack, layout)
    copies, arms = (stack, 1) if layout == "rows" else (1, stack)
    for index in blocks:
        skip = keep - first if index == blocks[-1] else 0
        old = _earlier(recording, first, copies, index)
        hidden = _block(model, index, hidden, view, old, skip, arms)
    return hidden


def _run_whole(model: LanguageModel, recording: Recording, hidden: Tensor, blocks: range) -> Tensor:
    """The blocks in turn for one arm and all tokens, with the arguments as they were recorded."""
    for index in blocks:
        hidden = call_block(model, index, hidden, recording.calls[index], None)
    return hidden


def _run_shared_once(
    model: LanguageModel,
    recording: Recording,
    hidden: Tensor,
    start: int,
    end: int,
    first: int,
    keep: int,
) -> Tensor:
    """All blocks, once for each group's shared columns of each arm, then for the others."""
    batch = recording.batch
    stack = hidden.shape[0] // batch.size
    by_arm = hidden.reshape(stack, batch.size, *hidden.shape[1:])
    parts = [part for part in batch.parts if part.end > first]
    states: list[Tensor] = []
    views: list[_View] = []
    for part in parts:
        begin, unshared = max(first, part.begin), part is parts[-1]
        columns = by_arm[:, :, begin - first : part.end - first]
        states.append(columns.index_select(1, part.rows.to(hidden.device)).flatten(0, 1))
        views.append(_view(recording, begin, stack, "rows", None if unshared else part.end))
    owners = [
        torch.cat([before.of_row[part.rows] + arm * len(before.rows) for arm in range(stack)])
        for before, part in pairwise(parts)
    ]
    for index in range(start, end):
        last = index == end - 1
        old = _earlier(recording, first, stack, index, parts[0].rows)
        for place, (view, owner) in enumerate(zip(views, owners, strict=False)):
            keys = BlockKeys(old, only=last)
            with suppress(PassEnded):
                states[place] = call_block(model, index, states[place], view.of(index), keys)
            seen, values = (part.index_select(0, owner.to(part.device)) for part in keys.seen)
            old = (seen, values)
        skip = keep - views[-1].first if last else 0
        states[-1] = _block(model, index, states[-1], views[-1], old, skip)
    return states[-1]


def _block(
    model: LanguageModel,
    index: int,
    hidden: Tensor,
    view: _View,
    old: Pair | None,
    skip: int,
    arms: int = 1,
) -> Tensor:
    """A block's output after `old` tokens, without the first `skip` tokens of each of the arms."""
    if skip == 0:
        return call_block(model, index, hidden, view.of(index), old and BlockKeys(old))
    taken = BlockKeys(old, only=True)
    with suppress(PassEnded):
        call_block(model, index, hidden, view.of(index), taken)
    wanted = hidden.reshape(len(hidden), arms, -1, hidden.shape[2])[:, :, skip:].flatten(1, 2)
    return call_block(model, index, wanted, view.of(index, skip), BlockKeys(whole=taken.seen))


def call_block(
    model: LanguageModel, index: int, hidden: Tensor, call: dict[str, Any], keys: BlockKeys | None
) -> Tensor:
    """A block's output for an input, with the block's other arguments."""
    if keys is not None:
        call = {**call, cache_name(model, index): keys}
    # Some families' experts take views of their input, which a cut one does not allow.
    with frozen_products(hidden.device):
        return hidden_of(model.anatomy.blocks[index](hidden.contiguous(), **call))


class BlockKeys:
    """A block's cache argument: joins earlier tokens' keys and values to the new ones.

    `whole` (those of all tokens) is given back whatever the new ones are; with `only` the call ends
    there, and `seen` has them.
    """

    is_compileable = False

    def __init__(
        self, old: Pair | None = None, *, whole: Pair | None = None, only: bool = False
    ) -> None:
        self.old, self.whole, self.only = old, whole, only
        self.seen: Pair = (torch.empty(0), torch.empty(0))

    def update(
        self, keys: Tensor, values: Tensor, _layer: int, *_args: Any, **_kwargs: Any
    ) -> Pair:
        """Called by a block with the keys and values of its tokens; returns those of all tokens."""
        if self.whole is not None:
            return self.whole
        if self.old is not None:
            keys = torch.cat([self.old[0], keys], dim=2)
            values = torch.cat([self.old[1], values], dim=2)
        self.seen = (keys, values)
        if self.only:
            raise PassEnded
        return self.seen

    def get_seq_length(self, *_args: Any) -> int:
        """The number of tokens before those of the call."""
        return 0 if self.old is None else int(self.old[0].shape[2])


def _view(
    recording: Recording, first: int, stack: int, layout: Layout, end: int | None = None
) -> _View:
    """The view of a recording's arguments, cached for all steps."""
    key = (first, stack, layout, end)
    if key not in recording.views:
        while len(recording.views) >= VIEWS:
            recording.views.pop(next(iter(recording.views)))
        # Without the tensors, so that the view does not keep them alive.
        recording.views[key] = _View(recording.holding({}), first, stack, layout, end)
    view = recording.views[key]
    assert isinstance(view, _View)
    return view


@dataclass(frozen=True, slots=True)
class _View:
    """Blocks' arguments for the tokens from `first` on, of so many stacked arms.

    With an `end`: for the tokens from `first` to `end`, of the groups of each arm that share them.
    Blocks share most tensors (masks, rotary tables), so each is cut and repeated once.
    """

    recording: Recording
    first: int
    stack: int
    layout: Layout
    end: int | None
    parts: dict[tuple[Any, int], Any] = field(default_factory=dict[tuple[Any, int], Any])

    def of(self, index: int, skip: int = 0) -> dict[str, Any]:
        """The arguments of one block, without the first `skip` of each arm's tokens as queries."""
        calls = self.recording.calls[index]
        return {name: self._memo(value, name, skip) for name, value in calls.items()}

    def _memo(self, value: Any, name: str, skip: int) -> Any:
        if not isinstance(value, Tensor | tuple):
            return value
        key = (value, skip)  # a tensor is equal to itself only
        if key not in self.parts:
            self.parts[key] = self._part(value, name, skip)
        return self.parts[key]

    def _part(self, value: Any, name: str, skip: int) -> Any:
        if isinstance(value, tuple):
            return tuple(self._part(part, "", skip) for part in value)
        if not isinstance(value, Tensor):
            return value
        if name == "attention_mask":
            return self._rows(self._mask(value, skip))
        width = self.recording.batch.ids.shape[1]
        if value.ndim >= 2 and value.shape[1] == width:  # rotary tables, position ids
            value = value[:, self.first + skip : self.end]
            if self.layout == "tokens":
                value = value.repeat(1, self.stack, *[1] * (value.ndim - 2))
        return self._rows(value)

    def _mask(self, mask: Tensor, skip: int) -> Tensor:
        queries = mask[:, :, self.first + skip : self.end, : self.end]
        if self.layout == "rows" or self.stack == 1:
            return queries
        before, after = queries[..., : self.first], queries[..., self.first :]
        rows, columns = after.shape[2:]
        nothing = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
        apart = after.new_full((*after.shape[:2], self.stack * rows, self.stack * columns), nothing)
        for arm in range(self.stack):
            down, across = arm * rows, arm * columns
            apart[:, :, down : down + rows, across : across + columns] = after
        return torch.cat([before.repeat(1, 1, self.stack, 1), apart], dim=3)

    def _rows(self, value: Tensor) -> Tensor:
        """Repeated for the rows of all arms, if it has one entry per sequence."""
        size = self.recording.batch.size
        if value.shape[0] != size or size == 1:
            return value
        if self.end is not None:
            rows = next(part.rows for part in self.recording.batch.shared if part.end == self.end)
            value = value.index_select(0, rows.to(value.device))
        if self.layout == "tokens" or self.stack == 1:
            return value
        return value.repeat(self.stack, *[1] * (value.ndim - 1))
