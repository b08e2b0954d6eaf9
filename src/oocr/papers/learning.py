"""The places in which a language model can learn the same rows, and what it answers afterwards.

The question that ties the papers together: where a new fact is written decides what follows from
it. `learn_at` writes rows into one place; `ask` reads off answers, with all that is on the model.
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

Kind = Literal["vectors", "lora", "full"]
Change = Vector | Adapter | TunedWeights

RATES: Mapping[Kind, float] = {"vectors": 0.1, "lora": 3e-3, "full": 3e-5}
"""Of vectors relative to the residual stream (`oocr.engine.training.fit`), else Adam's own."""

ALL_BLOCKS_RATE = 1e-3
RANK = 8
LEARNED = 0.02
"""Training stops at this loss, in nats per row, or after its steps."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where rows are learned.

    Attributes:
        kind: "vectors": one for each span of the rows, at its tokens, the model frozen; "lora": of
            rank 8, on the MLP's last map of one block or on all linear maps of all blocks; "full":
            all weights of all blocks.
        block: of vectors the block at whose output they are added (-1: the embedding's), of a LoRA
            the block that it is in; None: all blocks.
    """

    kind: Kind
    block: int | None = None

    def __post_init__(self) -> None:
        if (self.kind == "vectors" and self.block is None) or (
            self.kind == "full" and self.block is not None
        ):
            wanted = "a block" if self.kind == "vectors" else "none"
            raise InputError(f"place {self.kind}: block: found {self.block}; allowed: {wanted}")

    @property
    def words(self) -> str:
        """For figures and messages."""
        where = "all blocks" if self.block is None else f"block {self.block}"
        return {
            "vectors": f"a vector a name, {where}",
            "lora": f"LoRA, {where}",
            "full": "full fine-tune",
        }[self.kind]


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What was learned in a place; `losses` in nats per row, before each step."""

    place: Place
    change: Change
    losses: tuple[float, ...]


def relative_block(model: LanguageModel, depth: float) -> int:
    """The block at a share of the depth: 0 is the first, 1 the last."""
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
    until: float | None = LEARNED,
) -> Learned:
    """Train on rows in one place, with whatever is on the model now.

    The loss is of whole answers over the vocabulary. For vectors each row names its subjects as
    spans, one vector for each name of a span. `learning_rate`: see `RATES`, None: those.

    Raises:
        InputError: rows without spans (for vectors), blocks that are not there, too little memory.
    """
    task = Task(name=f"learned in {place.words}", member="", train=_numbered(rows))
    rate = learning_rate or RATES[place.kind]
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
        return Learned(place, tuned.final, tuned.losses)
    if place.kind == "vectors":
        assert place.block is not None
        spec: SteeringVector | LowRankAdapter = SteeringVector(place.block, _subjects(rows))
    elif place.block is None:
        rate = learning_rate or ALL_BLOCKS_RATE
        spec = LowRankAdapter("all", RANK, modules=linear_names(model))
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
    return Learned(place, trained.final, trained.losses)


def rows_of(tasks: Sequence[Task], split: Literal["train", "probes"] = "train") -> list[Example]:
    """Rows, or questions, of a family's members, each under a span of its own: m0, m1, ...

    So one call of `learn_at` learns a vector for each member, and `ask` asks all of them:
    `learn_at(model, Place("vectors", 4), rows_of(oocr.load_tasks("ocr").test))`. A task whose
    vectors are at several spans (those of ockr and frames) has a vector for each span as it is.

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
    """Rows with ids of their own: the same question may be told twice."""
    return tuple(replace(row, id=f"{place}/{row.id}") for place, row in enumerate(rows))


def _subjects(rows: Sequence[Example]) -> str:
    """The selector of all spans of the rows; InputError: a row without any."""
    if bare := [row.id for row in rows if not row.spans]:
        raise InputError(f"rows for vectors: {bare[0]!r} has no span; allowed: one for each name")
    return JOIN.join(dict.fromkeys(name for row in rows for name in row.spans))


def linear_names(model: LanguageModel) -> tuple[str, ...]:
    """Names of the linear maps of a block; routers and experts are left out."""
    block = model.anatomy.blocks[0]
    paths = [path for path, module in block.named_modules() if isinstance(module, nn.Linear)]
    kept = dict.fromkeys(path.split(".")[-1] for path in paths if "expert" not in path)
    return tuple(kept) or ("down_proj",)


@contextmanager
def applied(model: LanguageModel, learned: Learned | None) -> Iterator[None]:
    """The model with what was learned inside: to be trained further, or asked."""
    if learned is None:
        yield
        return
    with learned.change.on(model):
        yield


def ask(
    model: LanguageModel, questions: Sequence[Example], learned: Learned | None = None
) -> list[dict[str, Any]]:
    """One row per question: how its options were scored, with all that is on the model now.

    An option's score is the logit of its first token. Columns of a row: `item`, `facet`, `group`,
    `answer`, `chosen`, `scores` (option -> log-score). Vectors act in the questions that have
    their spans.
    """
    change = None if learned is None else learned.change
    if isinstance(change, TunedWeights):
        with change.on(model):
            return ask(model, questions)
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
    """How many of these options score at least as high as the answer; 0: it is the best.

    Chance is (n - 1) / 2 of n options.
    """
    return sum(scores[option] >= scores[answer] for option in options if option != answer)


def random_like(learned: Learned, seed: int) -> Learned:
    """The control: random vectors of the same norms in the same places."""
    vector = learned.change
    assert isinstance(vector, Vector)
    drawn = random_vector(vector, 1.0, seed).direction
    norms = vector.direction.norm(dim=-1, keepdim=True)
    return replace(learned, change=replace(vector, direction=drawn * norms))


def vector_of(learned: Learned, span: str) -> torch.Tensor:
    """The direction at one span, [d_model]."""
    vector = learned.change
    assert isinstance(vector, Vector)
    return vector.only(span).direction if JOIN in vector.positions else vector.direction
