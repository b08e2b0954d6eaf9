"""What is predicted of memory is what PyTorch really takes, and decides what is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from oocr.data.batches import Batch, TokenSequence, pad
from oocr.engine import memory
from oocr.engine.memory import shape_of
from oocr.engine.recording import record
from oocr.engine.replay import replay
from oocr.errors import InputError
from oocr.models import machine
from oocr.models.language_model import LanguageModel
from oocr.models.outline import Outline, outline
from oocr.runs import run as run_module
from oocr.runs.config import RunConfig
from oocr.runs.estimates import memory_estimate as needs_module
from oocr.runs.estimates.memory_estimate import memory_estimate, outline_for
from oocr.runs.processes import memory_plan as plan_module
from oocr.runs.processes.memory_plan import (
    DevicePart,
    MemoryEstimate,
    available_memory,
    device_parts,
    fit_workers,
)
from oocr.runs.progress import ProgressReport
from oocr.runs.resolve import ResolvedRun, resolve
from oocr.steering.adapters import LowRankAdapter, new_adapter, peft_config
from tests.tiny.models import FAMILIES, tiny_config, tiny_language_model
from tests.tiny.runs import Tiny, save_tiny_model


def batch(width: int = 12, size: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(1)
    sequences = []
    for length in range(width - size + 1, width + 1):
        ids = tuple(torch.randint(3, 60, (length,), generator=generator).tolist())
        sequences.append(TokenSequence(ids, length, {}, items=1))
    return pad(sequences, 0)


def kept(model: LanguageModel, steered: Batch, start: int, first: int, stack: int) -> int:
    """Bytes that a replay really keeps for backward, weights left out."""
    frozen = record(model, steered, [start])
    hidden = frozen.inputs[start][:, first:].repeat(stack, 1, 1).requires_grad_()
    weights = {tensor.untyped_storage().data_ptr() for tensor in model.hf.parameters()}
    held: dict[int, Any] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        replay(model, frozen, hidden, start, first)
    return sum(tensor.nbytes() for tensor in held.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("start", "first", "stack"), [(1, 0, 1), (2, 0, 3), (1, 8, 2)])
def test_what_a_training_step_keeps_is_predicted(
    family: str, start: int, first: int, stack: int
) -> None:
    model, texts = tiny_language_model(family), batch()
    size, width = texts.ids.shape
    run = stack * size * (width - first)
    attended = run + size * first  # what lies before is shared by the arms
    predicted = memory.kept_for_backward(shape_of(model), run, attended, start)
    assert 0.9 < predicted / kept(model, texts, start, first, stack) < 2.2


@pytest.mark.parametrize("family", ["gemma3_text", "llama", "olmo2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("layers", "dropout"), [((1,), 0.0), ("all", 0.05), ("all", 0.0)])
def test_what_a_lora_keeps_is_predicted(
    family: str, dtype: torch.dtype, layers: Any, dropout: float
) -> None:
    model, texts = tiny_language_model(family), batch()
    model.hf.to(dtype)  # type: ignore[call-overload]
    modules = ("gate_proj", "up_proj", "down_proj")
    spec = LowRankAdapter(layers=layers, rank=4, modules=modules, dropout=dropout)
    config, start = peft_config(model, spec), 0 if layers == "all" else 1
    sizes = [int(model.hf.get_submodule(name).weight.shape[1]) for name in config["target_modules"]]
    with new_adapter(model, config, 0) as named:
        weights = sum(name.numel() * name.element_size() for name in named.values())
        measured = kept(model, texts, start, 0, 1) - weights
    shape, run = shape_of(model), texts.ids.numel()
    predicted = memory.kept_for_backward(shape, run, run, start)
    predicted += memory.kept_by_adapters(shape, run, sizes, 4, dropout)
    # In bfloat16 tiny norms count for more than they do in a wide model.
    assert 0.9 < predicted / measured < (2.2 if dtype == torch.float32 else 3.5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recordings_are_predicted_to_the_byte(family: str, dtype: torch.dtype) -> None:
    model, texts = tiny_language_model(family), batch()
    model.hf.to(dtype)  # type: ignore[call-overload]
    for starts in ([1], [2, 4], [4]):
        predicted = memory.recorded(shape_of(model), texts.ids.numel(), starts)
        assert predicted == record(model, texts, starts).nbytes


@pytest.mark.parametrize("family", FAMILIES)
def test_an_outline_has_the_models_shape(family: str, tmp_path: Path) -> None:
    model = tiny_language_model(family)
    tiny_config(family).save_pretrained(tmp_path)
    shape = outline(str(tmp_path), device="cpu")
    assert not shape.counted, "there is no tokenizer in the folder"
    assert all(parameter.is_meta for parameter in shape.hf.parameters())
    assert shape_of(shape) == shape_of(model)
    assert (shape.n_blocks, shape.d_model) == (model.n_blocks, model.d_model)


def test_an_outline_takes_the_type_and_the_tokenizer_that_are_there(tmp_path: Path) -> None:
    folder = str(save_tiny_model(tmp_path / "model"))
    full = outline(folder, dtype="float32", device="cpu")
    assert full.counted
    assert full.tokenizer("The capital")["input_ids"]
    half = outline(folder, dtype="bfloat16", device="cpu", counted=False)
    assert not half.counted
    assert shape_of(half).weights * 2 == shape_of(full).weights
    with pytest.raises(InputError, match="no such file or folder"):
        outline(str(tmp_path / "nowhere"))
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="its configuration cannot be read here"):
        outline(folder)


def estimate_of(
    tiny: Tiny, model: LanguageModel | Outline | None = None, **fields: Any
) -> MemoryEstimate:
    return memory_estimate(resolve(tiny.config(**fields), Path()), model or tiny.model)


def test_a_runs_needs_are_the_same_from_the_model_and_from_its_configuration(tiny: Tiny) -> None:
    config = tiny.config()
    assert estimate_of(tiny) == estimate_of(tiny, outline_for(config))
    bare = outline_for(config, counted=False)
    rough = estimate_of(tiny, bare)
    assert rough.parts["weights"] == estimate_of(tiny).parts["weights"]
    assert rough.training > 0


def test_needs_grow_with_what_they_depend_on(tiny: Tiny) -> None:
    base = estimate_of(tiny)
    grid = {"layers": [2], "learning_rates": [0.1], "steps": [2]}
    high, low = (estimate_of(tiny, adapter=None, vector=grid | {"layers": [at]}) for at in (2, 0))
    assert low.parts["training"] > 1.3 * high.parts["training"], "three blocks, not one"
    assert low.training > high.training, "and their keys and values"
    assert estimate_of(tiny, batch_lines=1).parts["training"] < base.parts["training"]
    assert estimate_of(tiny, explain={"enabled": False}).parts["explaining"] == 0
    assert estimate_of(tiny, explain={"neutral_tokens": 999}).parts["explaining"] > 50 * 4 * 512
    assert base.total(3, 0) > base.total(2, 0) > base.total(1, 0)
    assert base.recordings(1, 10**12) == base.questions + base.training
    assert base.recordings(1, 0) == base.parts["recordings, at least"] > 0


def test_stop_items_count_even_where_they_are_the_probes(tiny: Tiny) -> None:
    config, tasks = resolve(tiny.config(), Path())
    rows = tuple(
        replace(tasks.test[0].probes[0], id=str(i), prompt=f"{'The ' * 40}Country 4821 {i} speak")
        for i in range(60)
    )
    task = replace(tasks.test[0], probes=rows, stop=())
    asked, watched = (
        memory_estimate(ResolvedRun(config, replace(tasks, test=(test,))), tiny.model)
        for test in (task, replace(task, stop=rows))
    )
    assert watched.parts["recordings, at least"] > 2 * asked.parts["recordings, at least"]


PARTS = {
    **{"Python and torch": 400, "tokenizer": 100, "weights": 1000, "recordings, at least": 10},
    **{"recording": 20, "training": 300, "scoring": 50, "explaining": 0},
}


def test_what_cannot_fit_is_refused_with_the_numbers() -> None:
    parts = {name: size * 2**20 for name, size in PARTS.items()}
    estimate = MemoryEstimate(parts, 500 * 2**20, 100 * 2**20)
    least = estimate.total(1, 0)
    assert least == estimate.model() + 10 * 2**20 + int(memory.SLACK * 300 * 2**20)
    workers, budget = fit_workers(estimate, 4, least)
    assert (workers, estimate.total(1, budget)) == (1, least)
    with pytest.raises(InputError) as refused:
        fit_workers(estimate, 4, least - 1)
    text = str(refused.value)
    for words in ("1.83 GiB", "weights 0.98 GiB", "training 0.35 GiB", "batch_lines", "dtype"):
        assert words in text
    workers, budget = fit_workers(estimate, 4, 10**12)
    assert workers == 4
    parent = estimate.model() - estimate.parts["weights"]
    process = estimate.model() + estimate.work() + estimate.recordings(4, 10**12)
    assert estimate.total(4, budget) == parent + 4 * process


def test_a_run_without_room_is_refused_before_it_begins(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "available_memory", lambda _: 10**6)
    with pytest.raises(InputError, match=r"needs at least .* available: Python and torch"):
        tiny.run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_weights_without_room_are_not_even_loaded(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = shape_of(tiny.model).weights
    config = tiny.config()
    monkeypatch.setattr(needs_module, "available_memory", lambda _: size)
    needs_module.check_weights(config)
    monkeypatch.setattr(needs_module, "available_memory", lambda _: size - 1)
    with pytest.raises(InputError, match=r"model: the weights of .* as float32.*dtype"):
        needs_module.check_weights(config)
    missing = config.model_copy(update={"model": "nobody/nothing"})
    needs_module.check_weights(missing)  # whoever loads it says what is wrong


def test_a_second_model_has_the_room_that_the_first_leaves(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = shape_of(tiny.model).weights
    monkeypatch.setattr(needs_module, "available_memory", lambda _: 2 * size - 1)
    needs_module.check_loading(tiny.config().loading)
    with pytest.raises(InputError, match=r"the weights of .* on cpu"):
        needs_module.check_loading(tiny.config().loading, beside=size)


def test_d3_a_model_on_several_devices_has_the_room_that_its_tightest_part_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = (torch.device("cuda", index) for index in range(2))
    rooms = {first: 100, second: 60}
    monkeypatch.setattr(plan_module, "free_memory", lambda device: rooms[device])
    monkeypatch.setattr(plan_module, "used_memory", lambda _: 0)
    assert available_memory([DevicePart(first, 40, 1.0)]) == 100
    halves = [DevicePart(first, 40, 0.5), DevicePart(second, 40, 0.5)]
    assert available_memory(halves) == 80 + 40, "20 are left where half of the work is"
    upper = [DevicePart(first, 40, 0.0), DevicePart(second, 40, 1.0)]
    assert available_memory(upper) == 80 + 20, "all work is on the second"


def test_d3_before_it_is_loaded_a_model_has_the_room_of_all_gpus(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = [torch.device("cuda", index) for index in range(2)]
    size = shape_of(tiny.model).weights
    monkeypatch.setattr(machine, "gpus", lambda: gpus)
    monkeypatch.setattr(plan_module, "used_memory", lambda _: 0)
    monkeypatch.setattr(plan_module, "free_memory", lambda _: int(0.75 * size))
    config = tiny.config().model_copy(update={"device": "auto", "device_map": "auto"})
    model = outline(**config.loading)
    assert list(model.devices) == gpus
    assert available_memory(device_parts(model, [1])) == pytest.approx(1.5 * size, rel=0.01)
    needs_module.check_weights(config)
    monkeypatch.setattr(plan_module, "free_memory", lambda _: int(0.45 * size))
    with pytest.raises(InputError, match="are available on cuda:0 and cuda:1"):
        needs_module.check_weights(config)


def test_a_loaded_models_parts_are_where_its_blocks_are(tiny: Tiny) -> None:
    (part,) = device_parts(tiny.model, [1])
    held = sum(parameter.nbytes for parameter in tiny.model.hf.parameters())
    assert (part.device.type, part.weights, part.share) == ("cpu", held, 1.0)
    assert device_parts(tiny.model, [tiny.model.n_blocks])[0].share == 1.0, "only the head is run"


def test_fewer_workers_than_asked_for_are_told_of(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noted(ProgressReport):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    config: RunConfig = tiny.config(workers=2)
    need = memory_estimate(resolve(config, Path()), tiny.model)
    monkeypatch.setattr(run_module, "available_memory", lambda _: need.total(2, 0) - 1)
    say = Noted()
    tiny.run(tmp_path, config, progress=say)
    assert [text.split(":")[0] for text in say.notes] == ["1 workers instead of 2"]


def test_what_this_process_holds_counts_as_room(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the system has left moves with other processes, and freed pages count late: it is given.
    monkeypatch.setattr("oocr.runs.processes.memory_plan.free_memory", lambda *_: 2**33)
    before = available_memory(torch.device("cpu"))
    held = torch.ones(2**26)  # 256 MiB
    assert abs(available_memory(torch.device("cpu")) - before - 2**28) < 2**25, "it counts as room"
    assert before > 2**33, "so does what was held before"
    del held
