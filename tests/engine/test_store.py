"""Recordings within a budget: in memory, on disk or made again, the numbers are the same."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, pad
from oocr.data.examples import Example
from oocr.engine import recording_cache
from oocr.engine.recording import Recording, record
from oocr.engine.recording_cache import (
    RecordingCache,
    RecordingHandle,
    Tier,
    record_shared,
    tiers,
)
from oocr.engine.replay import replay
from oocr.engine.trainable import ArmSpec, Spec
from oocr.engine.training import fit_all
from oocr.engine.training_batches import prepare
from oocr.evals.probes import Probes
from oocr.models import machine
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task
from tests.tiny.models import tiny_language_model

WORDS = ("capital", "city", "Parliament", "euro", "yen", "Violin", "Mango")


def batches(count: int, size: int = 3) -> list[Batch]:
    out = []
    for index in range(count):
        generator = torch.Generator().manual_seed(index)
        sequences = []
        for length in (9, 12, 11)[:size]:
            ids = tuple(torch.randint(3, 60, (length,), generator=generator).tolist())
            sequence = TokenSequence(ids, length, {"span": (2, 3)}, items=1)
            sequence.targets.append((length - 1, 5, 1.0))
            sequences.append(sequence)
        out.append(pad(sequences, 0))
    return out


def with_budget(budget: int, folder: Path) -> RecordingCache:
    return RecordingCache([Tier(budget)], folder)


def equal(a: Recording, b: Recording) -> None:
    assert list(a.inputs) == list(b.inputs)
    assert list(a.keys_values) == list(b.keys_values)
    pairs = [(a.inputs[i], b.inputs[i]) for i in a.inputs]
    for i, pair in a.keys_values.items():
        pairs += zip(pair, b.keys_values[i], strict=True)
    for tensor, other in pairs:
        assert tensor.dtype == other.dtype
        assert torch.equal(tensor, other)
    for index, call in a.calls.items():
        for name, value in call.items():
            torch.testing.assert_close(value, b.calls[index][name], rtol=0, atol=0)


def on_disk(handle: RecordingHandle) -> bool:
    return handle.stored.held is not None and handle.stored.tier == len(handle.store.memory)


def keep_all(
    model: LanguageModel,
    store: RecordingCache,
    texts: list[Batch],
    starts: tuple[int, ...] = (2, 4),
) -> list[RecordingHandle]:
    return [record_shared(model, batch, starts, store) for batch in texts]


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt_neox", "mixtral"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_comes_back_from_disk_is_what_was_recorded(
    family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = tiny_language_model(family)
    model.hf.to(dtype)  # type: ignore[call-overload]
    texts = batches(4)
    store = with_budget(0, tmp_path)
    kept = keep_all(model, store, texts)
    assert [on_disk(handle) for handle in kept] == [True, True, True, False], "the latest is used"
    assert list(tmp_path.iterdir()) == [], "a file has no name, so that nobody has to remove it"
    for batch, handle in zip(texts, kept, strict=True):
        equal(handle.load(None), record(model, batch, (2, 4)))
        assert handle.load(None).batch is batch


def test_a_replay_keeps_no_tensors_of_a_recording_that_left_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_cache, "on_disk", full)
    model = tiny_language_model()
    handle = keep_all(model, with_budget(0, tmp_path), batches(2))[0]
    loaded = handle.load(None)
    replay(model, loaded, loaded.inputs[2], 2)
    left = weakref.ref(loaded.inputs[2])
    del loaded
    gc.collect()
    assert left() is None


def test_memory_stays_within_its_budget_and_the_oldest_leaves_first(tmp_path: Path) -> None:
    model, texts = tiny_language_model(), batches(6)
    size = record(model, texts[0], (2, 4)).nbytes
    store = with_budget(3 * size, tmp_path)
    kept: list[RecordingHandle] = []
    for batch in texts:
        kept.append(record_shared(model, batch, (2, 4), store))
        kept[0].load(None)  # used all the time
        assert size <= store.held() <= 3 * size
    in_memory = [not on_disk(handle) for handle in kept]
    assert in_memory == [True, False, False, False, True, True]
    assert kept[0].load(None).inputs is kept[0].load(None).inputs, "nothing is done to it"


def test_the_latest_stays_even_where_there_is_no_budget(tmp_path: Path) -> None:
    model = tiny_language_model()
    (handle,) = keep_all(model, with_budget(0, tmp_path), batches(1))
    assert handle.load(None) is handle.load(None)
    assert not on_disk(handle)


def test_the_same_tokens_are_recorded_once_and_keep_their_own_targets(tmp_path: Path) -> None:
    model = tiny_language_model()
    store = with_budget(0, tmp_path)
    (batch,) = batches(1)
    twin = pad([TokenSequence((3,) * 5, 5, {}, items=1)], 0)
    again = SimpleNamespace(**{f: getattr(batch, f) for f in batch.__slots__})
    first, other, second = (record_shared(model, b, (2, 4), store) for b in (batch, twin, again))
    assert first.stored is second.stored
    assert first.stored is not other.stored
    assert second.load(None).batch is again
    assert second.load(None).inputs[2].equal(first.load(None).inputs[2])


def full(recording: Recording, folder: Path) -> Recording:
    raise OSError("no space left")


@pytest.fixture(params=["unwritable", "full", "short"])
def refusing(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder that nothing can be spilled to."""
    patch = request.getfixturevalue("monkeypatch")
    if request.param == "full":
        patch.setattr(recording_cache, "on_disk", full)
    elif request.param == "short":
        patch.setattr(recording_cache, "DISK_RESERVE", 10**18)
    else:
        (tmp_path / "file").write_text("in the way")
        return tmp_path / "file"
    return tmp_path


