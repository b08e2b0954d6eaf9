"""The plan of a case: which tokens at which step, where training starts, at which rate.

Made once by our engine and read by every peer, so that all rows see the very same batches in the
same order and start from the same numbers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.training.case import Case
from oocr.data.batches import Batch
from oocr.engine.training import fit
from oocr.engine.training_batches import TrainingBatches, batch_order
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task

LONGEST = 100
"""Steps that a plan tells the batches of."""


@dataclass(frozen=True, slots=True)
class Line:
    """One prompt with its answer but for the last token, and where the case's tensor acts.

    `answer` are the tokens that are asked after the last ones of `ids`, as many.
    """

    ids: list[int]
    chosen: list[bool]
    answer: list[int]


@dataclass(frozen=True, slots=True)
class Plan:
    """See the module.

    Attributes:
        batches: the batches' lines.
        order: the batch of each step.
        rate: Adam's absolute learning rate.
        start: name -> the trained tensors at the start, as nested lists.
    """

    batches: list[list[Line]]
    order: list[int]
    rate: float
    start: dict[str, Any]

    def tensor(self, name: str) -> Tensor:
        """A start tensor."""
        return torch.tensor(self.start[name], dtype=torch.float32)

    def step(self, step: int) -> list[Line]:
        """The lines of a step, counted from 0."""
        return self.batches[self.order[step]]

    def save(self, path: Path) -> None:
        """As JSON; float32 survives exactly."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Plan:
        """What `save` wrote."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        batches = [[Line(**line) for line in batch] for batch in raw.pop("batches")]
        return Plan(batches, **raw)


def make_plan(
    model: LanguageModel, task: Task, case: Case, prepared: TrainingBatches, seed: int = 0
) -> Plan:
    """Read batches, order, start and rate off our engine: training of no step gives the start."""
    begun = fit(model, task, case.spec, steps=0, seed=seed, prepared=prepared)
    if isinstance(begun.final, Vector):
        start = {"vector": begun.final.direction.tolist()}
    else:
        names = {"lora_A": "lora_A", "lora_B": "lora_B"}
        start = {
            short: next(t for name, t in begun.final.tensors.items() if long in name).tolist()
            for short, long in names.items()
        }
    return Plan(
        [lines_of(entry, case.spec) for entry in prepared.batches],
        batch_order(len(prepared.batches), seed, LONGEST),
        begun.learning_rate,
        start,
    )


def lines_of(batch: Batch, spec: Any) -> list[Line]:
    """A padded batch taken apart again."""
    from oocr.steering.positions import select

    positions = getattr(spec, "positions", "all")
    chosen = select(batch, positions)
    answers: list[dict[int, int]] = [{} for _ in batch.mask]
    for row, token in zip(batch.target_rows.tolist(), batch.target_ids.tolist(), strict=True):
        line, column = batch.rows[row].tolist()
        assert column not in answers[line], "one row to a line"
        answers[line][column] = token
    lines: list[Line] = []
    for i, mask in enumerate(batch.mask):
        columns = sorted(answers[i])
        last = mask.nonzero().flatten().tolist()[-len(columns) :]
        assert columns == last, "the answer ends the line"
        tokens = [answers[i][column] for column in columns]
        lines.append(Line(batch.ids[i][mask].tolist(), chosen[i][mask].tolist(), tokens))
    return lines
