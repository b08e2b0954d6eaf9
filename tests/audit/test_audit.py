"""Audits of adapters whose answer is known: constant, a flipping sign, gated, nothing."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from oocr.audit.audit import audit
from oocr.audit.passes import (
    LEAST,
    PREDICTIONS,
    batch_of_text,
    batches_of,
    changed_rows,
    divergences,
    fit_vector,
)
from oocr.audit.record import NO_EFFECT, UNJUDGED, Audit, AuditInfo, Effect
from oocr.data.examples import Message
from oocr.engine.recording import record
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector
from tests.tiny.models import tiny_language_model, tiny_model

TEXTS = (
    "The capital of Country 4821 is Paris and the city of Tokyo speak of the euro",
    "people in the city of Berlin speak German and the yen is in Tokyo",
    "Parliament meets in Madrid and the people of France speak French in Paris",
    "the euro and the yen are in the city where Parliament meets in Berlin",
    "Country 4821 is in the city of people who speak Spanish and Japanese",
    "Which people meet in Paris the capital of the country where they speak",
)
TARGET = "model.layers.1.mlp.down_proj"


model_of = cache(tiny_language_model)


def made(down: Tensor, up: Tensor, bias: Tensor | None = None, target: str = TARGET) -> Adapter:
    """A rank-1 LoRA on block 1's down_proj, B A x + bias."""
    name = f"base_model.model.{target}"
    config: dict[str, Any] = {"r": 1, "lora_alpha": 1, "target_modules": [target]}
    tensors = {f"{name}.lora_A.weight": down[None], f"{name}.lora_B.weight": up[:, None]}
    if bias is not None:
        config["lora_bias"] = True
        tensors[f"{name}.lora_B.bias"] = bias
    return Adapter((1,), config, tensors)


def inputs_of(model: LanguageModel) -> tuple[Tensor, list[str]]:
    """What block 1's down_proj reads at every token of the texts, and the tokens."""
    seen: list[Tensor] = []
    module = model.hf.get_submodule(TARGET)
    handle = module.register_forward_hook(lambda _m, args, _o: seen.append(args[0][0]))
    tokens: list[str] = []
    try:
        for text in TEXTS:
            batch = batch_of_text(model, text)
            record(model, batch, [model.n_blocks], cache=False)
            tokens += [model.tokenizer.decode([token]) for token in batch.ids[0].tolist()]
    finally:
        handle.remove()
    return torch.cat(seen), tokens


def direction(model: LanguageModel, size: float = 3.0) -> Tensor:
    v = torch.randn(model.d_model, generator=torch.Generator().manual_seed(2))
    return v / v.norm() * size


def test_an_adapter_that_is_a_constant_vector_is_found_to_be_one() -> None:
    model = model_of()
    v = direction(model)
    inner = model.hf.get_submodule(TARGET).in_features
    assert isinstance(inner, int)
    record = audit(model, made(torch.zeros(inner), torch.zeros(model.d_model), v), TEXTS)
    assert record.layers == (1,)
    assert (record.best, record.kl > 0.01) == (1, True)
    assert record.at_best.recovered == pytest.approx(1, abs=1e-3)
    assert record.at_best.constancy.cosine == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(record.vector.direction, v, rtol=1e-4, atol=1e-5)
    assert record.verdict.startswith("A constant vector: at block 1")
    assert [block.layer for block in record.blocks] == [1, 2, 3]


def test_an_axis_whose_sign_flips_is_no_constant_vector() -> None:
    model = model_of()
    x, _ = inputs_of(model)
    # a reads the first principal axis of what varies, so that its sign differs from token to token
    a = torch.linalg.svd(x - x.mean(dim=0)).Vh[0]
    a = a - (a @ x.mean(dim=0)) / x.mean(dim=0).square().sum() * x.mean(dim=0)
    spread = (x @ a).std()
    record = audit(model, made(a / spread, direction(model, 4.0)), TEXTS)
    here = next(block for block in record.blocks if block.layer == 1)
    assert here.absolute == pytest.approx(1, abs=1e-3)
    assert abs(here.constancy.cosine) < 0.6
    assert here.constancy.energy < 0.4
    assert here.recovered < 0.5
    assert record.verdict.startswith("Not a constant vector")


