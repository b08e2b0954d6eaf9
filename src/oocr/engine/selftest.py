"""Loading a model for use: read, frozen, and tested on a few random tokens by steering it.

With h the residual stream at block L's output, v the vector and S the chosen tokens of a padded
batch: h'[t] = h[t] + v for t in S and h'[t] = h[t] elsewhere, bit for bit; taken off, the model is
bit for bit what it was; and replays give what the whole model gives, up to rounding.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import torch
from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, pad
from oocr.data.chat_template import FIXED_DAY
from oocr.engine.forward import final_rows, plain_rows
from oocr.engine.recording import record
from oocr.errors import InputError
from oocr.models.branches import has_mlp
from oocr.models.language_model import LanguageModel
from oocr.models.load import read_model
from oocr.models.out_of_memory import LOADING, is_out_of_memory, memory_errors
from oocr.steering.call_positions import CACHES
from oocr.steering.hooks import PassEnded, hidden_of, hooked
from oocr.steering.positions import select
from oocr.steering.vectors import Vector
from oocr.words import first_line

ROUNDING = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Allowed share of the largest residual stream or logit, where rounding may differ."""


def load_model(
    name: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "auto",
    device: str = "auto",
    device_map: str | None = None,
    revision: str | None = None,
    day: date = FIXED_DAY,
    shared: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> LanguageModel:
    """Load a causal LM, frozen and in eval mode, and test that steering it is exact.

    A family whose blocks cannot be run alone uses full forward passes, with a warning.

    Args:
        name: a bundled or plug-in model's name ("nano"), a local folder, a .gguf file, or a Hugging
            Face id ("id@revision" too); the first of these that exists is taken.
        dtype: "float32", "bfloat16", "float16", or "auto": bfloat16 on a GPU, and on a CPU that is
            three times as fast in it (as with AMX), else float32; or what its plug-in chooses.
        device: "auto" (the GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        device_map: spread the model over devices as accelerate does ("auto"); excludes `device`.
        revision: branch, tag or commit; only for a Hugging Face id.
        day: the date that a chat template writes as today, so that tokens are the same on every
            day.
        shared: several processes will load it: on a CPU they map the same weights from a file,
            which is written to the cache if the model's own file has another dtype.
        on_progress: called with a few words before steps that take time.

    Raises:
        InputError: no such model (with the way to get it), or one that cannot be steered.
        RunError: the disk is full while a GGUF is converted; the device has no room for the model.
    """
    with memory_errors(f"loading {name}", LOADING):
        return tested(
            read_model(
                name,
                dtype=dtype,
                device=device,
                device_map=device_map,
                revision=revision,
                day=day,
                shared=shared,
                on_progress=on_progress,
            )
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One thing tested at one block."""

    name: str
    says: str
    layer: int
    error: float  # a share of the largest value
    allowed: float  # 0 where bits must agree
    trouble: str = ""  # the exception, if there was one

    @property
    def passed(self) -> bool:
        """Whether the error is allowed (NaN is not)."""
        return not self.trouble and self.error <= self.allowed


def tested(model: LanguageModel) -> LanguageModel:
    """The model with replays as far as they are exact; InputError: steering it would be wrong."""
    model, failed = _failed(model)
    for name, check in failed.items():
        fault = f"not true that {_words(check)}"
        if name in ("moves", "cached", "detaches"):
            raise InputError(f"{model.name} cannot be steered: {fault}")
        if name == "replays":
            fault += "; every pass will run the whole model (slower, and exact)"
        warnings.warn(f"{model.name}: {fault}", stacklevel=2)
    if "replays" in failed:
        return replace(model, replays=False)
    ahead = _calls_ahead(model)
    return model if ahead is model.calls_ahead else replace(model, calls_ahead=ahead)


def replayed(model: LanguageModel) -> LanguageModel:
    """The model; earlier keys are reused if the middle block's test allows it."""
    return _failed(model)[0]


def _failed(model: LanguageModel) -> tuple[LanguageModel, dict[str, Check]]:
    failed = {check.name: check for check in self_test(model) if not check.passed}
    if "replays" in failed and model.reuses_keys:
        return _failed(replace(model, reuses_keys=False))
    return model, failed


@torch.no_grad()
def _calls_ahead(model: LanguageModel) -> bool:
    """Whether blocks get the same arguments if the blocks before them compute nothing."""
    middle = model.n_blocks // 2
    if not model.reuses_keys or middle == 0:
        return False
    batch = pad(_sequences(model, torch.Generator().manual_seed(0)), model.pad_id, model.device)
    try:
        whole, hollow = (record(model, batch, [middle], hollow=at) for at in (None, middle))
    except Exception as trouble:  # any exception of the family's code
        if is_out_of_memory(trouble):
            raise
        return False
    return _alike(list(whole.calls.items()), list(hollow.calls.items()))


def _alike(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return isinstance(second, dict) and _alike(sorted(first.items()), sorted(second.items()))
    if isinstance(first, list | tuple):
        same = isinstance(second, list | tuple) and len(first) == len(second)
        return same and all(map(_alike, first, second))
    return bool(first is second or first == second)


def _words(check: Check) -> str:
    why = check.trouble or f"off by {check.error:.1e}, allowed {check.allowed:.0e}"
    return f"{check.says} (block {check.layer}: {why})"


@torch.no_grad()
def self_test(model: LanguageModel, layers: Sequence[int] = (), seed: int = 0) -> list[Check]:
    """Test steering at some blocks' outputs and MLPs; without `layers`, at the middle block's."""
    generator = torch.Generator().manual_seed(seed)
    sequences = _sequences(model, generator)
    batch = pad(sequences, model.pad_id, model.device)
    checks: list[Check] = []
    for layer in layers or (model.n_blocks // 2,):
        test = _SteeringTest(model, batch, sequences, layer, generator)
        with_mlp = layers and layer >= 0 and has_mlp(model, layer)
        names = [name for name in _SAYS if name != "mlp" or with_mlp]
        checks += [test.check(name) for name in names]
    return checks


def _sequences(model: LanguageModel, generator: torch.Generator) -> list[TokenSequence]:
    """Random tokens with a span; one sequence is shorter, so that it is padded."""
    rows = min(model.anatomy.vocab, int(model.anatomy.embed_weight.shape[0]))
    sequences: list[TokenSequence] = []
    for length in (8, 6):
        ids = torch.randint(0, rows, (length,), generator=generator).tolist()
        sequence = TokenSequence(tuple(ids), length, {"span": (2, 4)}, items=1)
        sequence.targets.append((length - 1, 0, 1.0))
        sequences.append(sequence)
    return sequences


_SAYS = {
    "moves": "the stream moves by the vector, there only",
    "cached": "it does so with a key-value cache",
    "detaches": "the model is what it was once the vector is off",
    "replays": "blocks run apart give what the model gives",
    "padding": "padding leaves a sequence as it is alone",
    "mlp": "a vector at the block's MLP acts through what follows it",
}
"""What each test of `_SteeringTest` shows."""


class _SteeringTest:
    """One vector on one batch. Each test gives its largest error and what is allowed."""

    def __init__(
        self,
        model: LanguageModel,
        batch: Batch,
        sequences: Sequence[TokenSequence],
        layer: int,
        generator: torch.Generator,
    ) -> None:
        self.model, self.batch, self.sequences, self.layer = model, batch, sequences, layer
        self.rounding = ROUNDING.get(model.dtype, 5e-2)
        self.final, self.hidden = self._run()
        size = self.hidden[batch.mask.to(self.hidden.device)].float().norm(dim=-1).median().item()
        direction = torch.randn(model.d_model, generator=generator)
        self.direction = direction / direction.norm() * size

    def check(self, name: str) -> Check:
        """Run one test; an exception is a failure that is reported."""
        says = _SAYS[name]
        try:
            error, allowed = getattr(self, name)()
        except Exception as trouble:  # any exception of the family's code
            if is_out_of_memory(trouble):
                raise
            words = f"{type(trouble).__name__}: {first_line(trouble)}"
            return Check(name, says, self.layer, float("nan"), 0.0, words)
        return Check(name, says, self.layer, error, allowed)

    def moves(self) -> tuple[float, float]:
        """Bit for bit, at the span of a padded batch."""
        vector = self._vector("span")
        chosen = select(self.batch, "span")
        with vector.on(self.model, chosen):
            final, moved = self._run()
        if torch.equal(final, self.final):
            return float("nan"), 0.0  # the later blocks never saw it
        return self._off(moved, self._moved(self.hidden, chosen)), 0.0

    def cached(self) -> tuple[float, float]:
        """Prefill with the vector at the span, then one token: it is not moved again.

        A family without a cache is never given one.
        """
        from transformers import DynamicCache

        if self._cache_name is None:
            return 0.0, 0.0
        chosen = select(self.batch, "span")
        head, tail = slice(0, -1), slice(-1, None)
        past = DynamicCache(config=self.model.hf.config)
        _, stream = self._run(head, past)
        past = DynamicCache(config=self.model.hf.config)
        with self._vector("span").on(self.model, chosen):
            _, moved = self._run(head, past)
            final, _ = self._run(tail, past)
            whole, _ = self._run()
        if self._off(moved, self._moved(stream, chosen[:, head])) > 0:
            return float("inf"), 0.0
        return self._off(final[:, -1], whole[:, -1]), self.rounding

    def detaches(self) -> tuple[float, float]:
        """The last block's output, bit for bit."""
        with self._vector("all").on(self.model):
            self._run()
        return self._off(self._run()[0], self.final), 0.0

    def replays(self) -> tuple[float, float]:
        """From a later token (time), and from the first (depth), two arms side by side.

        Also from the first with beginnings that several sequences share, if keys are reused. Where
        a family's blocks hand more than the stream to one another (Gemma-4's shared keys and
        values), a replay from block 0 may spoil the recording for those after it: so one comes
        between.
        """
        worst, layers = 0.0, [self.layer, self.layer]
        model = replace(self.model, replays=True)
        if not model.reuses_keys and self.layer > -1:
            layers.insert(0, -1)
        recording = record(model, self.batch, {layer + 1 for layer in layers})
        for layer, positions in zip(layers, ("all", "last", "all")[-len(layers) :], strict=True):
            vector = replace(self._vector(positions), layer=layer)
            expected = plain_rows(self.model, self.batch, vector)
            for rows in final_rows(model, recording, [vector, vector]):
                worst = max(worst, self._off(rows, expected))
        if model.reuses_keys:
            worst = max(worst, self._shared(model))
        return worst, self.rounding

    def _shared(self, model: LanguageModel) -> float:
        """The error where each sequence comes twice, with different last tokens."""
        others = [replace(line, ids=(*line.ids[:-1], line.ids[0])) for line in self.sequences]
        sequences = [*self.sequences, *others]
        starts = [sequence.prompt_length - 1 for sequence in sequences]
        batch = pad(sequences, model.pad_id, model.device, prompts=starts)
        vector = self._vector("all")
        plain = pad(sequences, model.pad_id, model.device)
        expected = plain_rows(self.model, plain, vector)
        recording = record(model, batch, [self.layer + 1])
        return max(self._off(rows, expected) for rows in final_rows(model, recording, [vector] * 2))

    def mlp(self) -> tuple[float, float]:
        """A vector at the MLP's output: the block is run apart, beside the hooked model."""
        vector = replace(self._vector("last"), site="mlp")
        recording = record(self.model, self.batch, [self.layer])
        rows = final_rows(self.model, recording, [vector])[0]
        return self._off(rows, plain_rows(self.model, self.batch, vector)), self.rounding

    def padding(self) -> tuple[float, float]:
        """The padded sequence's last token, alone and in the batch."""
        short = min(range(len(self.sequences)), key=lambda index: len(self.sequences[index].ids))
        alone = pad([self.sequences[short]], 0, self.model.device)
        final = self._run(batch=alone)[0]
        return self._off(final[0, -1], self.final[short, -1]), self.rounding

    @property
    def _cache_name(self) -> str | None:
        known = inspect.signature(self.model.hf.forward).parameters
        return next((name for name in CACHES if name in known), None)

    def _vector(self, positions: str) -> Vector:
        return Vector(self.layer, positions, self.direction)

    def _moved(self, hidden: Tensor, chosen: Tensor) -> Tensor:
        step = self.direction.to(hidden)  # to the block's device and dtype
        return torch.where(chosen[:, :, None].to(hidden.device), hidden + step, hidden)

    def _off(self, measured: Tensor, expected: Tensor) -> float:
        measured, expected = measured.float().cpu(), expected.float().cpu()
        return float((measured - expected).abs().max() / expected.abs().max().clamp_min(1e-9))

    def _run(
        self, columns: slice = slice(None), past: Any = None, batch: Batch | None = None
    ) -> tuple[Tensor, Tensor]:
        """The residual stream after the last block and at the block's output, of some columns."""
        batch, blocks = batch or self.batch, self.model.anatomy.blocks
        seen: list[Tensor] = []

        def look(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(hidden_of(args[0] if args else kwargs["hidden_states"]))

        def end(_module: object, _args: object, output: Any) -> None:
            seen.append(hidden_of(output))
            raise PassEnded

        handles = [blocks[-1].register_forward_hook(end)]  # after any hook that steers
        if self.layer + 1 < len(blocks):
            reader = blocks[self.layer + 1]
            handles.append(reader.register_forward_pre_hook(look, with_kwargs=True))
        # A state replaces earlier tokens; keys and values also need the mask of earlier tokens.
        masked = columns if self._cache_name == "cache_params" else slice(columns.stop)
        with hooked(*handles, ends=True):
            self.model.hf(
                input_ids=batch.ids[:, columns],
                attention_mask=batch.mask[:, masked].long(),
                position_ids=batch.positions[:, columns],
                use_cache=past is not None,
                **({} if past is None else {str(self._cache_name): past}),
            )
        return seen[-1], seen[0]
