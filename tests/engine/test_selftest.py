"""What a model is tested for when it is loaded, and what happens if a test fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from oocr.cli.listing import examine
from oocr.data.batches import TokenSequence, pad
from oocr.engine import selftest
from oocr.engine.forward import final_rows, plain_rows
from oocr.engine.recording import record
from oocr.engine.selftest import load_model, self_test
from oocr.engine.training import fit
from oocr.errors import InputError, RunError
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import SteeringVector, Vector
from tests.engine.test_training import capital_task
from tests.tiny.models import DEPTH_FAMILIES, FAMILIES, WHOLE_FAMILIES, tiny_language_model
from tests.tiny.runs import save_tiny_model

NAMES = ["moves", "cached", "detaches", "replays", "padding"]


@pytest.mark.parametrize("family", [*FAMILIES, "opt_350m"])
def test_every_family_passes_at_every_block(family: str) -> None:
    model = tiny_language_model(family)
    checks = self_test(model, layers=range(-1, model.n_blocks))
    assert [check.name for check in checks] == NAMES + [*NAMES, "mlp"] * model.n_blocks
    failed = [check for check in checks if not check.passed]
    assert not failed
    exact = [check for check in checks if check.name in ("moves", "detaches")]
    assert all(check.error == 0 and check.allowed == 0 for check in exact), "bit for bit"
    assert selftest.tested(model) is model


@pytest.mark.parametrize("family", DEPTH_FAMILIES)
def test_a_family_without_reusable_keys_is_replayed_in_depth(
    family: str, recwarn: pytest.WarningsRecorder
) -> None:
    model = selftest.tested(tiny_language_model(family))
    assert model.replays
    assert not model.reuses_keys
    assert not [warning for warning in recwarn if "the whole model" in str(warning.message)]
    checks = self_test(model, layers=range(-1, model.n_blocks))
    assert not [check for check in checks if not check.passed]


@pytest.mark.parametrize("family", WHOLE_FAMILIES)
def test_a_family_that_cannot_be_replayed_runs_whole_with_a_warning(family: str) -> None:
    model = tiny_language_model(family)
    failed = [check.name for check in self_test(model) if not check.passed]
    assert failed == ["replays"]
    with pytest.warns(UserWarning, match="run the whole model"):
        whole = selftest.tested(model)
    assert not whole.replays
    sequences = [
        TokenSequence((5, 6, 7, 8, 9)[:size], size, {"span": (1, 2)}, items=1) for size in (5, 4)
    ]
    for sequence in sequences:
        sequence.targets.append((len(sequence.ids) - 1, 3, 1.0))
    batch = pad(sequences, 0)
    frozen = record(whole, batch, [2])
    for positions in ("all", "last", "span"):
        vectors = [Vector(1, positions, torch.full((32,), size)) for size in (0.5, -2.0)]
        for check, rows in zip(vectors, final_rows(whole, frozen, vectors), strict=True):
            torch.testing.assert_close(rows, plain_rows(model, batch, check), rtol=1e-4, atol=1e-5)
    task = capital_task()
    trained = fit(whole, task, SteeringVector(1, "last"), steps=3)
    assert trained.losses[-1] < trained.losses[0]


@contextmanager
def _row_0_only(
    vector: Vector, model: LanguageModel, tokens: torch.Tensor | None = None
) -> Iterator[None]:
    """The classic fault: a hook that takes a tensor for a tuple."""

    def after(_module: Any, _args: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        if tokens is not None:
            hidden[0] += tokens[0, : hidden.shape[1], None] * vector.direction
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = model.anatomy.blocks[vector.layer].register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _stays(
    vector: Vector, model: LanguageModel, tokens: torch.Tensor | None = None
) -> Iterator[None]:
    weight = next(model.anatomy.blocks[vector.layer].parameters())
    weight.data += 1e-3
    yield


def test_steering_that_is_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_language_model("llama")
    with monkeypatch.context() as patch:
        patch.setattr(Vector, "on", _row_0_only)
        with pytest.raises(InputError, match="cannot be steered: not true that the stream moves"):
            selftest.tested(model)
    with monkeypatch.context() as patch:
        patch.setattr(Vector, "on", _stays)
        checks = {check.name: check for check in self_test(model)}
    assert not checks["detaches"].passed
    assert checks["detaches"].error > 0


def test_an_exception_is_a_failure_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise ValueError("no such thing\nand more")

    monkeypatch.setattr(selftest, "record", broken)
    model = tiny_language_model("llama")
    check = next(candidate for candidate in self_test(model) if candidate.name == "replays")
    assert not check.passed
    assert check.trouble == "ValueError: no such thing"
    with pytest.warns(UserWarning, match="ValueError: no such thing"):
        assert not selftest.tested(model).replays


def test_the_doctor_passes_on_a_hybrid(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_tiny_model(tmp_path / "model", family="qwen3_5")
    examine(str(folder), dtype="float32")
    output = capsys.readouterr().out
    assert "all checks passed" in output
    assert "for whole texts" in output


def test_memory_that_runs_out_says_nothing_about_the_family(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(selftest, "record", full)
    with pytest.raises(torch.OutOfMemoryError):
        self_test(tiny_language_model())


def test_loading_tests_the_model(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny_model(tmp_path / "model")
    assert load_model(folder).replays
    checks = examine(str(folder), dtype="float32")
    output = capsys.readouterr().out
    assert len(checks) == 5 * 5 + 4
    assert "all checks passed" in output
    assert "5 of 5" in output
    monkeypatch.setattr(Vector, "on", _row_0_only)
    with pytest.raises(InputError, match="cannot be steered"):
        load_model(folder)
    with pytest.raises(RunError, match="checks failed"):
        examine(str(folder), dtype="float32")
    assert "✗ the stream moves" in capsys.readouterr().out