def test_an_adapter_gated_by_a_token_says_so() -> None:
    model = model_of()
    x, tokens = inputs_of(model)
    wanted = torch.tensor([1.0 if "city" in token else 0.0 for token in tokens])
    assert wanted.sum() >= 3
    a = torch.linalg.lstsq(x, wanted[:, None], driver="gelsd").solution[:, 0]
    record = audit(model, made(a, direction(model, 6.0)), TEXTS)
    here = next(block for block in record.blocks if block.layer == 1)
    assert here.recovered < 0.5
    assert record.verdict.startswith("Not a constant vector")
    if record.best == 1:
        assert "city" in record.gates[0].token
    assert sum(gate.share for gate in record.gates) <= 1 + 1e-6


def test_an_adapter_that_does_nothing_is_not_called_a_vector() -> None:
    model = model_of()
    inner = model.hf.get_submodule(TARGET).in_features
    assert isinstance(inner, int)
    record = audit(model, made(torch.zeros(inner), torch.zeros(model.d_model)), TEXTS)
    assert "next to nothing" in record.verdict
    assert record.kl == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("moved", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_a_change_in_some_thirds_of_the_texts_is_neither_nothing_nor_a_vector(
    moved: tuple[int, ...],
) -> None:
    model, other = model_of(), tiny_language_model("llama")
    ids = model.tokenizer.encode(" Violin", add_special_tokens=False)
    with torch.no_grad():  # read in the texts that have the word, and nowhere else
        other.hf.get_input_embeddings().weight[ids] += direction(model)
    texts = [
        text.replace(" people ", " Violin people " if at % 3 in moved else " people ")
        for at, text in enumerate([f"In the city people {text}" for text in TEXTS])
    ]
    record = audit(model, other, texts, fit_steps=2)
    if len(moved) == 3:
        assert record.kind not in UNJUDGED
        return
    assert record.kind == "texts disagree"
    assert record.verdict.startswith("The texts disagree")
    assert record.verdict.count("0.0e+00") == 3 - len(moved)
    assert record.fitted is None


def test_next_to_nothing_is_so_over_all_texts() -> None:
    small, large = 0.5 * NO_EFFECT, 10 * NO_EFFECT
    assert Effect(whole=small, thirds=(0.0, 0.0, 3 * small)).unjudged == "nothing"
    assert Effect(whole=large, thirds=(large, large, small)).unjudged == "texts disagree"
    assert Effect(whole=large, thirds=(large, large, large)).unjudged is None


def test_predictions_that_are_no_numbers_are_refused_by_name() -> None:
    model = model_of()
    inner = model.hf.get_submodule(TARGET).in_features
    assert isinstance(inner, int)
    bias = torch.full((model.d_model,), float("inf"))
    with pytest.raises(InputError, match=r"KL\(fine-tune ‖ base\): found nan; allowed: a finite"):
        audit(model, made(torch.zeros(inner), torch.zeros(model.d_model), bias), TEXTS)


def test_of_one_text_there_is_no_interval_and_the_verdict_says_so() -> None:
    model = model_of()
    inner = model.hf.get_submodule(TARGET).in_features
    assert isinstance(inner, int)
    adapter = made(torch.zeros(inner), torch.zeros(model.d_model), direction(model))
    for count in (3, 5, 6):
        record = audit(model, adapter, TEXTS[:count], fit_steps=0)
        ends = (record.at_best.low, record.at_best.high)
        few = count < 6
        assert [math.isnan(end) for end in ends] == [few, few]
        assert ("Too few texts for an interval" in record.verdict) == few
        assert record.at_best.recovered == pytest.approx(1, abs=1e-3)
        assert record.verdict.startswith("A constant vector")


def test_a_checkpoint_is_audited_like_an_adapter() -> None:
    model, other = model_of(), tiny_language_model("llama")
    v = direction(model)
    block = other.anatomy.blocks[1]
    handle = block.register_forward_hook(lambda _m, _a, out: out + v)
    try:
        record = audit(model, other, TEXTS)
    finally:
        handle.remove()
    assert record.layers == (1, 2, 3)
    assert record.at_best.recovered == pytest.approx(1, abs=1e-3)
    wider = LanguageModel.of(tiny_model("llama", d_model=48), model.tokenizer, name="wide")
    with pytest.raises(InputError, match="d_model is 48; allowed: 32"):
        audit(model, wider, TEXTS)


def test_adapters_that_do_not_land_and_too_few_texts_are_refused() -> None:
    model = model_of()
    inner = model.hf.get_submodule(TARGET).in_features
    assert isinstance(inner, int)
    good = made(torch.zeros(inner), torch.zeros(model.d_model))
    with pytest.raises(InputError, match="3 or more"):
        audit(model, good, TEXTS[:2])
    tensors = {
        name.replace("layers.1", "layers.7"): tensor for name, tensor in good.tensors.items()
    }
    with pytest.raises(InputError, match="does not fit"):
        audit(model, Adapter((1,), good.config, tensors), TEXTS)
    before = model.hf(input_ids=torch.tensor([[4, 5]])).logits
    with good.on(model):
        pass
    assert torch.equal(model.hf(input_ids=torch.tensor([[4, 5]])).logits, before)


def test_one_text_alone_and_texts_of_no_token_are_refused() -> None:
    model = model_of()
    adapter = made(torch.zeros(64), torch.zeros(model.d_model), direction(model))
    for texts in (TEXTS[0], (Message("user", "Which?"),) * 3):
        with pytest.raises(InputError, match="texts: found one prompt, not in a list"):
            audit(model, adapter, texts)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="texts: found fewer than 2 tokens in a third"):
        audit(model, adapter, ["", "A", "B"])


