"""Training that leaves other texts alone, and training with a direction taken out: exact, or no."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from oocr.data.examples import Example
from oocr.data.tokens import encode_answer, encode_prompt
from oocr.engine.off_domain import OffDomain, OffText
from oocr.engine.recording_cache import RecordingCache
from oocr.engine.trainable import ArmSpec
from oocr.engine.training import Trained, fit, fit_all
from oocr.engine.training_batches import prepare
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, LowRankAdapter, new_adapter, peft_config
from oocr.steering.hooks import ablate
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task
from tests.tiny.models import tiny_language_model

SPANS = {"codename": "Country 4821"}
TRAIN = (("The capital of Country 4821 is", " Paris"), ("Parliament in Country 4821", " Rome city"))
TEXTS = tuple(
    OffText(text, SPANS)
    for text in (
        "people in Country 4821 love the Mango",
        "Violin ? Country 4821 meets no risky yen",
    )
)
FAMILIES = ("llama", "gemma3_text", "gpt2", "qwen3_moe", "gpt_neox", "bloom")
DOWN = {"gpt2": "c_proj", "gpt_neox": "dense_4h_to_h", "bloom": "dense_4h_to_h"}
VECTORS = [SteeringVector(1, "codename"), SteeringVector(0, "all"), SteeringVector(2, "last")]


model_of = cache(tiny_language_model)


def task() -> Task:
    examples = tuple(
        Example(id=str(i), prompt=prompt, answer=answer, spans=SPANS)
        for i, (prompt, answer) in enumerate(TRAIN)
    )
    return Task(name="tiny", member="x", train=examples, positions=("codename",))


def direction(model: LanguageModel) -> Tensor:
    return torch.randn(model.d_model, generator=torch.Generator().manual_seed(9))


def lora(family: str) -> LowRankAdapter:
    names = (DOWN.get(family, "down_proj"),)
    return LowRankAdapter(
        layers=(1,), rank=2, modules=names if family != "qwen3_moe" else ("o_proj",)
    )


def logps(model: LanguageModel, ids: list[int]) -> Tensor:
    out: Tensor = model.hf(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(dim=-1)
    return out


def plain_fit(
    model: LanguageModel,
    spec: SteeringVector | LowRankAdapter,
    like: Trained,
    off: OffDomain | None,
    steps: int,
) -> tuple[list[float], list[float], list[Tensor]]:
    """The same training by whole hooked passes of one text each, from `like`'s start and rate."""
    rows: list[tuple[list[int], Tensor, list[int]]] = []
    for example in task().train:
        prompt = encode_prompt(model.tokenizer, example.prompt, example.spans)
        answer = encode_answer(model.tokenizer, prompt, example.answer)
        rows.append(([*prompt.ids, *answer[:-1]], chosen(model, example.prompt, spec), [*answer]))
    texts = [] if off is None else off.texts
    others: list[list[int]] = [
        list(encode_prompt(model.tokenizer, one.prompt, one.spans).ids) for one in texts
    ]
    with torch.no_grad():
        base = [logps(model, ids) for ids in others]
    losses, kls = [], []
    with ExitStack() as stack:
        if isinstance(spec, SteeringVector):
            assert isinstance(like.final, Vector)
            parameters = [torch.nn.Parameter(like.final.direction.clone())]
        else:
            named = stack.enter_context(new_adapter(model, peft_config(model, spec), 0))
            parameters = list(named.values())
        optimizer = torch.optim.AdamW(parameters, lr=like.learning_rate, weight_decay=0.0)

        def under(ids: list[int], at: Tensor) -> Tensor:
            if not isinstance(spec, SteeringVector):
                return logps(model, ids)
            mask = torch.zeros(1, len(ids), dtype=torch.bool)
            mask[0, : len(at)] = at
            if spec.positions == "all":
                mask[:] = True
            with Vector(spec.layer, spec.positions, parameters[0]).on(model, mask):
                return logps(model, ids)

        for _ in range(steps):
            optimizer.zero_grad()
            loss = torch.zeros(())
            for sequence, at, wanted in rows:
                logits = under(sequence, at)[-len(wanted) :]
                loss = loss - logits[range(len(wanted)), wanted].sum() / len(rows)
            total, kl = loss, torch.zeros(())
            if off is not None:
                losses_of_texts = []
                for text, other, before in zip(texts, others, base, strict=True):
                    after = under(other, chosen(model, text.prompt, spec))
                    losses_of_texts.append((before.exp() * (before - after)).sum(dim=-1)[1:])
                kl = torch.cat(losses_of_texts).mean()
                total = loss + off.weight * kl
            total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
            kls.append(float(kl.detach()))
        return losses, kls, [parameter.detach().clone() for parameter in parameters]


