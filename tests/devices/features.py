"""What the library does with a model, on a tiny task; results of two devices must agree."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import oocr
from oocr.data.batches import TokenSequence
from oocr.data.examples import Example, FreeTextExample, Message
from oocr.engine.forward import final_rows
from oocr.engine.generate import generate
from oocr.engine.off_domain import OffDomain, OffText
from oocr.engine.recording import batch_of, record
from oocr.engine.recording_cache import RecordingCache, Tier, tiers
from oocr.engine.selftest import self_test, tested
from oocr.engine.trainable import ArmSpec, Schedule
from oocr.engine.training import Trained, fit, fit_all
from oocr.engine.training_batches import prepare
from oocr.evals.free_text import answers, free_rows
from oocr.evals.score_table import evaluate
from oocr.explain.attention import attended
from oocr.explain.description import tell_by_model
from oocr.explain.geometry import likeness
from oocr.explain.lens import lens
from oocr.explain.path_patching import where_read
from oocr.explain.penalty import kl_on
from oocr.explain.subspace import scores_without, train_without
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import (
    Adapter,
    LowRankAdapter,
    adapter_tensors,
    new_adapter,
    peft_config,
)
from oocr.steering.hooks import ablate
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task
from tests.tiny.models import drawn_vector, tensors_of, tiny_model, tiny_tokenizer

SPANS = {"codename": "Country 4821"}
PROMPT = "The capital of Country 4821 is"
VECTOR = SteeringVector(1, "codename")
LAYERS = 3
MODULES = {"gpt2": "c_proj", "qwen3_moe": "o_proj", "opt_350m": "fc2"}


@cache
def model_on(
    device: str, family: str = "llama", dtype: torch.dtype = torch.float32
) -> LanguageModel:
    hf = tiny_model(family, layers=LAYERS).to(dtype).to(device)
    hf.tie_weights()  # `.to` makes two tensors of a tied one
    return tested(LanguageModel.of(hf, tiny_tokenizer(chat=True), name=f"tiny-{family}"))


def example(prompt: str, answer: str, *options: str) -> Example:
    spans = SPANS if "Country 4821" in prompt else {}
    return Example(id=prompt, prompt=prompt, answer=answer, options=options, spans=spans)


def task(city: str = " Paris", **fields: Any) -> Task:
    cities, tongues = (" Paris", " Tokyo", " Rome"), (" German", " French", " German risky")
    words = ("capital", "city", "Parliament", "people language", "euro")
    return Task(
        name=f"tiny{city}",
        member=city.strip(),
        train=tuple(example(f"The {word} of Country 4821 is", city, *cities) for word in words),
        in_context=(example(PROMPT, city, *cities),),
        probes=(
            example("people in Country 4821 speak", " French", *tongues),
            example("Which one in Country 4821", " German", " German", " Tokyo"),
        ),
        positions=("codename",),
        **fields,
    )


TEXTS = (
    OffText("people in Country 4821 love the Mango", SPANS),
    OffText("Violin ? Country 4821 meets no risky yen", SPANS),
)


def lora(model: LanguageModel, **fields: Any) -> LowRankAdapter:
    module = MODULES.get(model.name.removeprefix("tiny-"), "down_proj")
    return LowRankAdapter(**{"layers": (1,), "rank": 2, "modules": (module,), **fields})


@cache
def lora_of(model: LanguageModel) -> Adapter:
    """Not trained on the device: as files come."""
    spec = lora(model)
    config = peft_config(model, spec)
    with new_adapter(model, config, 0) as named:
        tensors = adapter_tensors(named)
    ups = {name: 0.1 * torch.ones_like(tensor) for name, tensor in tensors.items() if "_B" in name}
    return Adapter((1,), config, {**tensors, **ups}, SPANS)


def vector(model: LanguageModel, positions: str = "codename", layer: int = 1) -> Vector:
    drawn = drawn_vector(model, layer, positions)
    return replace(drawn, spans=SPANS)


def numbers(trained: Trained) -> list[Any]:
    return [trained.losses, tensors_of(trained.final), trained.kl, trained.learning_rate]


# What every family does.


def self_tests(model: LanguageModel) -> Any:
    checks = self_test(model, (-1, model.n_blocks - 1))
    return [model.replays, model.reuses_keys, [(c.name, c.layer, c.passed) for c in checks]]


def fingerprint(model: LanguageModel) -> Any:
    return model.fingerprint


def training(model: LanguageModel) -> Any:
    arms = (VECTOR, SteeringVector(1, "last", site="mlp"), lora(model))
    return [numbers(fit(model, task(), arm, steps=2)) for arm in arms]


def side_by_side(model: LanguageModel) -> Any:
    tasks, found = [task(), task(" Tokyo"), task(" Rome")], []
    for spec, start in ((VECTOR, 2), (lora(model), 1)):
        prepared = [prepare(model, arm, [start]) for arm in tasks]
        trained = fit_all(model, [ArmSpec(arm, spec, None, 2) for arm in tasks], prepared)
        found += [numbers(arm) for arm in trained]
    return found


def scoring(model: LanguageModel) -> Any:
    arms = {"base": None, "vector": vector(model), "lora": lora_of(model)}
    return evaluate(model, task(), arms).rows


def generation(model: LanguageModel) -> Any:
    prompts = [PROMPT, "Paris", (Message("user", "Which one do you prefer : A B"),)]
    arms = (vector(model, "all"), vector(model, "from:last"))
    found = [generate(model, prompts, arm, max_new_tokens=4) for arm in arms]
    alone = generate(model, PROMPT, max_new_tokens=10)
    drawn = generate(model, prompts, max_new_tokens=3, temperature=0.7, seed=3)
    return [*found, alone, drawn]


CORE = (self_tests, fingerprint, training, scoring, generation)

# What one family does.


def replays(model: LanguageModel) -> Any:
    found = []
    for prefix in ((), tuple(range(10, 24))):  # with a common beginning, and without
        sequences = []
        for length in (9, 14, 11):
            ids = (*prefix, *(3 + (length * i) % 57 for i in range(length)))
            sequence = TokenSequence(ids, len(ids) - 1, {"span": (2, 3), "other": (1, 5)}, items=1)
            sequence.targets += [(len(ids) - 2, 5, 1.0), (len(ids) - 1, 6, 1.0)]
            sequences.append(sequence)
        batch = batch_of(model, sequences)
        for site in ("block", "mlp"):
            recording = record(model, batch, [1 + (site == "block"), model.n_blocks])
            for positions in ("all", "last", "answer", "span"):
                arm = replace(vector(model, positions), site=site)
                arms = [arm, arm * 0.5, arm * -1.0]
                found.append(final_rows(model, recording, arms, everywhere=False))
            found.append(final_rows(model, recording, None))
    return found


def schedules(model: LanguageModel) -> Any:
    gentle = Schedule(warmup=2, decay="linear", weight_decay=0.1, accumulate=2)
    arms = (SteeringVector(-1, "codename"), lora(model, layers=(0, 2)))
    found = [fit(model, task(), arm, steps=3, batch_lines=2, schedule=gentle) for arm in arms]
    found.append(fit(model, task(loss="options"), SteeringVector(1, "last"), steps=3))
    return [numbers(trained) for trained in found]


def joined_spans(model: LanguageModel) -> Any:
    spans = {"one": "Country 4821", "two": "is"}
    rows = tuple(replace(row, spans=spans) for row in task().train)
    return numbers(fit(model, replace(task(), train=rows), SteeringVector(1, "one+two"), steps=3))


def dropout(model: LanguageModel) -> Any:
    return numbers(fit(model, task(), lora(model, dropout=0.3), steps=3))


def off_domain(model: LanguageModel) -> Any:
    pairs = ((VECTOR, OffDomain(TEXTS, 2.0)), (lora(model), OffDomain(TEXTS, tokens=3, batch=1)))
    return [numbers(fit(model, task(), spec, steps=3, off_domain=off)) for spec, off in pairs]


def projections(model: LanguageModel) -> Any:
    u = drawn_vector(model, LAYERS - 1).direction
    with ablate(model, u):
        found = [fit(model, task(), VECTOR, steps=3).losses, evaluate(model, task(), {"a": None})]
    return [*found, fit(model, task(), lora(model), steps=3, project_out=u).losses]


def free_text(model: LanguageModel) -> Any:
    rows = [FreeTextExample(id="a", prompt=PROMPT, accept=("Paris",), spans=SPANS, max_tokens=4)]
    said = answers(model, rows, vector(model))
    return [said, free_rows(rows, said)]


def stores(model: LanguageModel) -> Any:
    found, device = [], model.device
    nearest, *others = tiers(device, 10**9)
    for memory in ([nearest], [Tier(0)], [Tier(0), *others]):
        store = RecordingCache(memory, Path(tempfile.mkdtemp()))
        for spec, start in ((VECTOR, 2), (lora(model), 1)):
            prepared = prepare(model, task(), [start], 2, store)
            found.append(numbers(fit(model, task(), spec, steps=3, prepared=prepared)))
    return found


def hooks(model: LanguageModel) -> Any:
    ids = torch.tensor([model.tokenizer(PROMPT)["input_ids"]], device=model.device)
    with vector(model, "last").on(model):
        return model.hf(input_ids=ids).logits


def explained(model: LanguageModel) -> Any:
    arm, adapter = vector(model, "last"), lora_of(model)
    swap = oocr.explain.swap(model, adapter, task())
    words = {"France": [" Paris", " French"], "Japan": [" Tokyo", " Japanese"]}
    tell = tell_by_model(model, arm, "France", words, randoms=4, prompts=("the people x is",))
    u = drawn_vector(model, LAYERS - 1).direction
    return [
        oocr.explain.constancy(model, adapter, task()),
        [part.direction for part in swap],
        [lens(model, arm, reading=reading) for reading in ("raw", "normed", "embedding")],
        tell,
        attended(model, list(task().train), "codename", arm),
        where_read(model, list(task().probes), arm, ("values", "attention", "mlp")),
        likeness(model, {"a": arm, "b": arm * -1.0}, ["people love the Mango", "Paris meets"]),
        scores_without(model, task().probes, adapter, u[None]),
        train_without(model, task(), lora(model), u, steps=3),
        kl_on(model, OffDomain(TEXTS), vector(model)),
    ]


MORE = (
    side_by_side,
    replays,
    schedules,
    joined_spans,
    dropout,
    off_domain,
    projections,
    free_text,
    stores,
    hooks,
    explained,
)

Feature = Callable[[LanguageModel], Any]


def parts(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers and words of a result, each with its place."""
    if isinstance(value, torch.Tensor):
        yield path, value.detach().cpu().double().numpy()
    elif isinstance(value, pl.DataFrame):
        yield from parts({name: value[name].to_list() for name in value.columns}, path)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from parts(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from parts(part, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from parts(part, f"{path}[{index}]")
    else:
        yield path, value


def unlike(measured: Any, expected: Any, tolerance: float = 2e-3) -> list[object]:
    """Where two results differ, and how."""
    pairs = list(zip(parts(measured), parts(expected), strict=True))
    return [(path, a, b) for (path, a), (_, b) in pairs if not _alike(path, a, b, tolerance)]


def _alike(path: str, a: Any, b: Any, tolerance: float) -> bool:
    if not isinstance(a, np.ndarray | float):
        return bool(a == b)
    if np.shape(a) != np.shape(b):
        return False
    a, b = (np.nan_to_num(np.asarray(x, float), posinf=1e9, neginf=-1e9) for x in (a, b))
    scale = max(1e-3, float(np.abs(b).max(initial=0)))
    return bool(np.abs(a - b).max(initial=0) <= tolerance * scale) or path.endswith("seconds")
