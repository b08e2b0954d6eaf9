"""The fast pass gives the plain one's loss and gradients, however batches and arms are laid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from oocr.data.batches import Batch, TokenSequence, pad, training_lines
from oocr.data.examples import Example, Message
from oocr.engine import replay
from oocr.engine.forward import SteeringMask, replayed_rows, steered_rows
from oocr.engine.losses import stacked_losses
from oocr.engine.recording import record
from oocr.engine.replay import stacks_along_tokens
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import LowRankAdapter, new_adapters, peft_config
from oocr.steering.hooks import reuses_keys
from oocr.steering.positions import select
from oocr.steering.vectors import SteeringVector, Vector
from tests.engine.test_engine import model_of, plain_loss, ragged
from tests.tiny.models import FAMILIES, tiny_language_model

SOME = ("llama", "gemma3_text", "gpt_neox", "gpt2", "qwen3_moe")
BEGINNING = tuple(range(20, 29))


@pytest.fixture(autouse=True)
def any_beginning_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few tokens that saves."""
    monkeypatch.setattr(replay, "ONE_PASS", 0)


def sharing() -> list[TokenSequence]:
    """Lines that begin alike, answers of different lengths at their ends."""
    sequences = []
    for index, (length, answer) in enumerate(((4, 1), (7, 2), (5, 1))):
        rest = [30 + 7 * index + at for at in range(length)]
        ids = (*BEGINNING, *rest)
        sequence = TokenSequence(
            ids, len(ids) - answer + 1, {"span": (len(BEGINNING) - 4, 10)}, items=1
        )
        sequence.targets.extend((len(ids) - answer + i, 5 + i, 1.0) for i in range(answer))
        sequences.append(sequence)
    return sequences


def to_the_right(sequences: Sequence[TokenSequence]) -> Batch:
    """Padded behind the text, as trainers do it."""
    lengths = [len(sequence.ids) for sequence in sequences]
    filled = [
        replace(sequence, ids=(*sequence.ids, *[0] * (max(lengths) - length)))
        for sequence, length in zip(sequences, lengths, strict=True)
    ]
    batch = pad(filled, 0)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return replace(batch, mask=mask, positions=batch.positions * mask)


def expected(
    model: LanguageModel, batch: Batch, layer: int, positions: str, values: Tensor
) -> tuple[Tensor, Tensor]:
    """Each arm's loss and gradient, one plain hooked pass after the other."""
    losses, gradients = [], []
    for value in values:
        direction = value.clone().requires_grad_()
        with Vector(layer, positions, direction).on(model, select(batch, positions)):
            loss = plain_loss(model, batch)
        gradients.append(torch.autograd.grad(loss, direction)[0])
        losses.append(loss.detach())
    return torch.stack(losses), torch.stack(gradients)


def stacked(
    model: LanguageModel, batch: Batch, layer: int, positions: str, values: Tensor
) -> tuple[Tensor, Tensor]:
    """All arms at once, from a recording."""
    directions = values.clone().requires_grad_()
    frozen = record(model, batch, [layer + 1])
    places = SteeringMask.of(batch, select(batch, positions), in_time=reuses_keys(model))
    rows = steered_rows(model, frozen, SteeringVector(layer, positions), directions, places)
    losses = stacked_losses(model, [batch] * len(values), rows)
    return losses.detach(), torch.autograd.grad(losses.sum(), directions)[0]


def arms(model: LanguageModel, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, model.d_model, generator=generator).to(dtype).float()


def shared(sequences: Sequence[TokenSequence]) -> Batch:
    return pad(sequences, 0, prefix=len(BEGINNING))


def answered(sequences: Sequence[TokenSequence], prefix: int = 0) -> Batch:
    """Each prompt twice, with answers of different lengths; all but its last token is run once."""
    both = list(sequences)
    for index, sequence in enumerate(sequences):
        size = sequence.prompt_length
        ids = (*sequence.ids[:size], 40 + index, 41, 42)
        other = TokenSequence(ids, size, dict(sequence.spans), items=1)
        other.targets.extend((size - 1 + at, 7 + at, 1.0) for at in range(4))
        both.append(other)
    return pad(both, 0, prefix=prefix, prompts=[line.prompt_length - 1 for line in both])


LAYOUTS: dict[str, Callable[[], Batch]] = {
    "left": lambda: pad(ragged(), 0),
    "right": lambda: to_the_right(ragged()),
    "begins alike": lambda: shared(sharing()),
    "answers of prompts": lambda: answered(ragged()),
    "answers of prompts that begin alike": lambda: answered(sharing(), len(BEGINNING)),
}