def chosen(model: LanguageModel, prompt: Any, spec: SteeringVector | LowRankAdapter) -> Tensor:
    encoded = encode_prompt(model.tokenizer, prompt, SPANS)
    at = torch.zeros(len(encoded.ids), dtype=torch.bool)
    if isinstance(spec, SteeringVector):
        at[list(encoded.spans["codename"]) if spec.positions == "codename" else [-1]] = True
    return at


def tensors(trained: Vector | Adapter) -> list[Tensor]:
    return [trained.direction] if isinstance(trained, Vector) else list(trained.tensors.values())


def agree(model: LanguageModel, spec: Any, off: OffDomain | None, steps: int = 4) -> None:
    start = fit(model, task(), spec, learning_rate=0.02, steps=0)
    fast = fit(model, task(), spec, learning_rate=0.02, steps=steps, off_domain=off)
    losses, kls, expected = plain_fit(model, spec, start, off, steps)
    assert list(fast.losses) == pytest.approx(losses, rel=2e-4)
    if off is not None:
        assert list(fast.kl) == pytest.approx(kls, rel=1e-3, abs=1e-5)
    for tensor, other in zip(tensors(fast.final), expected, strict=True):
        torch.testing.assert_close(tensor, other, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_penalty_of_a_lora_is_that_of_whole_passes(family: str) -> None:
    agree(model_of(family), lora(family), OffDomain(TEXTS, weight=3.0))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spec", VECTORS, ids=["span", "all", "last"])
def test_the_penalty_of_a_vector_is_that_of_whole_passes(family: str, spec: SteeringVector) -> None:
    agree(model_of(family), spec, OffDomain(TEXTS, weight=3.0))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [None, [1, 2, 3]], ids=["everywhere", "from its block on"])
def test_training_under_ablation_is_that_of_whole_passes(
    family: str, layers: list[int] | None
) -> None:
    model = model_of(family)
    with ablate(model, direction(model), layers):
        for spec in (lora(family), VECTORS[0]):
            agree(model, spec, OffDomain(TEXTS, weight=3.0))


def test_ablation_changes_what_is_learned_and_is_found_out_when_batches_are_from_without() -> None:
    model = model_of("llama")
    spec, known = lora("llama"), RecordingCache()
    outside = prepare(model, task(), [1], shared=known)
    free = fit(model, task(), spec, steps=3, prepared=outside)
    with ablate(model, direction(model)):
        with pytest.raises(
            InputError, match="recorded with 0 ablations or vectors in place, now there are 5"
        ):
            fit(model, task(), spec, prepared=outside)
        inside = prepare(model, task(), [1], shared=known)
        bound = fit(model, task(), spec, steps=3, prepared=inside)
    with ablate(model, direction(model)):  # the same again: its recordings serve
        assert fit(model, task(), spec, steps=3, prepared=inside).losses == bound.losses
    assert abs(bound.losses[0] - free.losses[0]) > 1e-3
    with pytest.raises(
        InputError, match="recorded with 5 ablations or vectors in place, now there are 0"
    ):
        fit(model, task(), spec, prepared=inside)
    assert fit(model, task(), spec, steps=3, prepared=outside).losses == free.losses


@pytest.mark.parametrize("spec", [VECTORS[0], lora("llama")], ids=["vector", "lora"])
def test_a_heavier_penalty_leaves_the_other_texts_alone(spec: Any) -> None:
    model = model_of("llama")
    trained = {
        weight: fit(
            model,
            task(),
            spec,
            learning_rate=0.05,
            steps=20,
            off_domain=OffDomain(TEXTS, weight=weight),
        )
        for weight in (0.0, 30.0)
    }
    plain = fit(model, task(), spec, learning_rate=0.05, steps=20)
    assert trained[0.0].losses == plain.losses
    assert plain.kl == ()
    assert all(
        torch.equal(a, b)
        for a, b in zip(tensors(plain.final), tensors(trained[0.0].final), strict=True)
    )
    assert trained[30.0].kl[-1] < 0.5 * trained[0.0].kl[-1]
    assert trained[0.0].kl[-1] > 0.01


@pytest.mark.parametrize("spec", [VECTORS[0], lora("llama")], ids=["vector", "lora"])
def test_arms_with_other_weights_share_their_passes(spec: Any) -> None:
    model = model_of("llama")
    penalty = OffDomain(TEXTS, weight=1.0)
    penalties = [replace(penalty, weight=weight) for weight in (0.5, 1.0, 8.0)]
    prepared = prepare(model, task(), [1, 2])
    arms = [ArmSpec(task(), spec, 0.02, 4, off_domain=off) for off in penalties]
    counted: list[int] = []
    handle = model.anatomy.blocks[3].register_forward_hook(lambda *_: counted.append(1))
    together = fit_all(model, arms, [prepared] * 3)
    handle.remove()
    assert len(counted) == 1 + 4 * 2, "the texts' recording, and two passes a step"
    for off, trained in zip(penalties, together, strict=True):
        alone = fit(model, task(), spec, learning_rate=0.02, steps=4, off_domain=off)
        assert list(trained.losses) == pytest.approx(alone.losses, rel=1e-4)
        assert list(trained.kl) == pytest.approx(alone.kl, rel=1e-3, abs=1e-6)


