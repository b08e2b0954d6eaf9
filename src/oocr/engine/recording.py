"""Recordings: the stored results of one pass, for any number of replays (`oocr.engine.replay`).

Texts that begin alike (a chat template's system message, one question with several answers) have
their common beginning run once. Such a batch is padded after it instead of before, which changes no
token's position or context.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache as remembered
from functools import partial, wraps
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, pad
from oocr.data.layout import Layout, lay_out
from oocr.models.language_model import LanguageModel
from oocr.models.matmul import frozen_products
from oocr.steering.call_positions import prompt_known
from oocr.steering.hooks import PassEnded, hidden_of, hooked, reuses_keys

CACHE_NAMES = ("past_key_values", "past_key_value", "layer_past")
"""Names of a block's cache argument in the families."""

LEAST_PREFIX = 8
"""Least length of a common prefix that gets a pass of its own."""

ONE_PASS = 24
"""Tokens that take about as long as one more pass over the weights."""

WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
"""Names of the limit on attention's distance in configurations."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded batch."""

    batch: Batch
    inputs: dict[int, Float[Tensor, "batch token d_model"]]  # of blocks; n_blocks: the last output
    calls: dict[int, dict[str, Any]]  # the other arguments of each block
    keys_values: dict[int, tuple[Tensor, Tensor]]  # each [batch, head, token, d_head]
    views: dict[object, Any] = field(default_factory=dict[object, Any], compare=False, repr=False)
    """Views of `calls` made by replays, cached for the next replay."""

    @property
    def nbytes(self) -> int:
        """Bytes of what was recorded (masks and tables left out)."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """What was recorded, by name: input.<block>, keys.<block>, values.<block>."""
        named = {f"input.{index}": hidden for index, hidden in self.inputs.items()}
        for index, (keys, values) in self.keys_values.items():
            named |= {f"keys.{index}": keys, f"values.{index}": values}
        return named

    def holding(self, tensors: Mapping[str, Tensor]) -> Recording:
        """The same recording with these tensors, by the same names."""
        by_kind: dict[str, dict[int, Tensor]] = {"input": {}, "keys": {}, "values": {}}
        for name, tensor in tensors.items():
            kind, index = name.split(".")
            by_kind[kind][int(index)] = tensor
        pairs = {index: (keys, by_kind["values"][index]) for index, keys in by_kind["keys"].items()}
        return replace(self, inputs=by_kind["input"], keys_values=pairs)

    def mapped(self, change: Callable[[str, Tensor], Tensor]) -> Recording:
        """The same recording with each tensor changed."""
        return self.holding({name: change(name, t) for name, t in self.tensors().items()})


def parameters_of(model: LanguageModel, index: int) -> list[str]:
    """Names of a block's arguments, in order."""
    return list(inspect.signature(model.anatomy.blocks[index].forward).parameters)


def cache_name(model: LanguageModel, index: int) -> str:
    """The name of a block's cache argument."""
    names = parameters_of(model, index)
    return next((name for name in CACHE_NAMES if name in names), CACHE_NAMES[0])


def batch_of(model: LanguageModel, sequences: Sequence[TokenSequence]) -> Batch:
    """Sequences as a batch for this model, in which common beginnings are recorded once."""
    shares = model.replays and model.reuses_keys
    prefix, prompts = shared_beginnings(sequences, _window(model)) if shares else (0, None)
    return pad(sequences, model.pad_id, model.device, prefix=prefix, prompts=prompts)


def shared_beginnings(
    sequences: Sequence[TokenSequence], window: float = float("inf")
) -> tuple[int, list[int] | None]:
    """The beginnings that are recorded once: `prefix` and `prompts` of `pad`.

    A long common beginning always is, and each prompt but for its last token where clearly fewer
    tokens are then run. No batch is wider than `window`, which counts padding too.
    """
    ids = [sequence.ids for sequence in sequences]
    common = common_prefix(sequences)
    if common < LEAST_PREFIX or max(map(len, ids)) > window:
        common = 0
    prompts = [sequence.prompt_length - 1 for sequence in sequences]

    def cost(layout: Layout) -> int:
        return layout.tokens + ONE_PASS * len(layout.shared)

    best: tuple[int, list[int] | None] = (common, None)
    least = cost(lay_out(ids, [common] * len(ids)))
    for prefix in dict.fromkeys((0, common) if min(prompts) >= common else (0,)):
        layout = lay_out(ids, [prefix] * len(ids), prompts)
        if layout.width <= window and cost(layout) < least:
            best, least = (prefix, prompts), cost(layout)
    return best


