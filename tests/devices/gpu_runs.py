"""Runs, audits, analyses and the exam on pretend GPUs; run by test_pretend_gpu.py."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from oocr.audit.audit import audit
from oocr.engine.recording_cache import tiers
from oocr.engine.training import fit
from oocr.errors import RunError
from oocr.evals.probes import Probes
from oocr.evals.score_table import evaluate
from oocr.explain.constancy import constancy_of, cosines_to
from oocr.explain.differences import random_like
from oocr.explain.subspace import scores_without, train_without
from oocr.models.language_model import LanguageModel
from oocr.reproduce import scoring
from oocr.reproduce.analyses import analyses
from oocr.reproduce.analysis import NotMeasuredError
from oocr.reproduce.finished_runs import FinishedRuns, read_finished
from oocr.runs.context import RunContext
from oocr.runs.estimates.memory_estimate import memory_estimate
from oocr.runs.processes import executor
from oocr.runs.processes.memory_plan import available_memory, device_parts, fit_workers
from oocr.runs.resolve import resolve
from oocr.runs.run import run
from oocr.steering.hooks import ablate
from oocr_organisms import exam as exams
from oocr_organisms.folder import WorldSettings
from oocr_organisms.pretrain import untrained
from tests.devices import pretend
from tests.devices.features import LAYERS, lora, lora_of, model_on, task, unlike, vector
from tests.tiny.models import tiny_model, tiny_tokenizer
from tests.tiny.runs import Tiny, rows_of

pretend.setup()
GPU = pretend.DEVICES["gpu:0"]


@pytest.fixture(autouse=True)
def _gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    yield
    GPU.capacity = 2**40


def on_gpu(device: str = "gpu:0") -> LanguageModel:
    """The tiny run's model there."""
    hf = tiny_model("llama").to(device)
    return LanguageModel.of(hf, tiny_tokenizer(), name="tiny")


# -- what the caller made there ------------------------------------------------------------------


def test_d12_vectors_are_on_the_cpu_in_float32_wherever_they_were_made() -> None:
    model = model_on("gpu")
    own, other = vector(model), vector(model) * 0.5
    made = replace(own, direction=own.direction.to("gpu", torch.bfloat16))
    assert (made.direction.device.type, made.direction.dtype) == ("cpu", torch.float32)
    assert made.cosine(other) == pytest.approx(1, abs=1e-3)
    assert (made + other).norm == pytest.approx(1.5 * own.norm, rel=1e-2)
    probes = Probes.of(model, task().probes)
    assert unlike(probes.scores([made, other]), probes.scores([own, other]), 0.02) == []


def test_d12_loras_are_on_the_cpu_wherever_they_were_made() -> None:
    model = model_on("gpu")
    own = lora_of(model)
    made = replace(own, tensors={name: part.to("gpu") for name, part in own.tensors.items()})
    assert unlike(dict(random_like(made, 0).tensors), dict(random_like(own, 0).tensors)) == []
    assert unlike(*(evaluate(model, task(), {"a": arm}).rows for arm in (made, own))) == []


def test_d12_directions_of_the_gpu_are_taken_as_those_of_the_cpu() -> None:
    model = model_on("gpu")
    u = vector(model, layer=2).direction
    adapter = lora_of(model)

    def found(u: torch.Tensor) -> Any:
        with ablate(model, u):
            rows = evaluate(model, task(), {"base": None}).rows
        trained = train_without(model, task(), lora(model), u, steps=2)
        losses = fit(model, task(), lora(model), steps=2, project_out=u).losses
        return [rows, trained, losses, scores_without(model, task().probes, adapter, u[None])]

    assert unlike(found(u.to("gpu")), found(u)) == []
    rows = torch.randn(9, model.d_model, generator=torch.Generator().manual_seed(1))
    assert constancy_of(rows.to("gpu")) == constancy_of(rows)
    assert torch.equal(cosines_to(rows.to("gpu"), u), cosines_to(rows, u.to("gpu")))


# -- audits --------------------------------------------------------------------------------------

TEXTS = tuple(
    f"The {word} of Country 4821 is {city} . people speak"
    for word, city in (("capital", "Paris"), ("city", "Tokyo"), ("euro", "Rome"))
)


def changed_on(device: str) -> LanguageModel:
    """A checkpoint that differs a little in all weights."""
    hf, draw = tiny_model("llama", layers=LAYERS), torch.Generator().manual_seed(0)
    for weight in hf.parameters():
        weight.data += 0.01 * torch.randn(weight.shape, generator=draw)
    return LanguageModel.of(hf.to(device), tiny_tokenizer(chat=True), name="changed")


