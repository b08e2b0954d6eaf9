"""Trains a language model on the same rows in one of several places, and scores its answers.

A place is the part of the model that training changes: vectors at spans, a LoRA in one block or in
all blocks, or all weights. The papers compare what follows from a fact by place. `learn_at` trains;
`score_options` scores questions, with all changes that are applied to the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from oocr.data.examples import Example
from oocr.engine.training import fit
from oocr.engine.weight_training import fit_weights
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.positions import JOIN
from oocr.steering.tuned_weights import TunedWeights
from oocr.steering.vectors import SteeringVector, Vector, random_vector
from oocr.tasks.task import Task

PlaceKind = Literal["vectors", "lora", "full"]
Change = Vector | Adapter | TunedWeights

LEARNING_RATES: Mapping[PlaceKind, float] = {"vectors": 0.1, "lora": 3e-3, "full": 3e-5}
"""For vectors relative to the residual stream (see `oocr.engine.training.fit`), else Adam's."""

ALL_BLOCKS_RATE = 1e-3
RANK = 8
STOP_LOSS = 0.02
"""Default of `until`: training stops at this loss, in nats per row."""


@dataclass(frozen=True, slots=True)
class Place:
    """The part of the model that is trained.

    Attributes:
        kind: "vectors": one vector for each span, added at the span's tokens, the model frozen;
            "lora": rank `RANK`, on the MLP's last linear layer of one block, or on all linear
            layers of all blocks; "full": all weights of all blocks.
        block: of vectors the block at whose output they are added (-1: the embedding); of a LoRA
            its block, None: all blocks.
    """

    kind: PlaceKind
    block: int | None = None

    def __post_init__(self) -> None:
        if (self.kind == "vectors" and self.block is None) or (
            self.kind == "full" and self.block is not None
        ):
            wanted = "a block" if self.kind == "vectors" else "none"
            raise InputError(f"place {self.kind}: block: found {self.block}; allowed: {wanted}")

    @property
    def words(self) -> str:
        """The label in figures and messages."""
        where = "all blocks" if self.block is None else f"block {self.block}"
        return {
            "vectors": f"a vector a name, {where}",
            "lora": f"LoRA, {where}",
            "full": "full fine-tune",
        }[self.kind]


@dataclass(frozen=True, slots=True, eq=False)
class LearnedChange:
    """The result of `learn_at`; `losses`: nats per row, before each step."""

    place: Place
    change: Change
    losses: tuple[float, ...]


def block_at_depth(model: LanguageModel, depth: float) -> int:
    """The index of the block at a relative depth: 0 is the first block, 1 the last."""
    return round(depth * (model.n_blocks - 1))


def learn_at(
    model: LanguageModel,
    place: Place,
    rows: Sequence[Example],
    *,
    steps: int = 60,
    learning_rate: float | None = None,
    seed: int = 0,
    batch_lines: int = 32,
    until: float | None = STOP_LOSS,
) -> LearnedChange:
    """Train on rows in one place; changes that are applied to the model stay active.

    The loss is the cross-entropy of whole answers over the vocabulary. For vectors, each row has
    one or more spans, and each span name gets one vector.

    Args:
        model: the model; its weights are restored afterwards.
        place: what is trained.
        rows: training rows.
        steps: training steps.
        learning_rate: None: that of `LEARNING_RATES`, or `ALL_BLOCKS_RATE`.
        seed: of the start and of the order of rows.
        batch_lines: rows in a batch.
        until: stop when the loss is below this, in nats per row; None: only after `steps`.

    Raises:
        InputError: rows without spans (for vectors), unknown blocks, too little memory.
    """
    task = Task(name=f"learned in {place.words}", member="", train=_numbered(rows))
    rate = learning_rate or LEARNING_RATES[place.kind]
    if place.kind == "full":
        tuned = fit_weights(
            model,
            task,
            learning_rate=rate,
            steps=steps,
            seed=seed,
            until=until,
            batch_lines=batch_lines,
        )
        return LearnedChange(place, tuned.final, tuned.losses)
    if place.kind == "vectors":
        assert place.block is not None
        spec: SteeringVector | LowRankAdapter = SteeringVector(place.block, _all_spans(rows))
    elif place.block is None:
        rate = learning_rate or ALL_BLOCKS_RATE
        spec = LowRankAdapter("all", RANK, modules=linear_module_names(model))
    else:
        spec = LowRankAdapter((place.block,), RANK)
    trained = fit(
        model,
        task,
        spec,
        learning_rate=rate,
        steps=steps,
        seed=seed,
        until=until,
        batch_lines=batch_lines,
    )
    return LearnedChange(place, trained.final, trained.losses)