def common_prefix(sequences: Sequence[TokenSequence]) -> int:
    """The length of the common prefix; each sequence keeps at least one token after it."""
    if len(sequences) < 2:
        return 0
    first, size = sequences[0].ids, min(len(sequence.ids) for sequence in sequences) - 1
    for sequence in sequences[1:]:
        size = next((i for i in range(size) if sequence.ids[i] != first[i]), size)
    return size


def _window(model: LanguageModel) -> float:
    config: Any = model.hf.config
    text = config.get_text_config()
    sizes = [getattr(text, name, None) for name in WINDOWS]
    return min((size for size in sizes if isinstance(size, int)), default=float("inf"))


@torch.no_grad()
def record(
    model: LanguageModel,
    batch: Batch,
    starts: Collection[int],
    *,
    cache: bool = True,
    stop: int | None = None,
    hollow: int | None = None,
) -> Recording:
    """Run the untouched model over a batch and keep what replays from `starts` need.

    Interventions that are attached to the model now are recorded too. Of `starts`, n_blocks means
    only final norm and head. `cache` also keeps keys and values, for replays that begin at a later
    token; with `stop` nothing from this block on will be replayed; with `hollow` blocks from this
    one on (not 0) compute nothing, but what they are called with is recorded (see
    `oocr.engine.beginnings`). A batch that was made for a model on another device is moved.
    """
    from transformers import DynamicCache

    batch = batch.to(model.device)
    cache = cache and model.replays and model.reuses_keys
    blocks, lowest = model.anatomy.blocks, min(starts)
    shared = batch.saved() > 0 and reuses_keys(model)
    past = DynamicCache() if cache or shared else None  # no config: full length in every block
    run = partial(_pass, model, batch, starts, stop, hollow, past)
    causal = remembered(partial(_causal_mask, batch))  # blocks share it
    if shared:
        passed, before = list[Recording](), None
        for part in batch.parts:
            if before is not None:
                _select_rows(past, before.of_row[part.rows])
            passed.append(run(part.rows, slice(part.begin, part.end)))
            before = part
        recording = _joined(passed, batch, remembered(partial(_joined_mask, batch, causal)))
    else:
        recording = run(slice(None), slice(None))
    keys_values: dict[int, tuple[Tensor, Tensor]] = {}
    if cache and past is not None:
        ends = [end for end in (hollow, stop, len(blocks)) if end is not None]
        for index in range(lowest, min(ends)):
            keys, values = past.layers[index].keys, past.layers[index].values
            assert keys is not None
            assert values is not None
            keys_values[index] = (keys, values)
    calls = {
        index: {
            name: causal(0, None)
            if name == "attention_mask" and value is None and model.reuses_keys
            else value
            for name, value in call.items()
            if name not in (*CACHE_NAMES, "use_cache", "cache_position")
        }
        for index, call in recording.calls.items()
    }
    return Recording(batch, recording.inputs, calls, keys_values)


def _select_rows(past: Any, rows: Tensor) -> None:
    """Make a cache that of these sequences (of a model on several devices too)."""
    for layer in past.layers:
        if layer.keys is not None:
            layer.batch_select_indices(rows.to(layer.keys.device))