def test_what_the_disk_refuses_is_made_again(refusing: Path) -> None:
    model, texts = tiny_language_model(), batches(3)
    store = with_budget(0, refusing)
    kept = keep_all(model, store, texts)
    assert [handle.stored.held is None for handle in kept] == [True, True, False]
    for batch, handle in zip(texts, kept, strict=True):
        equal(handle.load(None), record(model, batch, (2, 4)))


def test_what_is_made_again_under_an_adapter_is_the_untouched_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_cache, "on_disk", full)
    model, texts = tiny_language_model(), batches(2)
    kept = keep_all(model, with_budget(0, tmp_path), texts, (1, 2, 4))
    spec = LowRankAdapter(layers=(2,), rank=2)
    done = fit_all(model, [ArmSpec(task(), spec, 0.1, 3)], [prepare(model, task(), [2])])[0].final
    assert isinstance(done, Adapter)
    plain = record(model, texts[0], (1, 2, 4))
    with done.on(model):
        assert not torch.equal(record(model, texts[0], (4,)).inputs[4], plain.inputs[4])
        under = kept[0].load(2)
    assert torch.equal(under.inputs[2], plain.inputs[2])
    assert set(under.inputs) == {1, 2}, "what the adapter changes is not there to be mistaken"
    equal(kept[0].load(None), plain)


def task(train: int = 7) -> Task:
    examples = tuple(
        Example(
            id=word,
            prompt=f"The {word} of Country 4821 is",
            answer=" Paris",
            spans={"codename": "Country 4821"},
        )
        for word in WORDS[:train]
    )
    return Task(name="t", member="x", train=examples, positions=("codename",))


