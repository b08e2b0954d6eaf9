"""LoRAs trained on mixes of narrow and unrelated rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from oocr.data.examples import Example
from oocr.engine.trainable import ArmSpec, start_of
from oocr.engine.training import Trained, fit_all
from oocr.engine.training_batches import prepare
from oocr.errors import InputError
from oocr.explain.neutral import READ, neutral_passages
from oocr.explain.retraining import TrainedPoint, as_list, score_arms
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import LowRankAdapter
from oocr.tasks.task import Task

SHARES = (0.0, 0.5, 0.8)
WORDS = 8
"""Words of a passage before the asked word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixPoint(TrainedPoint):
    """A LoRA trained on `rows` rows, a `share` of them unrelated."""

    share: float
    rows: int


def unrelated_rows(
    count: int, seed: int = 0, model: LanguageModel | None = None
) -> tuple[Example, ...]:
    """`count` rows: WORDS words of a neutral passage as prompt, the next word as answer.

    Passages on which LoRAs are read are left out; a plug-in's model may have its own texts.

    InputError: the passages give fewer rows.
    """
    pairs: list[tuple[str, str]] = []
    for passage in neutral_passages(model)[READ:]:
        words = passage.split()
        pairs += [
            (" ".join(words[begin : begin + WORDS]), " " + words[begin + WORDS])
            for begin in range(0, len(words) - WORDS, WORDS + 1)
        ]
    if count > len(pairs):
        raise InputError(f"count: found {count}; allowed: up to {len(pairs)}")
    drawn = random.Random(seed).sample(pairs, count)
    return tuple(
        Example(id=f"unrelated/{i}", prompt=prompt, answer=answer, source="neutral text")
        for i, (prompt, answer) in enumerate(drawn)
    )


def mixed(task: Task, share: float, seed: int = 0, model: LanguageModel | None = None) -> Task:
    """The task with unrelated rows that make up a share of its training data.

    InputError: a share outside of [0, 1), or more rows than there are; a task whose loss is among
    options.
    """
    if not 0 <= share < 1:
        raise InputError(f"share: found {share}; allowed: 0 to below 1")
    if share == 0:
        return task
    if task.loss != "answer":
        raise InputError(f"{task.name}: its loss is among options, which unrelated rows have none")
    more = unrelated_rows(round(len(task.train) * share / (1 - share)), seed, model)
    return replace(task, name=f"{task.name}/mixed {share:g}", train=(*task.train, *more))


def mixing(
    model: LanguageModel,
    task: Task | Sequence[Task],
    like: LowRankAdapter,
    *,
    shares: Sequence[float] = SHARES,
    learning_rate: float | None = None,
    steps: int = 10,
    seed: int = 0,
) -> list[MixPoint]:
    """Train the same LoRA on each mix of narrow and unrelated rows, every row in every step.

    A LoRA and a point for each share and task, in this order. `learning_rate`, `steps` and `seed`
    are as `fit` takes them; the seed also draws the rows.

    InputError: a share that cannot be reached.
    """
    tasks, start = as_list(task), [start_of(model, like)]
    trained: list[Trained] = []
    mixes: list[Task] = []
    for share in shares:
        of_share = [mixed(narrow_task, share, seed, model) for narrow_task in tasks]
        # One batch of all rows: each narrow row is in every step, whatever the mix.
        prepared = [prepare(model, mix, start, len(mix.train)) for mix in of_share]
        specs = [ArmSpec(mix, like, learning_rate, steps, seed) for mix in of_share]
        trained += fit_all(model, specs, prepared)
        mixes += of_share
    return [
        MixPoint(**fields, share=shares[place], rows=len(mix.train))
        for mix, (place, _, fields) in zip(mixes, score_arms(model, tasks, trained), strict=True)
    ]