def _pass(
    model: LanguageModel,
    batch: Batch,
    starts: Collection[int],
    stop: int | None,
    hollow: int | None,
    past: Any,
    rows: slice | Tensor,
    columns: slice,
) -> Recording:
    """Run some sequences' tokens, after those that `past` holds."""
    blocks, passed = model.anatomy.blocks, Recording(batch, {}, {}, {})

    def before(index: int) -> Any:
        def hook(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            names = parameters_of(model, index)
            rest = {**dict(zip(names, args, strict=False)), **kwargs}
            hidden = rest.pop(names[0])
            if index in starts:
                passed.inputs[index] = hidden.detach()
            passed.calls[index] = rest
            if index == stop:
                raise PassEnded

        return hook

    def after(_module: object, _args: object, output: Any) -> None:
        if len(blocks) in starts:
            passed.inputs[len(blocks)] = hidden_of(output).detach()
        raise PassEnded  # the LM head is not needed, and expensive in a small model

    handles = [
        blocks[index].register_forward_pre_hook(before(index), with_kwargs=True)
        for index in range(min(starts), len(blocks))
    ]
    handles.append(blocks[-1].register_forward_hook(after))
    through = nullcontext() if hollow is None else _hollow(model, hollow)
    with through, hooked(*handles, ends=True), frozen_products(model.device), prompt_known(batch):
        model.hf(
            input_ids=batch.ids[rows, columns],
            attention_mask=batch.mask[rows, : columns.stop].long(),
            position_ids=batch.positions[rows, columns],
            use_cache=past is not None,
            past_key_values=past,
        )
    return passed


@contextmanager
def _hollow(model: LanguageModel, first: int) -> Iterator[None]:
    """Blocks from `first` on return their input, in the form of the previous block's output."""
    blocks, form = model.anatomy.blocks, list[Any]()
    handle = blocks[first - 1].register_forward_hook(lambda _, _args, out: form.append(out))
    forwards = [vars(block).get("forward") for block in blocks]

    def giving_back(index: int) -> Callable[..., Any]:
        name = parameters_of(model, index)[0]

        @wraps(blocks[index].forward)
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs[name]
            return (hidden, *form[-1][1:]) if isinstance(form[-1], tuple) else hidden

        return forward

    try:
        for index in range(first, len(blocks)):
            vars(blocks[index])["forward"] = giving_back(index)
        yield
    finally:
        handle.remove()
        for block, forward in zip(blocks[first:], forwards[first:], strict=True):
            if forward is None:
                vars(block).pop("forward", None)
            else:
                vars(block)["forward"] = forward


def _joined(passed: Sequence[Recording], batch: Batch, mask: Callable[..., Tensor]) -> Recording:
    """Recordings of the parts of a batch's columns joined into one of all columns."""
    parts = batch.parts
    inputs = {
        index: torch.cat(
            [
                part.per_row(recording.inputs[index])
                for part, recording in zip(parts, passed, strict=True)
            ],
            dim=1,
        )
        for index in passed[0].inputs
    }
    calls = {
        index: {
            name: mask(*values) if name == "attention_mask" else _along_tokens(batch, *values)
            for name in call
            for values in ([recording.calls[index][name] for recording in passed],)
        }
        for index, call in passed[-1].calls.items()
    }
    return Recording(batch, inputs, calls, {})


def _joined_mask(
    batch: Batch, causal: Callable[[int, int | None], Tensor], *masks: Tensor | None
) -> Tensor:
    """An attention mask for all columns, from those of the parts; None: the causal one."""
    known = [
        causal(part.begin, part.end) if mask is None else mask
        for part, mask in zip(batch.parts, masks, strict=True)
    ]
    if len({mask.dtype for mask in known}) > 1:  # one says which, another how much to add
        known = [_additive(mask) for mask in known]
    rest, width = known[-1], int(batch.ids.shape[1])
    nothing = False if rest.dtype == torch.bool else torch.finfo(rest.dtype).min
    whole: Tensor = rest.new_full((*rest.shape[:2], width, width), nothing)
    for part, mask in zip(batch.parts, known, strict=True):
        of_groups = len(mask) == len(part.rows) and len(rest) == batch.size
        columns = whole[:, :, part.begin : part.end, : part.end]
        columns.copy_(part.per_row(mask) if of_groups else mask)
    return whole


def _along_tokens(batch: Batch, *values: Any) -> Any:
    """A block's argument for all columns, from those of the parts."""
    last, width = values[-1], int(batch.ids.shape[1]) - batch.prefix
    if isinstance(last, tuple):
        return tuple(_along_tokens(batch, *parts) for parts in zip(*values, strict=True))
    if isinstance(last, Tensor) and last.ndim >= 2 and last.shape[1] == width:
        if len(last) == batch.size:
            values = tuple(
                part.per_row(value) for part, value in zip(batch.parts, values, strict=True)
            )
        return torch.cat(values, dim=1)
    return last


def _additive(mask: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo().min)


def _causal_mask(batch: Batch, begin: int, end: int | None) -> Tensor:
    """The causal mask that a block without a mask argument uses.

    Attention over fewer queries than keys aligns an implicit causal mask to the wrong end.
    """
    stop = batch.ids.shape[1] if end is None else end
    causal = torch.ones(stop, stop, dtype=torch.bool, device=batch.ids.device).tril()[begin:]
    seen = batch.mask[:, None, None, :stop]
    return causal[None, None] if bool(seen.all()) else causal & seen