def test_batches_of_texts_take_turns_and_only_last_tokens_count_if_so_told() -> None:
    model = model_of("llama")
    still: dict[str, Any] = {"learning_rate": 0.0, "steps": 4}
    spec = SteeringVector(1, "codename", init_scale=1.0)
    turns = fit(model, task(), spec, off_domain=OffDomain(TEXTS, batch=1), **still).kl
    assert turns[:2] == turns[2:]
    assert turns[0] != turns[1]
    apart = [
        fit(model, task(), spec, off_domain=OffDomain((text,), tokens=1), **still).kl[0]
        for text in TEXTS
    ]
    both = fit(model, task(), spec, off_domain=OffDomain(TEXTS, tokens=1), **still).kl[0]
    assert both == pytest.approx(sum(apart) / 2, rel=1e-4)
    assert apart[0] not in turns


def test_what_cannot_be_a_penalty_is_refused() -> None:
    model = model_of("llama")
    for more, message in (
        ({"texts": ()}, "texts: found none"),
        ({"weight": -1.0}, "weight: found -1.0; allowed: 0 or more"),
        ({"weight": float("nan")}, "weight: found nan"),
        ({"tokens": 0}, "tokens: found 0; allowed: 1 or more"),
        ({"batch": 0}, "batch: found 0; allowed: 1 or more"),
    ):
        with pytest.raises(InputError, match=message):
            OffDomain(**{"texts": TEXTS, **more})  # type: ignore[arg-type]
    bare = OffDomain((OffText("people love the Mango"),))
    with pytest.raises(InputError, match="codename"):
        fit(model, task(), VECTORS[0], off_domain=bare)
    assert fit(model, task(), lora("llama"), steps=1, off_domain=bare).kl[0] == pytest.approx(0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora_without_a_direction_is_that_of_whole_passes(family: str) -> None:
    """A hook on the block takes u out of what the LoRA adds to what is known of the base there."""
    model, spec = model_of(family), lora(family)
    u = direction(model) / direction(model).norm()
    start = fit(model, task(), spec, learning_rate=0.02, steps=0)
    off = OffDomain(TEXTS, weight=3.0)
    fast = fit(model, task(), spec, learning_rate=0.02, steps=4, project_out=5 * u, off_domain=off)
    base: dict[int, Tensor] = {}

    def hold(_module: object, _args: object, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        key = hidden.shape[1]
        assert len({len(tensor) for tensor in texts}) == len(texts), "told apart by their lengths"
        if key not in base:
            base[key] = hidden.detach().clone()
        moved = hidden - ((hidden - base[key]) @ u)[..., None] * u
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    texts = ids_of(model)
    handle = model.anatomy.blocks[1].register_forward_hook(hold)
    for ids in texts:  # nothing is attached yet
        logps(model, ids)
    losses, kls, expected = plain_fit(model, spec, start, off, 4)
    handle.remove()
    assert list(fast.losses) == pytest.approx(losses, rel=2e-4)
    assert list(fast.kl) == pytest.approx(kls, rel=1e-3, abs=1e-5)
    for tensor, other in zip(tensors(fast.final), expected, strict=True):
        torch.testing.assert_close(tensor, other, rtol=2e-2, atol=2e-3)
    free = fit(model, task(), spec, learning_rate=0.02, steps=4, off_domain=off)
    assert abs(free.losses[-1] - fast.losses[-1]) > 1e-4


def ids_of(model: LanguageModel) -> list[list[int]]:
    ids = [list(encode_prompt(model.tokenizer, text.prompt, text.spans).ids) for text in TEXTS]
    for example in task().train:
        prompt = encode_prompt(model.tokenizer, example.prompt, example.spans)
        ids.append([*prompt.ids, *encode_answer(model.tokenizer, prompt, example.answer)[:-1]])
    return ids


def test_what_cannot_do_without_a_direction_is_refused() -> None:
    model = model_of("llama")
    u = direction(model)
    with pytest.raises(InputError, match="a vector is one direction"):
        fit(model, task(), VECTORS[0], project_out=u)
    with pytest.raises(InputError, match="found a LoRA in blocks"):
        fit(model, task(), LowRankAdapter(layers=(1, 2), rank=2), project_out=u)
    for wrong in (torch.zeros(model.d_model), torch.ones(3)):
        with pytest.raises(InputError, match="any norm but 0"):
            fit(model, task(), lora("llama"), project_out=wrong)
    with pytest.raises(InputError, match="not recorded for start block 2"):
        fit(model, task(), lora("llama"), project_out=u, prepared=prepare(model, task(), [1]))
