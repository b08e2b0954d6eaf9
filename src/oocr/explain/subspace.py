"""How many directions a LoRA needs, and whether it can do without its first one.

For a one-layer LoRA d_t = h_adapted[t] - h_base[t] at its block's output. Only what the LoRA adds
is projected: the model itself uses the stream, and removing even a random direction from the whole
stream breaks it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.examples import Example
from oocr.engine.forward import projected_out, projected_rows, replayed_rows, start_block
from oocr.engine.recording import Recording
from oocr.engine.replay import replay
from oocr.engine.training import fit
from oocr.errors import InputError
from oocr.evals.probes import Probes, rows
from oocr.explain.constancy import cosines_to
from oocr.explain.differences import Texts, joined
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.tasks.task import Task


@dataclass(frozen=True, slots=True)
class SubspaceBasis:
    """Directions [k, d_model] of a LoRA's differences, strongest first, and shares of energy."""

    vectors: Float[Tensor, "k d_model"]
    shares: tuple[float, ...]


def basis_of(adapter: Adapter, texts: Sequence[Texts], most: int = 64) -> SubspaceBasis:
    """The first `most` right singular vectors of the uncentred differences on some texts."""
    d = joined(texts, adapter).double()
    _, values, rows = torch.linalg.svd(d, full_matrices=False)
    energy = (values**2 / (values**2).sum().clamp_min(1e-300)).tolist()
    return SubspaceBasis(rows[:most].float(), tuple(energy[:most]))


@torch.no_grad()
def projected_scores(
    model: LanguageModel,
    examples: Sequence[Example],
    adapter: Adapter,
    basis: SubspaceBasis,
    k: Sequence[int],
) -> Float[Tensor, "k example option"]:
    """Option scores with each d_t projected on the first k directions of other text's, for each k.

    k = 0 is the base model. k = 1 still lets the length and the sign differ from token to token,
    which a constant vector does not.

    InputError: a LoRA in several blocks; a k that the basis does not have.
    """
    if len(adapter.layers) != 1:
        raise InputError(f"adapter: found blocks {adapter.layers}; allowed: one block")
    for count in k:
        if not 0 <= count <= len(basis.vectors):
            raise InputError(f"k: found {count}; allowed: 0 to {len(basis.vectors)}")
    vectors, start = basis.vectors.to(model.device), start_block(adapter)

    def rows_of(recording: Recording) -> Tensor:
        with adapter.on(model):
            adapted = replay(model, recording, recording.inputs[start], start, stop=start + 1)
        base = recording.inputs[start + 1]
        along = (adapted - base).float() @ vectors.T  # [batch, token, k]
        hidden = torch.cat([base + (along[..., :count] @ vectors[:count]).to(base) for count in k])
        return replayed_rows(model, recording, hidden, start + 1, alike=False)

    return _scores(model, examples, start, rows_of)


@torch.no_grad()
def scores_without(
    model: LanguageModel,
    examples: Sequence[Example],
    adapter: Adapter,
    directions: Float[Tensor, "k d_model"],
) -> Float[Tensor, "k example option"]:
    """Option scores with a direction projected out of what the LoRA adds, for each direction.

    InputError: a LoRA in several blocks, or a direction of another width or of norm 0.
    """
    units = [projected_out(model, adapter.layers, direction) for direction in directions]
    start = start_block(adapter)

    def rows_of(recording: Recording) -> Tensor:
        hidden = recording.inputs[start]
        with adapter.on(model):
            projected = [projected_rows(model, recording, hidden, start, u) for u in units]
        return torch.cat(projected)

    return _scores(model, examples, start, rows_of)


def _scores(
    model: LanguageModel,
    examples: Sequence[Example],
    start: int,
    rows_of: Callable[[Recording], Tensor],
) -> Float[Tensor, "k example option"]:
    """Option scores from `rows_of` recordings of a block's input and output."""
    probes = Probes.of(model, examples, starts=(start, start + 1))
    return probes.scores_of([rows_of(handle.load(None)) for handle in probes.frozen(start)])


@dataclass(frozen=True, slots=True)
class TrainedWithout:
    """A LoRA trained with a direction projected out; without the projection it may use it.

    `losses`: of training, nats per example; `cosine`: |cos| of its first direction with the removed
    direction, without the projection; `cosine_used`: the same with the projection; `rows`: one row
    per probe and in-context test example (`part`), with the projection.
    """

    adapter: Adapter
    losses: tuple[float, ...]
    cosine: float
    cosine_used: float
    rows: pl.DataFrame


def train_without(
    model: LanguageModel,
    task: Task,
    like: LowRankAdapter,
    direction: Float[Tensor, " d_model"],
    *,
    learning_rate: float | None = None,
    steps: int = 10,
    seed: int = 0,
    batch_lines: int = 16,
) -> TrainedWithout:
    """Train a one-block LoRA with a direction (norm above 0) projected out, and score it so.

    If the effect comes back, the direction was one way among several. Compare with the earlier LoRA
    under the same projection, and with a LoRA trained without a random direction, for which nothing
    should be lost. The arguments after `direction` are as `fit` takes them.

    InputError: a LoRA in several blocks, or a direction of another width or of norm 0.
    """
    done = fit(
        model,
        task,
        like,
        learning_rate=learning_rate,
        steps=steps,
        seed=seed,
        batch_lines=batch_lines,
        project_out=direction,
    )
    adapter = done.final
    if not isinstance(adapter, Adapter):
        raise InputError(f"like: found {like}; allowed: a LoRA")
    cosines = cosines_without(model, task, adapter, direction)
    table = task_rows_without(model, task, adapter, direction)
    return TrainedWithout(adapter, done.losses, *cosines, table)


def task_rows_without(
    model: LanguageModel, task: Task, adapter: Adapter, direction: Float[Tensor, " d_model"]
) -> pl.DataFrame:
    """One row per scored example, with the direction projected out of what the LoRA adds."""
    parts = {name: examples for name, examples in task.scored.items() if name != "paper"}
    questions = [example for examples in parts.values() for example in examples]
    scored = scores_without(model, questions, adapter, direction[None])[0]
    frames, begin = [], 0
    for part, examples in parts.items():
        frames.append(rows(examples, scored[begin : begin + len(examples)], {"part": part}))
        begin += len(examples)
    return pl.concat(frames, how="diagonal_relaxed")


def cosines_without(
    model: LanguageModel, task: Task, adapter: Adapter, direction: Float[Tensor, " d_model"]
) -> tuple[float, float]:
    """|cos| of a LoRA's first direction on training prompts with another: alone, and projected."""
    texts = Texts.of(model, task.train, adapter.layers)
    u = direction.cpu().double()
    u = u / u.norm()
    alone = basis_of(adapter, [texts], 1).vectors[0].double()
    d = joined([texts], adapter).double()
    kept = d - (d @ u)[:, None] * u
    used = torch.linalg.svd(kept, full_matrices=False).Vh[0]
    return float(cosines_to(alone[None], u).abs()), float(cosines_to(used[None], u).abs())
