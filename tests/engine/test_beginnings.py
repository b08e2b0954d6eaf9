"""Recordings of no more than is read: the same as whole ones, as far as they go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from oocr.data.batches import pad
from oocr.engine import selftest
from oocr.engine.beginnings import record_beginning
from oocr.engine.recording import Recording, record
from oocr.engine.training import fit
from oocr.engine.training_batches import TrainingBatches, prepare
from oocr.steering.adapters import LowRankAdapter
from oocr.steering.vectors import SteeringVector
from tests.engine.test_engine import model_of, ragged
from tests.engine.test_exact import LAYOUTS, WINDOWED
from tests.engine.test_training import capital_task
from tests.tiny.models import DEPTH_FAMILIES, FAMILIES, WHOLE_FAMILIES, tiny_language_model


def tensors(value: Any) -> list[Tensor]:
    """The tensors of a block's arguments, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for name in sorted(value) for tensor in tensors(value[name])]
    return [t for part in value for t in tensors(part)] if isinstance(value, list | tuple) else []


def columns_of(recording: Recording) -> set[int]:
    return {int(keys.shape[2]) for keys, _ in recording.keys_values.values()}


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("family", [*FAMILIES, "opt_350m"])
@pytest.mark.parametrize("columns", [0, 1, 4])
def test_a_beginning_is_that_of_the_whole_recording(family: str, columns: int, alike: bool) -> None:
    model, batch = model_of(family), pad(ragged(), 0)
    if alike and family not in WINDOWED:
        batch = LAYOUTS["begins alike"]()
    whole = record(model, batch, {1, 2})
    part = record_beginning(model, batch, {1, 2}, columns)
    assert columns_of(part) == ({columns} if columns else set())
    assert part.inputs.keys() == whole.inputs.keys()
    for block, hidden in part.inputs.items():
        torch.testing.assert_close(hidden, whole.inputs[block])
    assert part.calls.keys() == whole.calls.keys()
    for block, call in part.calls.items():
        assert call.keys() == whole.calls[block].keys()
        pairs = zip(tensors(call), tensors(whole.calls[block]), strict=True)
        assert all(torch.equal(ours, wanted) for ours, wanted in pairs)
    real = batch.mask[:, None, :columns, None]  # what padding has, nobody reads
    for block, pair in part.keys_values.items():
        for ours, wanted in zip(pair, whole.keys_values[block], strict=True):
            torch.testing.assert_close(ours * real, wanted[:, :, :columns] * real)
    assert not any("forward" in vars(block) for block in model.anatomy.blocks)


@pytest.mark.parametrize("family", [*DEPTH_FAMILIES, *WHOLE_FAMILIES])
def test_where_blocks_do_not_allow_it_the_whole_is_recorded(family: str) -> None:
    model, batch = model_of(family), pad(ragged(), 0)
    part, whole = record_beginning(model, batch, {1}, 2), record(model, batch, {1})
    assert columns_of(part) == columns_of(whole)
    assert torch.equal(part.inputs[1], whole.inputs[1])


@pytest.mark.parametrize(("starts", "columns"), [({0}, 2), ({1, 4}, 2), ({1}, 9), ({1}, None)])
def test_a_beginning_that_saves_nothing_is_a_whole_recording(
    starts: set[int], columns: int | None
) -> None:
    model, batch = model_of("llama"), pad(ragged(), 0)
    assert columns_of(record_beginning(model, batch, starts, columns)) == {14}


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2", "falcon", "mixtral"])
def test_loading_a_model_finds_out_that_calls_are_known_ahead(family: str) -> None:
    assert selftest.tested(tiny_language_model(family)).calls_ahead


def test_or_that_they_are_not() -> None:
    model = tiny_language_model("llama")

    def depends(_: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tables = [table + 1e-4 * args[0].mean() for table in kwargs["position_embeddings"]]
        return args, {**kwargs, "position_embeddings": tuple(tables)}

    handle = model.anatomy.blocks[3].register_forward_pre_hook(depends, with_kwargs=True)
    try:
        found = selftest.tested(model)
    finally:
        handle.remove()
    assert found.replays
    assert not found.calls_ahead
    model = replace(model, calls_ahead=False)
    assert columns_of(record_beginning(model, pad(ragged(), 0), {1}, 2)) == {14}


def prepared(positions: list[str] | None) -> TrainingBatches:
    return prepare(model_of("llama"), capital_task(), [1, 2], 2, positions=positions)


def recorded(data: TrainingBatches) -> list[set[int]]:
    """Of each recording, how many columns of keys and values it has."""
    return [columns_of(handle.load(None)) for handle in data.recordings.values()]


@pytest.mark.parametrize(
    "spec", [SteeringVector(1, "codename"), SteeringVector(1, "all"), LowRankAdapter((1,), rank=2)]
)
def test_training_reads_no_more_than_is_recorded(spec: Any) -> None:
    known = [spec.positions] if isinstance(spec, SteeringVector) else []
    losses: list[tuple[float, ...]] = []
    for positions in (None, known, []):
        data = prepared(positions)
        before = recorded(data)
        done = fit(data.model, capital_task(), spec, prepared=data, steps=6)
        losses.append(done.losses)
        after = recorded(data)
        if positions is None:
            widths = [{int(batch.ids.shape[1])} for batch in data.batches]
            assert before == after == widths
        elif positions == known:
            assert before == after, "what was recorded first is enough"
        else:
            assert before == [set()] * len(data.batches)
    torch.testing.assert_close(losses[1:], losses[:1] * 2, rtol=1e-5, atol=1e-5)


def test_a_task_without_the_positions_that_were_told_is_recorded_whole() -> None:
    data = prepared(["elsewhere"])
    assert recorded(data) == [{int(batch.ids.shape[1])} for batch in data.batches]
