"""How many directions a LoRA needs, and whether it can do without its first one.

For a one-layer LoRA d_t = h_adapted[t] - h_base[t] at its block's output.

- `projected_scores`: each d_t is replaced by its projection on the first k right singular vectors
  of the (uncentred) d_t of other text, and the blocks above run as ever. k = 1 still lets the
  length and the sign differ from token to token, which a constant vector does not.
- `scores_without`: what the LoRA adds is projected off a direction u; the model's own
  use of u stays.
- `train_without`: a new LoRA is trained and tested under that projection. If the effect comes back,
  u was one way among several. Compare with the earlier LoRA under the same projection, and with a
  LoRA trained without a random direction, for which nothing should be lost.

Why u is not taken out of the whole stream: the model itself uses what is there. In Gemma-3-270M, at
block 4, the mean over tokens is 95 % of the stream's length and the first token is twelve times as
long as others: taking out a random direction from there on moved the untouched model's predictions
on ten probes by 1.6 to 4.2 nats (KL), a LoRA's first direction by 40. A score under that says what
a broken model answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.examples import Example
from oocr.engine.forward import check_projection, projected_rows, replayed_rows, start_block
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
) -> Float[Tensor, "k item option"]:
    """Option scores with the LoRA's differences projected on the first k directions, for each k.

    k = 0 is the base model.

    Raises:
        InputError: a LoRA in several blocks; a k that the basis does not have.
    """
    if len(adapter.layers) != 1:
        raise InputError(f"adapter: found blocks {adapter.layers}; allowed: one block")
    for count in k:
        if not 0 <= count <= len(basis.vectors):
            raise InputError(f"k: found {count}; allowed: 0 to {len(basis.vectors)}")
    start = start_block(adapter)
    probes = Probes.of(model, examples, starts=(start, start + 1))
    vectors = basis.vectors.to(model.device)
    rows: list[Tensor] = []
    for handle in probes.frozen(start):
        recording = handle.load(None)
        with adapter.on(model):
            adapted = replay(model, recording, recording.inputs[start], start, stop=start + 1)
        base = recording.inputs[start + 1]
        along = (adapted - base).float() @ vectors.T  # [batch, token, k]
        hidden = torch.cat([base + (along[..., :count] @ vectors[:count]).to(base) for count in k])
        rows.append(replayed_rows(model, recording, hidden, start + 1, alike=False))
    return probes.scores_of(rows)


@torch.no_grad()
def scores_without(
    model: LanguageModel,
    examples: Sequence[Example],
    adapter: Adapter,
    directions: Float[Tensor, "k d_model"],
) -> Float[Tensor, "k item option"]:
    """Option scores with what the LoRA adds projected off a direction, for each of several.

    Raises:
        InputError: a LoRA in several blocks, or a direction of another width or of norm 0.
    """
    for direction in directions:
        check_projection(model, adapter.layers, direction)
    start = start_block(adapter)
    probes = Probes.of(model, examples, starts=(start, start + 1))
    rows: list[Tensor] = []
    for handle in probes.frozen(start):
        recording = handle.load(None)
        with adapter.on(model):
            hidden = recording.inputs[start]
            projected = [
                projected_rows(model, recording, hidden, start, direction)
                for direction in directions
            ]
        rows.append(torch.cat(projected))
    return probes.scores_of(rows)


@dataclass(frozen=True, slots=True)
class TrainedWithout:
    """A LoRA that was trained to do without a direction.

    Attributes:
        adapter: the LoRA; alone it may add something along the direction that it never used.
        losses: of training, nats per item.
        cosine: |cos| of its first direction, as it is alone, with the one it did without.
        cosine_used: the same of its first direction with the projection: how far u is gone.
        rows: one row per probe and in-context test item (`part`), with the projection.
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
    """Train a one-block LoRA to do without a direction (of any norm but 0), and score it so.

    The arguments after `direction` are as `fit` takes them.

    Raises:
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
    alone, used = cosines_without(model, task, adapter, direction)
    table = task_rows_without(model, task, adapter, direction)
    return TrainedWithout(adapter, done.losses, alone, used, table)


def task_rows_without(
    model: LanguageModel, task: Task, adapter: Adapter, direction: Float[Tensor, " d_model"]
) -> pl.DataFrame:
    """One row per item scored, with what the LoRA adds projected off the direction."""
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
    u = direction.double() / direction.double().norm()
    alone = basis_of(adapter, [texts], 1).vectors[0].double()
    d = joined([texts], adapter).double()
    kept = d - (d @ u)[:, None] * u
    used = torch.linalg.svd(kept, full_matrices=False).Vh[0]
    return float(cosines_to(alone[None], u).abs()), float(cosines_to(used[None], u).abs())
