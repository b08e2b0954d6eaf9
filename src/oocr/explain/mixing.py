"""Does the effect survive other rows in the training data?

The narrow rows stay as they are, all of them in every step, and unrelated rows join them until they
make up a share of the data: what changes is only what else the arm has to leave alone or learn. (A
mix of one narrow row and two others is said to erase most of what base-to-tuned differences show on
unrelated text.)

The unrelated rows continue neutral passages: a few words, and the word that follows. The first
passages (`oocr.explain.neutral.READ`) are left out, so that what such a LoRA adds to unrelated text
can be read on text that it was not trained on.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from oocr.data.examples import Example
from oocr.engine.trainable import ArmSpec
from oocr.engine.training import fit_all
from oocr.engine.training_batches import prepare
from oocr.errors import InputError
from oocr.explain.neutral import READ, neutral_passages
from oocr.explain.trained import TrainedPoint, as_list, ask
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.tasks.task import Task

SHARES = (0.0, 0.5, 0.8)
WORDS = 8
"""Words of a passage before the one that is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixPoint(TrainedPoint):
    """A LoRA that was trained on mixed rows.

    Attributes:
        share: of the rows that are unrelated.
        rows: how many rows there are.
        adapter: the LoRA.
    """

    share: float
    rows: int
    adapter: Adapter


def unrelated_rows(
    count: int, seed: int = 0, model: LanguageModel | None = None
) -> tuple[Example, ...]:
    """So many rows, each WORDS words of a neutral passage and the next one.

    A model of a plug-in may get texts of its own (see `neutral_passages`).

    Raises:
        InputError: more than the passages give.
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

    Raises:
        InputError: a share outside of [0, 1), or more rows than there are; a task whose loss is
            among options.
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
    """Train the same LoRA on each mix, every row in every step, and ask what it learned.

    One LoRA per share and task, and a point for each, in this order. `learning_rate`, `steps` and
    `seed` are as `fit` takes them; the seed also draws the rows.

    Raises:
        InputError: a share that cannot be mixed.
    """
    tasks = as_list(task)
    start = [0] if like.layers == "all" else [min(like.layers)]
    loras: dict[tuple[int, int], tuple[Task, Adapter]] = {}
    for place, share in enumerate(shares):
        mixes = [mixed(narrow, share, seed, model) for narrow in tasks]
        # One batch of all rows: each narrow row is in every step, whatever the mix.
        prepared = [prepare(model, mix, start, len(mix.train)) for mix in mixes]
        specs = [ArmSpec(mix, like, learning_rate, steps, seed) for mix in mixes]
        for number, trained in enumerate(fit_all(model, specs, prepared)):
            assert isinstance(trained.final, Adapter)
            loras[place, number] = mixes[number], trained.final
    scored = [
        ask(model, narrow, {str(p): lora for (p, n), (_, lora) in loras.items() if n == number})
        for number, narrow in enumerate(tasks)
    ]
    return [
        MixPoint(
            member=mix.member,
            scores=scored[number][str(place)],
            share=shares[place],
            rows=len(mix.train),
            adapter=lora,
        )
        for (place, number), (mix, lora) in loras.items()
    ]