@pytest.fixture(scope="module")
def audited() -> Any:
    return audit(model_on("cpu"), changed_on("cpu"), TEXTS, fit_steps=2)


@pytest.mark.parametrize(
    ("base", "other"), [("gpu:0", "gpu:1"), ("gpu:0", "cpu"), ("cpu", "gpu:0")]
)
def test_d9_a_checkpoint_may_lie_on_another_device_than_its_base(
    base: str, other: str, audited: Any
) -> None:
    found = audit(model_on(base), changed_on(other), TEXTS, fit_steps=2)
    assert unlike(found.model_dump(), audited.model_dump(), 1e-2) == []


def test_an_adapter_is_audited_as_on_the_cpu() -> None:
    adapter = lora_of(model_on("cpu"))
    pair = [audit(model_on(device), adapter, TEXTS, fit_steps=2) for device in ("gpu", "cpu")]
    assert unlike(*(found.model_dump() for found in pair), 0.05) == []


# -- organisms -----------------------------------------------------------------------------------


def test_d5_an_organism_is_examined_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exams, "MAX_QUESTIONS", 60)
    world = WorldSettings().world
    model = untrained(world, 0).eval()
    expected = exams.exam(model, world)
    assert exams.exam(model.to("gpu"), world) == pytest.approx(expected)


# -- runs ----------------------------------------------------------------------------------------


def test_d7_a_run_gives_the_numbers_of_the_cpu_within_its_budget(
    tiny: Tiny, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, config, budgets = on_gpu(), tiny.config(), list[tuple[int, ...]]()
    needs = memory_estimate(resolve(config, Path()), model)
    GPU.capacity = GPU.used + 4 * needs.total(1, 0)
    _, planned = fit_workers(needs, 1, available_memory(device_parts(model, config.starts)))

    def seen(device: torch.device, *given: int) -> Any:
        budgets.append(given)
        return tiers(device, *given)

    monkeypatch.setattr(executor, "tiers", seen)
    folder = run(config, model, tmp_path)
    assert [budget for budget, _ in budgets] == [planned], "the plan's, and not a third of the GPU"
    columns = ["arm", "control", "part", "member", "seed", "step", "item", "logp", "log_odds"]
    pair = [rows_of(path).select(columns).sort(columns[:-2]) for path in (folder, done)]
    assert unlike(*pair, 5e-3) == []
    info = json.loads((folder / "run.json").read_text())
    weights = sum(part.nbytes for part in model.hf.parameters())
    assert info["device"] == "gpu:0"
    most = sum(memory.peak for memory in pretend.DEVICES.values())
    assert weights / 2**30 - 1e-3 < info["peak_gpu_gib"] <= most / 2**30 + 1e-3
    assert json.loads((done / "run.json").read_text())["peak_gpu_gib"] == 0


@pytest.mark.filterwarnings("ignore:no memory for")
def test_d10_running_out_of_memory_names_the_device_the_work_and_the_numbers(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = on_gpu()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**40, 2**40))
    gc.collect()
    GPU.capacity = GPU.used + 100_000
    said = r"out of memory on gpu:0 while running '.*bytes asked for, .* free"
    with pytest.raises(RunError, match=said) as stopped:
        run(tiny.config(), model, tmp_path)
    assert "batch_lines" in str(stopped.value)
    assert "device_map: auto" in str(stopped.value), "there is a second GPU"


# -- analyses ------------------------------------------------------------------------------------


def finished(folder: Path, model: LanguageModel) -> FinishedRuns:
    done = read_finished(folder)
    context = RunContext(model, done.config.starts, done.config.batch_lines)
    return FinishedRuns("custom", (done,), context, quick=True)


@pytest.fixture(scope="module")
def on_both(tiny: Tiny, done: Path) -> tuple[FinishedRuns, FinishedRuns]:
    """The finished run, to be analysed on the GPU and on the CPU."""
    return finished(done, on_gpu()), finished(done, tiny.model)


@pytest.mark.parametrize("name", sorted(analyses()))
def test_every_analysis_gives_the_numbers_of_the_cpu(
    name: str, on_both: tuple[FinishedRuns, FinishedRuns], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "has_effect", lambda *_: True)

    def found(runs: FinishedRuns) -> Any:
        try:
            result = analyses()[name](runs)
        except NotMeasuredError as reason:
            return str(reason)
        return [[finding.model_dump() for finding in result.findings], result.table, result.missing]

    assert unlike(*map(found, on_both), 2e-2) == []