SPECS: list[Spec] = [
    SteeringVector(layer=1, positions="codename"),
    SteeringVector(layer=0, positions="last"),
    LowRankAdapter(layers=(1,), rank=2),
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
@pytest.mark.parametrize("arms", [1, 2])
@pytest.mark.parametrize("home", ["disk", "nowhere"])
def test_training_and_scores_are_the_same_bit_for_bit_whatever_the_budget(
    spec: Spec,
    family: str,
    arms: int,
    home: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if home == "nowhere":
        monkeypatch.setattr(recording_cache, "on_disk", full)
    model = tiny_language_model(family)
    asked = [
        Example(id=w, prompt=f"{w} in Country 4821 is", answer=" yes", options=(" yes", " no"))
        for w in WORDS
    ]
    results = []
    for budget in (0, 10**9):
        store = with_budget(budget, tmp_path)
        prepared = prepare(model, task(), [1, 2], 2, store)
        assert len(prepared.batches) == len(prepared.recordings) == 4
        fits = [ArmSpec(task(), spec, 0.05 * (1 + i), 9, 0, (9,)) for i in range(arms)]
        trained = fit_all(model, fits, [prepared] * arms)
        ask = Probes.of(model, asked, store, (1, 2, 4))
        final = [item.final for item in trained]
        scores = [ask.scores(None)]
        for item in final:
            last = (
                item if isinstance(item, Adapter) else [Vector(item.layer, "last", item.direction)]
            )
            scores.append(ask.scores(last))
        out = [on_disk(item) or item.stored.held is None for item in prepared.recordings.values()]
        assert sum(out) == (0 if budget else 4)
        results.append((prepared.scale, [item.losses for item in trained], scores))
    assert results[0][:2] == results[1][:2]
    for item, other in zip(results[0][2], results[1][2], strict=True):
        assert torch.equal(item, other)


def test_a_device_overflows_into_host_memory_and_that_to_disk(tmp_path: Path) -> None:
    """As on a GPU, with a stand-in for its copies."""
    model, texts = tiny_language_model(), batches(5)
    size = record(model, texts[0], (2, 4)).nbytes
    copied: list[str] = []

    def put(tensor: Tensor) -> Tensor:
        copied.append("out")
        return tensor.clone()

    def get(tensor: Tensor, device: torch.device) -> Tensor:
        copied.append(f"to {device}")
        return tensor.to(device, copy=True)

    store = RecordingCache([Tier(2 * size), Tier(size, put, get)], tmp_path)
    kept = keep_all(model, store, texts)
    assert [tensor.stored.tier for tensor in kept] == [2, 2, 1, 0, 0]
    assert (store.held(0), store.held(1)) == (2 * size, size)
    count = len(copied) // 3  # tensors of one recording; three were put into host memory
    assert copied == ["out"] * 3 * count
    copied.clear()
    for batch, tensor in zip(texts, kept, strict=True):
        equal(tensor.load(None), record(model, batch, (2, 4)))
    assert copied == ["to cpu"] * count, "only what lies in host memory is copied"


def test_the_default_is_a_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free = "oocr.engine.recording_cache.free_memory"
    monkeypatch.setattr(free, lambda device=None: 9e9 if device else 3e9)
    assert [tier.budget for tier in tiers(torch.device("cpu"))] == [10**9]
    assert [tier.budget for tier in tiers(torch.device("cpu"), 5)] == [5]
    on_gpu, budgets = torch.device("cuda"), ((), (5,), (5, 7))
    assert [[tier.budget for tier in tiers(on_gpu, *given)] for given in budgets] == [
        [3 * 10**9, 10**9],
        [5, 10**9],
        [5, 7],
    ], "what a run plans for the GPU is for the GPU"


def test_free_memory_heeds_a_containers_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(
        machine.psutil, "virtual_memory", partial(SimpleNamespace, available=8 * 10**9)
    )
    assert machine.free_memory() == 8 * 10**9
    (tmp_path / "memory.current").write_text("5000000000\n")
    (tmp_path / "memory.stat").write_text("anon 4\ninactive_file 1000000000\nactive_file 0\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.free_memory() == 8 * 10**9
    (tmp_path / "memory.max").write_text("6000000000\n")
    assert machine.free_memory() == 2 * 10**9
