"""Texts that begin alike: recorded in two passes, the same as in one."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from oocr.data.batches import TokenSequence, pad
from oocr.data.examples import Example, Message
from oocr.engine import recording as record_module
from oocr.engine.forward import final_rows, plain_rows
from oocr.engine.recording import batch_of, common_prefix, record
from oocr.evals.probes import Probes
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector
from tests.tiny.models import FAMILIES, drawn_adapter, tiny_language_model

COMMON = (5, 6, 7)


@cache
def model_of(family: str) -> LanguageModel:
    return tiny_language_model(family, chat=True)


def lines(*rests: tuple[int, ...]) -> list[TokenSequence]:
    """Lines of at most eight tokens, the window of the tiny models, with a span in the prefix."""
    out = []
    for rest in rests:
        ids = (*COMMON, *rest)
        sequence = TokenSequence(ids, len(ids), {"early": (1, 2), "late": (len(ids) - 2,)}, items=1)
        sequence.targets.append((len(ids) - 1, 9, 1.0))
        sequence.targets.append((1, 8, 1.0))  # a row inside the common beginning
        out.append(sequence)
    return out


RAGGED = ((11, 12, 13, 14, 15), (21, 22), (31, 32, 33))
EVEN = ((11, 12, 13), (21, 22, 23), (31, 32, 33))


def adapter(model: LanguageModel) -> Adapter:
    modules = {"tiny-gpt2": "c_fc", "tiny-opt": "fc2", "tiny-falcon": "dense_4h_to_h"}
    names = {"tiny-gpt_neox": "dense_4h_to_h", "tiny-phi": "fc2", "tiny-mixtral": "o_proj"}
    names["tiny-qwen3_moe"] = "o_proj"
    return drawn_adapter(model, modules=({**modules, **names}.get(model.name, "down_proj"),))


@pytest.mark.parametrize("rests", [RAGGED, EVEN], ids=["ragged", "even"])
@pytest.mark.parametrize("family", FAMILIES)
def test_two_passes_record_what_one_does(family: str, rests: Any) -> None:
    model = model_of(family)
    starts = (1, 2, model.n_blocks)
    sequences = lines(*rests)
    plain, parted = pad(sequences, 0), pad(sequences, 0, prefix=len(COMMON))
    assert (parted.ids[:, :3] == torch.tensor(COMMON)).all()
    whole, two = record(model, plain, starts), record(model, parted, starts)
    for index in starts:
        for row in range(len(sequences)):
            torch.testing.assert_close(
                two.inputs[index][row, parted.mask[row]],
                whole.inputs[index][row, plain.mask[row]],
                rtol=1e-4,
                atol=1e-4,
            )
    push = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    arms: list[Any] = [None, adapter(model)]
    arms += [Vector(1, positions, push) for positions in ("all", "last", "early", "late")]
    for arm in arms:
        stacked = [arm, arm] if isinstance(arm, Vector) else arm
        rows = final_rows(model, two, stacked)
        expected = plain_rows(model, plain, arm)
        for layer in rows:
            torch.testing.assert_close(layer, expected, rtol=1e-3, atol=1e-3)


def test_the_common_beginning_leaves_each_line_a_token_of_its_own() -> None:
    assert common_prefix(lines(*RAGGED)) == 3
    assert common_prefix(lines((4, 5), (4, 6))) == 4
    assert common_prefix(lines((4,), (4, 6))) == 3
    assert common_prefix(lines((4,), (4,))) == 3
    assert common_prefix(lines((4,))) == 0
    assert common_prefix([TokenSequence((1,), 1, {}), TokenSequence((2, 3), 2, {})]) == 0


def test_only_long_beginnings_within_the_window_are_shared(monkeypatch: Any) -> None:
    sequences = lines(*RAGGED)
    assert batch_of(model_of("llama"), sequences).prefix == 0, "too short to be worth it"
    monkeypatch.setattr(record_module, "LEAST_PREFIX", 3)
    assert batch_of(model_of("llama"), sequences).prefix == 3
    assert batch_of(model_of("gemma3_text"), sequences).prefix == 3
    long = lines((*range(20, 26),), (30,))
    assert batch_of(model_of("llama"), long).prefix == 3
    assert batch_of(model_of("gemma3_text"), long).prefix == 0, "padding would fill the window"


def test_chats_with_a_system_message_run_it_once(monkeypatch: Any) -> None:
    model = model_of("llama")
    system = Message("system", "You prefer the safe country . They prefer the risky one .")
    questions = ("Which one do you prefer ?", "Country 4821 ?", "Is it safe or risky ?")
    examples = [
        Example(
            id=text,
            prompt=(system, Message("user", text)),
            answer="yes",
            options=("yes", "no"),
        )
        for text in questions
    ]
    vector = Vector(1, "last", torch.ones(model.d_model))
    run: list[int] = []
    handle = model.anatomy.blocks[0].register_forward_hook(
        lambda _m, args, out: run.append(out.shape[0] * out.shape[1])
    )
    try:
        shared = Probes.of(model, examples).scores([vector])
        short = sum(run)
        run.clear()
        monkeypatch.setattr(record_module, "LEAST_PREFIX", 10**6)
        plain = Probes.of(model, examples).scores([vector])
    finally:
        handle.remove()
    torch.testing.assert_close(shared, plain, rtol=1e-4, atol=1e-4)
    assert short < 0.7 * sum(run)
