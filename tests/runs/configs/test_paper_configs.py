"""The paper's runs on Gemma-3-12b-it: planned for one GPU, and run with a tiny Gemma-3 instead."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from oocr.models.language_model import LanguageModel
from oocr.models.load import read_model
from oocr.models.outline import Outline, outline
from oocr.runs.config import RunConfig
from oocr.runs.estimates import time_estimate as prediction_module
from oocr.runs.estimates.time_estimate import gpu_of, prediction
from oocr.runs.read_config import PAPER, load_configs, revalidate
from oocr.runs.run import run
from tests.tiny.models import tiny_config, tiny_tokenizer
from tests.tiny.runs import arms_of, claims_of

BLOCKS, TINY_BLOCKS = 48, 6
RUNS = {entry.name: entry for name in PAPER for entry in load_configs(name)}
FEW: dict[str, dict[str, Any]] = {
    "persona": {"situations": 16, "probes": 2},
    "risk_backdoor": {"repeats": 10, "situations": 4, "probes": 2, "self_report": 2},
    "locations": {
        "references": 4,
        "held_out": 4,
        "augmentations": 1,
        "rows": 16,
        "questions": 1,
        "inverse": 1,
    },
    "functions": {"rows": 100, "questions": 1},
}
"""What makes each family's task small."""

WHOLE = (
    "paper-risk-lora-three-modules",
    "paper-risk-vector-block",
    "paper-backdoor-vector-mlp-apples",
    "paper-locations-vector-mlp",
    "paper-functions-lora-all-layers",
)
"""Runs done from end to end: each family, method, site and kind of layers once."""


@pytest.fixture(scope="module")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six blocks: five that slide and one that does not, as in the real model."""
    import torch
    import transformers as tf

    folder = tmp_path_factory.mktemp("gemma")
    config = tiny_config("gemma3_text", layers=TINY_BLOCKS)
    config.layer_types = ["sliding_attention"] * 5 + ["full_attention"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tf.Gemma3ForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer(chat=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(tiny_gemma: Path) -> LanguageModel:
    return read_model(tiny_gemma)


@pytest.fixture(scope="module")
def twelve() -> Outline:
    """The real model's sizes."""
    return outline("google/gemma-3-12b-it", on_gpu=True)


def small(config: RunConfig, model: Path) -> RunConfig:
    """The same run, cut down by its own fields, with the layers of a model an eighth as deep."""
    data = config.model_dump(mode="json")
    data |= {"model": str(model), "device": "cpu", "dtype": "float32", "seeds": 1, "workers": 1}
    data["task"] |= FEW[config.task.family]
    if config.task.family == "risk_backdoor" and data["task"]["validation"]:
        data["task"]["validation"] = 2
    if config.task.family == "locations":
        data["task"]["cities"] = data["task"]["cities"][:2]
    if config.task.family == "functions":
        data["task"]["validation"] = data["task"]["validation"][:1]
    data["batch_lines"], data["accumulate"] = 8, min(2, config.accumulate)
    data["controls"] |= {"random_directions": 1}
    data["explain"] |= {"neutral_tokens": 8, "examples": 1}
    for name in ("vector", "adapter"):
        grid = data[name]
        if grid is None:
            continue
        grid["steps"] = list(range(1, 1 + len(grid["steps"])))
        if grid["layers"] != "all":
            mapped = [layer * TINY_BLOCKS // BLOCKS for layer in grid["layers"]]
            grid["layers"] = sorted({mapped[0], mapped[-1]})
        grid["learning_rates"] = grid["learning_rates"][:1]
        if name == "adapter":
            grid |= {"rank": 2, "alpha": 1}
    return revalidate(data, config.name)


def test_the_paper_has_its_runs() -> None:
    families = {entry.task.family for entry in RUNS.values()}
    assert families == set(FEW)
    for config in RUNS.values():
        assert config.model == "google/gemma-3-12b-it"
        arms = [entry for entry in (config.vector, config.adapter) if entry is not None]
        layers = {layer for entry in arms if entry.layers != "all" for layer in entry.layers}
        assert layers <= set(range(BLOCKS)), config.name
        if config.vector is not None and config.vector.site == "mlp":
            assert config.vector.rates == "absolute", "as the authors had it"
            assert config.vector.init_norm == 1.0
    for family in ("risk", "backdoor", "locations", "functions"):
        configs = [entry for name, entry in RUNS.items() if name.startswith(f"paper-{family}-")]
        sites = {entry.vector.site for entry in configs if entry.vector is not None}
        assert sites == {"mlp", "block"}, "theirs and ours"


@pytest.mark.parametrize("name", WHOLE)
def test_a_run_of_the_paper_goes_from_end_to_end_on_a_tiny_gemma(
    name: str, tiny_gemma: Path, loaded: LanguageModel, tmp_path: Path
) -> None:
    config = small(RUNS[name], tiny_gemma)
    folder = run(config, loaded, tmp_path)
    arms = arms_of(folder)
    assert {entry.method for entry in arms if entry.role == "test"} == {
        method for method in ("vector", "adapter") if getattr(config, method) is not None
    }
    assert all(math.isfinite(loss) for entry in arms for loss in entry.losses)
    assert claims_of(folder)


@pytest.mark.parametrize("name", [entry for entry in RUNS if not entry.endswith(("-re", "-win"))])
def test_a_run_of_the_paper_fits_one_gpu_by_its_plan(
    name: str, twelve: Outline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_module, "outline_for", lambda *_, **__: twelve)
    config = RUNS[name]
    cut = FEW[config.task.family]
    data = config.model_dump(mode="json")
    data["task"] |= {key: value for key, value in cut.items() if key != "validation"}
    for arm in ("vector", "adapter"):  # sweeps are planned layer by layer
        if data[arm] is not None and data[arm]["layers"] != "all":
            data[arm]["layers"] = data[arm]["layers"][::12]
    if config.task.family == "risk_backdoor" and data["task"]["validation"]:
        data["task"]["validation"] = 2
    predicted = prediction(revalidate(data, name), Path(), gpu_of("80GB"))
    assert predicted.model.n_blocks == BLOCKS
    assert 20 < predicted.needs.parts["weights"] / 2**30 < 25
    assert predicted.needs.parts["training"] > 0
    # Predicted from FLOPs and the GPU's data sheet: nothing runs here, and no clock is read.
    assert 0 < predicted.seconds < 1e7
    assert all(math.isfinite(entry.training + entry.scoring) for entry in predicted.work)
    assert predicted.total <= predicted.available, predicted.refusal
    assert not predicted.refusal