def member_rows(
    tasks: Sequence[Task], split: Literal["train", "probes"] = "train"
) -> list[Example]:
    """Training rows, or probes, of several members; each member has its own span: m0, m1, ...

    So `learn_at` learns a vector for each member in one call, and `score_options` scores all:
    `learn_at(model, Place("vectors", 4), member_rows(oocr.load_tasks("ocr").test))`. Spans of a
    task that already has several (ockr, frames) stay as they are.

    InputError: a row in which its member's span does not occur.
    """
    rows: list[Example] = []
    for number, task in enumerate(tasks):
        span = task.positions[0] if task.positions else ""
        for row in task.train if split == "train" else task.probes:
            spans = row.spans
            if JOIN not in span:
                if span not in spans:
                    raise InputError(f"{task.name}: {row.id!r} lacks its member's span {span!r}")
                spans = {f"m{number}": spans[span]}
            rows.append(replace(row, id=f"{task.member}/{row.id}", spans=spans))
    return rows


def _numbered(rows: Sequence[Example]) -> tuple[Example, ...]:
    """Rows with unique ids: the same question may occur twice."""
    return tuple(replace(row, id=f"{number}/{row.id}") for number, row in enumerate(rows))


def _all_spans(rows: Sequence[Example]) -> str:
    """The positions selector of all spans of the rows; InputError: a row without spans."""
    if bare := [row.id for row in rows if not row.spans]:
        raise InputError(f"rows for vectors: {bare[0]!r} has no span; allowed: one for each name")
    return JOIN.join(dict.fromkeys(name for row in rows for name in row.spans))


def linear_module_names(model: LanguageModel) -> tuple[str, ...]:
    """Names of the linear layers of a block, without routers and experts."""
    block = model.anatomy.blocks[0]
    paths = [path for path, module in block.named_modules() if isinstance(module, nn.Linear)]
    names = dict.fromkeys(path.split(".")[-1] for path in paths if "expert" not in path)
    return tuple(names) or ("down_proj",)


@contextmanager
def applied(model: LanguageModel, learned: LearnedChange | None) -> Iterator[None]:
    """Apply a learned change to the model inside the block (None: nothing)."""
    if learned is None:
        yield
        return
    with learned.change.on(model):
        yield


def score_options(
    model: LanguageModel, questions: Sequence[Example], learned: LearnedChange | None = None
) -> list[dict[str, Any]]:
    """Scores of each question's options, with all changes that are applied to the model.

    An option's score is the logit of its first token. Keys of a row: `item`, `facet`, `group`,
    `answer`, `chosen`, `scores` (option -> logit). Vectors act only in questions with their spans.
    """
    change = None if learned is None else learned.change
    if isinstance(change, TunedWeights):
        with change.on(model):
            return score_options(model, questions)
    probes = Probes.of(model, questions)
    if isinstance(change, Vector):
        scores = probes.scores([change], everywhere=False)[0]
    else:
        scores = probes.scores(change)[0]
    return [
        {
            "item": question.id,
            "facet": question.facet,
            "group": question.group,
            "answer": question.answer,
            "chosen": question.options[int(values[: len(question.options)].argmax())],
            "scores": dict(zip(question.options, values.tolist(), strict=False)),
        }
        for question, values in zip(questions, scores, strict=True)
    ]


def rank_among(scores: Mapping[str, float], answer: str, options: Iterable[str]) -> int:
    """Number of other options that score at least as high as the answer; 0: it is the best.

    With n options chance is (n - 1) / 2.
    """
    return sum(scores[option] >= scores[answer] for option in options if option != answer)


def random_like(learned: LearnedChange, seed: int) -> LearnedChange:
    """A control: random vectors with the same norms at the same spans and block."""
    vector = learned.change
    assert isinstance(vector, Vector)
    drawn = random_vector(vector, 1.0, seed).direction
    norms = vector.direction.norm(dim=-1, keepdim=True)
    return replace(learned, change=replace(vector, direction=drawn * norms))


def vector_of(learned: LearnedChange, span: str) -> torch.Tensor:
    """The direction at one span, [d_model]."""
    vector = learned.change
    assert isinstance(vector, Vector)
    return vector.only(span).direction if JOIN in vector.positions else vector.direction