# Longer than these tiny models' window: `record.batch_of` never lays a batch out so.
WINDOWED = ("mistral", "gemma2", "gemma3_text", "gemma3")
LAID_OUT = [
    (family, layout)
    for family in FAMILIES
    for layout in LAYOUTS
    if layout in ("left", "right") or family not in WINDOWED
]


@pytest.mark.parametrize("positions", ["all", "last", "span", "from:span", "prompt"])
@pytest.mark.parametrize(("family", "layout"), LAID_OUT)
def test_stacked_arms_have_each_ones_loss_and_gradient(
    family: str, layout: str, positions: str
) -> None:
    model, batch = model_of(family), LAYOUTS[layout]()
    for layer, count in ((0, 5), (3, 2)):
        values = arms(model, count)
        losses, gradients = expected(model, batch, layer, positions, values)
        mine, slopes = stacked(model, batch, layer, positions, values)
        torch.testing.assert_close(mine, losses, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(slopes, gradients, rtol=1e-3, atol=1e-5)


def test_both_layouts_of_arms_are_met_above() -> None:
    batch = LAYOUTS["left"]()
    width = int(batch.ids.shape[1])
    for positions, on_tokens in (("last", True), ("span", False), ("all", False)):
        places = SteeringMask.of(batch, select(batch, positions), in_time=True)
        assert stacks_along_tokens(5, places.first, width - places.first) is on_tokens


@pytest.mark.parametrize(("family", "layout"), [case for case in LAID_OUT if case[0] in SOME])
def test_stacked_adapters_have_each_ones_gradients(family: str, layout: str) -> None:
    model, batch = model_of(family), LAYOUTS[layout]()
    names = {"gpt2": "c_fc", "gpt_neox": "dense_4h_to_h", "qwen3_moe": "o_proj"}
    spec = LowRankAdapter(layers=(1, 3), rank=2, modules=(names.get(family, "down_proj"),))
    config = peft_config(model, spec)
    frozen = record(model, batch, [1])

    def gradients(seeds: list[int]) -> list[list[Tensor]]:
        with new_adapters(model, config, seeds) as named:
            for parameters in named:
                for name, gradient in parameters.items():
                    if "lora_B" in name:
                        size = torch.Generator().manual_seed(len(name))
                        gradient.data.normal_(generator=size)
            flat = [list(parameters.values()) for parameters in named]
            if len(seeds) == 1:  # the reference: the whole model
                loss = plain_loss(model, batch)
            else:
                hidden = frozen.inputs[1].repeat(len(seeds), 1, 1)
                rows = replayed_rows(model, frozen, hidden, 1)
                loss = stacked_losses(model, [batch] * len(seeds), rows).sum()
            grads = iter(
                torch.autograd.grad(
                    loss, [gradient for parameters in flat for gradient in parameters]
                )
            )
            return [[next(grads) for _ in parameters] for parameters in flat]

    together = gradients([4, 5, 6])
    for seed, stacked in zip((4, 5, 6), together, strict=True):
        for gradient, alone in zip(stacked, gradients([seed])[0], strict=True):
            torch.testing.assert_close(gradient, alone, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("positions", ["all", "last", "span"])
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gemma2", "gpt2", "mixtral"])
def test_in_bfloat16_loss_and_gradient_agree_within_its_rounding(
    family: str, positions: str
) -> None:
    """Stated tolerance: 2 % of the loss, and a cosine of .99 between the gradients."""
    model = tiny_language_model(family)
    model.hf.to(torch.bfloat16)  # type: ignore[call-overload]
    batch, values = LAYOUTS["left"](), arms(model, 3, torch.bfloat16)
    losses, gradients = expected(model, batch, 1, positions, values)
    mine, gradient = stacked(model, batch, 1, positions, values)
    torch.testing.assert_close(mine.float(), losses.float(), rtol=0.02, atol=0.02)
    cosines = torch.cosine_similarity(gradient, gradients, dim=1)
    assert cosines.min() > 0.99


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_prompts_with_and_without_a_chat_template(family: str, chat: bool) -> None:
    model = tiny_language_model(family, chat=True)
    texts = ("Which one do you prefer ?", "Country 4821 ?", "The capital of Country 4821 is")
    system = Message("system", "They speak .")
    examples = tuple(
        Example(
            id=text,
            prompt=(system, Message("user", text)) if chat else text,
            answer=" Paris , France .",
        )
        for text in texts
    )
    sequences = training_lines(model.tokenizer, examples, "answer")
    batch = pad(sequences, 0)
    values = arms(model, 2)
    for positions in ("last", "all"):
        losses, gradients = expected(model, batch, 1, positions, values)
        mine, gradient = stacked(model, batch, 1, positions, values)
        torch.testing.assert_close(mine, losses, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradient, gradients, rtol=1e-3, atol=1e-5)


def test_of_the_last_block_only_wanted_tokens_are_run() -> None:
    model, batch = model_of("llama"), LAYOUTS["left"]()
    sizes: dict[int, list[int]] = {}
    with ExitStack() as stack:
        for index, block in enumerate(model.anatomy.blocks):
            handle = block.mlp.register_forward_hook(
                lambda _m, args, _o, at=index: sizes.setdefault(at, []).append(args[0].shape[1])
            )
            stack.callback(handle.remove)
        frozen = record(model, batch, [1])
        sizes.clear()
        places = SteeringMask.of(batch, select(batch, "all"), in_time=True)
        steered_rows(model, frozen, SteeringVector(0), arms(model, 2), places)
    width = int(batch.ids.shape[1])
    wanted = width - int(batch.rows[:, 1].min())
    assert sizes == {1: [width], 2: [width], 3: [wanted]}
    assert wanted < width


@pytest.mark.parametrize(("positions", "first"), [("all", 0), ("span", len(BEGINNING) - 4)])
def test_a_common_beginning_runs_once_per_arm(positions: str, first: int) -> None:
    model, batch = model_of("llama"), LAYOUTS["begins alike"]()
    run: list[int] = []
    frozen = record(model, batch, [1])
    places = SteeringMask.of(batch, select(batch, positions), in_time=True)
    handle = model.anatomy.blocks[1].mlp.register_forward_hook(
        lambda _m, args, _o: run.append(args[0].shape[0] * args[0].shape[1])
    )
    try:
        steered_rows(model, frozen, SteeringVector(0), arms(model, 2), places)
    finally:
        handle.remove()
    at, width = batch.prefix, int(batch.ids.shape[1])
    assert run == [2 * (at - first), 2 * batch.size * (width - at)]


@pytest.mark.parametrize(("positions", "first"), [("all", 0), ("other", 1)])
def test_a_prompt_runs_once_for_all_its_answers(positions: str, first: int) -> None:
    model, batch = model_of("llama"), LAYOUTS["answers of prompts"]()
    prompts, at, width = 3, batch.prefix, int(batch.ids.shape[1])
    assert (batch.size, at, width) == (6, 11, 15)
    run: list[int] = []
    handle = model.anatomy.blocks[1].mlp.register_forward_hook(
        lambda _m, args, _o: run.append(args[0].shape[0] * args[0].shape[1])
    )
    try:
        frozen = record(model, batch, [1])
        places = SteeringMask.of(batch, select(batch, positions), in_time=True)
        steered_rows(model, frozen, SteeringVector(0), arms(model, 2), places)
    finally:
        handle.remove()
    rests = batch.size * (width - at)
    assert run == [prompts * at, rests, 2 * prompts * (at - first), 2 * rests]


class _NoSync(TorchDispatchMode):
    """Refuses what makes a program wait for its GPU: reading values, shapes that depend on them."""

    SYNCS = ("_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "masked_select", "equal")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.__name__.split(".")[0]
        assert name not in self.SYNCS, f"{name} waits for the device"
        if name == "index":  # a mask as an index has to be counted first
            assert all(tensor is None or tensor.dtype != torch.bool for tensor in args[1])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("positions", ["all", "last", "span"])
def test_no_training_step_waits_for_the_device(positions: str) -> None:
    model, batch = model_of("gemma3_text"), LAYOUTS["left"]()
    choices = [replace_choice(sequence) for sequence in ragged()]
    both = pad(choices, 0)
    for batches in (batch, both):
        frozen = record(model, batches, [1])
        places = SteeringMask.of(batches, select(batches, positions), in_time=True)
        directions = arms(model, 3).requires_grad_()
        optimizer = torch.optim.Adam([directions], lr=0.1, foreach=False)
        with _NoSync():
            rows = steered_rows(model, frozen, SteeringVector(0, positions), directions, places)
            losses = stacked_losses(model, [batches] * 3, rows)
            losses.sum().backward()
        optimizer.step()
    with pytest.raises(AssertionError, match="waits"), _NoSync():
        float(losses.detach().sum())


def replace_choice(sequence: TokenSequence) -> TokenSequence:
    """The same line, asked for one option of three."""
    choice = TokenSequence(sequence.ids, sequence.prompt_length, dict(sequence.spans), items=1)
    choice.options.append((sequence.prompt_length - 1, (5, 6, 7), 1))
    return choice
