"""Does the effect need rank? LoRAs of rank 1 to 64 on the same rows, steps and seed.

h' = h + (alpha / r) B A x with alpha = r, so the factor is one at every rank. Adam moves each entry
of B by about the rate, and so the output up to r times as far per step: a rate that suits rank 64
hardly moves rank 1. So each rank gets its own rate: rate * (r0 / r) ** e, where `rate` suits rank
r0, with the exponent e chosen for each rank among none, a half and one, on tasks that are not
reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from oocr.data.examples import Example
from oocr.engine.trainable import ArmSpec
from oocr.engine.training import Trained, fit_all
from oocr.engine.training_batches import TrainingBatches, prepare
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.evals.table import rows
from oocr.explain.constancy import Constancy, constancy_of
from oocr.explain.differences import SKIP, Texts
from oocr.explain.neutral import READ, neutral_passages
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.tasks.task import Task

RANKS = (1, 4, 16, 64)
EXPONENTS = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class RankPoint:
    """A LoRA of one rank.

    Attributes:
        rank: r.
        learning_rate: Adam's, chosen for this rank.
        loss: before the last step, nats per item.
        in_context: share of the in-context test items answered right.
        right: share of the probes answered right.
        constancy: of what it adds, over training prompts and unrelated text.
        adapter: the LoRA.
    """

    rank: int
    learning_rate: float
    loss: float
    in_context: float
    right: float
    constancy: Constancy
    adapter: Adapter


def rank_sweep(
    model: LanguageModel,
    task: Task,
    like: LowRankAdapter,
    validation: Sequence[Task],
    *,
    ranks: Sequence[int] = RANKS,
    rate: float = 0.003,
    steps: int = 10,
    seed: int = 0,
) -> list[RankPoint]:
    """Train one LoRA per rank on a task and score it, each at the rate that validation chose.

    Args:
        model: the model, nothing attached.
        task: what is reported.
        like: block, modules, and the rank that `rate` suits; rank and alpha are replaced.
        validation: other tasks, on whose probes each rank's rate is chosen.
        ranks: which.
        rate: Adam's, at the rank of `like`.
        steps: the same for every rank.
        seed: the same for every rank.

    Raises:
        InputError: no rank, no validation task, or a rank below 1.
    """
    chosen = choose_rates(model, validation, like, ranks=ranks, rate=rate, steps=steps, seed=seed)
    prepared = [prepare(model, task, like_layers(like))]
    points = []
    for rank in ranks:
        one = fit_rank(model, [(task, chosen[rank])], like, rank, steps, seed, prepared)[0]
        assert isinstance(one.final, Adapter)
        points.append(
            RankPoint(
                rank=rank,
                learning_rate=chosen[rank],
                loss=one.losses[-1],
                in_context=_right(model, task.in_context, one.final)[0],
                right=_right(model, task.probes, one.final)[0],
                constancy=constancy_overall(model, task, one.final),
                adapter=one.final,
            )
        )
    return points


def choose_rates(
    model: LanguageModel,
    validation: Sequence[Task],
    like: LowRankAdapter,
    *,
    ranks: Sequence[int] = RANKS,
    rate: float = 0.003,
    steps: int = 10,
    seed: int = 0,
) -> dict[int, float]:
    """Each rank's rate: most probes of the validation tasks right, log-probability breaking ties.

    Raises:
        InputError: no rank, no validation task, or a rank below 1.
    """
    for name, some in (("ranks", ranks), ("validation", validation)):
        if not some:
            raise InputError(f"{name}: found none; allowed: one or more")
    if min(ranks) < 1:
        raise InputError(f"ranks: found {min(ranks)}; allowed: 1 or more")
    prepared = [prepare(model, task, like_layers(like)) for task in validation]
    probes = [Probes.of(model, task.probes) for task in validation]
    found: dict[int, float] = {}
    for rank in ranks:
        rates = list(dict.fromkeys(rate * (like.rank / rank) ** one for one in EXPONENTS))
        if len(rates) == 1:
            found[rank] = rates[0]
            continue
        arms = [(task, one) for one in rates for task in validation]
        trained = fit_rank(model, arms, like, rank, steps, seed, prepared * len(rates))
        scored: dict[float, tuple[float, float]] = {}
        for place, one in enumerate(rates):
            own = trained[place * len(validation) : (place + 1) * len(validation)]
            each = [_score(asked, done.final) for asked, done in zip(probes, own, strict=True)]
            rights, logps = zip(*each, strict=True)
            scored[one] = (sum(rights), sum(logps))
        found[rank] = max(scored, key=lambda one: scored[one])
    return found


def fit_rank(
    model: LanguageModel,
    arms: Sequence[tuple[Task, float]],
    like: LowRankAdapter,
    rank: int,
    steps: int,
    seed: int,
    prepared: Sequence[TrainingBatches],
) -> list[Trained]:
    """LoRAs of one rank, alpha = rank, each of a task and a rate, side by side where possible."""
    spec = replace(like, rank=rank, alpha=None)
    return fit_all(model, [ArmSpec(task, spec, rate, steps, seed) for task, rate in arms], prepared)


def constancy_overall(
    model: LanguageModel, task: Task, adapter: Adapter, passages: int = READ
) -> Constancy:
    """Constancy of what a LoRA adds, over all tokens of training prompts and unrelated text."""
    prompts = {item.prompt: dict(item.spans) for item in task.train}
    unrelated = neutral_passages(model)[:passages]
    trained = Texts(model, list(prompts), list(prompts.values()), adapter.layers)
    other = Texts(model, unrelated, [{} for _ in unrelated], adapter.layers)
    return constancy_on([trained, other], adapter)


def constancy_on(texts: Sequence[Texts], adapter: Adapter) -> Constancy:
    """The same on texts that are recorded already."""
    return constancy_of(torch.cat([d[SKIP:] for some in texts for d in some.differences(adapter)]))


def like_layers(like: LowRankAdapter) -> tuple[int, ...]:
    """Where recordings must begin: the lowest adapted block.

    Raises:
        InputError: a LoRA in several blocks, whose additions are no single difference.
    """
    if like.layers == "all" or len(like.layers) != 1:
        raise InputError(f"like.layers: found {like.layers}; allowed: one block")
    return like.layers


def _right(model: LanguageModel, items: Sequence[Example], adapter: Adapter) -> tuple[float, float]:
    return _score(Probes.of(model, items), adapter) if items else (float("nan"), float("nan"))


def _score(probes: Probes, one: object) -> tuple[float, float]:
    """Share right, and mean log-probability of the answer among the options."""
    assert isinstance(one, Adapter)
    table = rows(probes.items, probes.scores(one)[0])
    right, logp = (table[name].cast(float).to_numpy().mean() for name in ("right", "logp"))
    return float(right), float(logp)