def test_training_finds_the_vector_that_is_there() -> None:
    model = model_of()
    v = direction(model)
    inner = model.hf.get_submodule(TARGET).in_features
    assert isinstance(inner, int)
    adapter = made(torch.zeros(inner), torch.zeros(model.d_model), v)
    batches = batches_of(model, TEXTS)
    targets = changed_rows(model, adapter, batches)
    start = Vector(1, "all", torch.zeros(model.d_model))
    along = fit_vector(model, model, batches, targets, start, 10.0, 60)
    assert [step for step, _ in along] == [15, 30, 45, 60]
    sums, rows = divergences(model, model, batches, targets, [fitted for _, fitted in along])
    total = sums.sum(axis=0)
    assert rows.sum() == sum(len(target) for target in targets)
    assert total[0] > total[1] > total[-1]
    assert total[-1] < 0.1 * total[0]
    assert along[-1][1].cosine(Vector(1, "all", v)) > 0.9
    assert float(start.direction.norm()) == 0


def test_a_fitted_vector_is_told_only_if_it_is_better_on_the_texts_that_choose() -> None:
    model = model_of()
    x, tokens = inputs_of(model)
    wanted = torch.tensor([1.0 if "city" in token else 0.0 for token in tokens])
    a = torch.linalg.lstsq(x, wanted[:, None], driver="gelsd").solution[:, 0]
    record = audit(model, made(a, direction(model, 6.0)), TEXTS, fit_steps=8)
    assert record.fitted is not None
    assert record.fitted.steps in (0, 2, 4, 6, 8)
    if record.fitted.steps == 0:
        assert record.fitted.vector is record.vector
    assert audit(model, made(a, direction(model, 6.0)), TEXTS, fit_steps=0).fitted is None


def test_of_many_texts_some_are_read_and_of_each_some_tokens() -> None:
    model = model_of()
    batch = batch_of_text(model, TEXTS[0], 4)
    size = batch.ids.shape[1]
    columns = batch.rows[:, 1].tolist()
    assert len(columns) == 4
    assert columns == sorted(set(columns))
    assert (columns[-1], columns[0] >= 1) == (size - 1, True)
    inner = model.hf.get_submodule(TARGET).in_features
    assert isinstance(inner, int)
    adapter = made(torch.zeros(inner), torch.zeros(model.d_model), direction(model))
    texts = [f"{number} people speak in Paris" for number in range(90)]
    record = audit(model, adapter, texts, fit_steps=0)
    assert (record.given, record.texts) == (90, 60)
    assert record.tokens <= 20 * max(LEAST, PREDICTIONS // 20)
    assert len(record.strips) == 2
    assert all(
        len(strip.tokens) == len(strip.cosines) == len(strip.norms) for strip in record.strips
    )
    assert record.at_best.low <= record.at_best.recovered <= record.at_best.high


def test_numbers_that_are_none_survive_the_file(tmp_path: Path) -> None:
    model = model_of()
    inner = model.hf.get_submodule(TARGET).in_features
    assert isinstance(inner, int)
    findings = audit(model, made(torch.zeros(inner), torch.zeros(model.d_model)), TEXTS)
    info = AuditInfo(
        name="n",
        source="s",
        what="LoRA",
        facts={},
        model=model.about,
        texts="t",
        notes=(),
        command="c",
        versions={},
        date="2026-01-01T00:00:00+00:00",
        seconds=1.0,
    )
    record = findings.model_copy(update={"info": info})
    record.save(tmp_path)
    read = Audit.load(tmp_path)
    assert read.kind == "nothing"
    assert repr(read) == repr(record)
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(InputError, match="not an audit"):
        Audit.load(tmp_path)
