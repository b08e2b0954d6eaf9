"""LoRAs of several ranks, each trained at the rate chosen on validation tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from oocr.engine.trainable import ArmSpec
from oocr.engine.training import Trained, fit_all
from oocr.engine.training_batches import TrainingBatches, prepare
from oocr.errors import InputError
from oocr.evals.probes import Probes, means
from oocr.explain.constancy import Constancy, constancy_of
from oocr.explain.differences import READ_PROMPTS, Texts, joined
from oocr.explain.neutral import READ
from oocr.explain.retraining import TrainedPoint, as_list, score_arms
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.tasks.task import Task

RANKS = (1, 4, 16, 64)
EXPONENTS = (0.0, 0.5, 1.0)
"""e in rate * (r0 / r) ** e, the rates that are tried for rank r where `rate` suits rank r0.

h' = h + (alpha / r) B A x with alpha = r, so the factor is one at every rank. Adam moves each entry
of B by about the rate, and so the output up to r times as far per step.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPoint(TrainedPoint):
    """A LoRA of one rank, trained at the rate of Adam chosen for that rank.

    `constancy`: of what it adds to training prompts and unrelated text.
    """

    rank: int
    learning_rate: float
    constancy: Constancy


def rank_sweep(
    model: LanguageModel,
    task: Task | Sequence[Task],
    like: LowRankAdapter,
    validation: Sequence[Task],
    *,
    ranks: Sequence[int] = RANKS,
    rate: float = 0.003,
    steps: int = 10,
    seed: int = 0,
    prepared: Sequence[TrainingBatches] | None = None,
) -> list[RankPoint]:
    """Train a LoRA of each rank on each task; a point for each, ordered by rank.

    `like` gives block, modules, and the rank that `rate` suits; each rank's rate is chosen on the
    probes of `validation`, other tasks. `prepared`: recorded batches of each task, to reuse.

    InputError: no rank, no validation task, or a rank below 1.
    """
    chosen = choose_rates(model, validation, like, ranks=ranks, rate=rate, steps=steps, seed=seed)
    tasks, layers = as_list(task), _block(like)
    batches = prepared or [prepare(model, reported, layers) for reported in tasks]
    trained: list[Trained] = []
    for rank in ranks:
        arms = [(reported, chosen[rank]) for reported in tasks]
        trained += _fit_rank(model, arms, like, rank, steps, seed, batches)
    unrelated = Texts.unrelated(model, layers, most=READ)
    texts = [Texts.of(model, reported.train, layers, most=READ_PROMPTS) for reported in tasks]
    points: list[RankPoint] = []
    for place, number, fields in score_arms(model, tasks, trained):
        rank, adapter = ranks[place], fields["trained"].final
        constancy = constancy_of(joined((texts[number], unrelated), adapter))
        points.append(
            RankPoint(**fields, rank=rank, learning_rate=chosen[rank], constancy=constancy)
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

    InputError: no rank, no validation task, or a rank below 1.
    """
    for name, values in (("ranks", ranks), ("validation", validation)):
        if not values:
            raise InputError(f"{name}: found none; allowed: one or more")
    if min(ranks) < 1:
        raise InputError(f"ranks: found {min(ranks)}; allowed: 1 or more")
    prepared = [prepare(model, task, _block(like)) for task in validation]
    probes = [Probes.of(model, task.probes) for task in validation]
    chosen: dict[int, float] = {}
    for rank in ranks:
        rates = list(dict.fromkeys(rate * (like.rank / rank) ** power for power in EXPONENTS))
        scores = dict.fromkeys(rates, (0.0, 0.0))
        if len(rates) > 1:
            arms = [(task, tried) for tried in rates for task in validation]
            loras = _fit_rank(model, arms, like, rank, steps, seed, prepared * len(rates))
            for place, ((task, tried), lora) in enumerate(zip(arms, loras, strict=True)):
                assert isinstance(lora.final, Adapter)
                options = probes[place % len(validation)].scores(lora.final)[0]
                right, logp = means(task.probes, options, "right", "logp")
                scores[tried] = (scores[tried][0] + right, scores[tried][1] + logp)
        chosen[rank] = max(scores, key=lambda tried: scores[tried])
    return chosen


def _fit_rank(
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


def _block(like: LowRankAdapter) -> tuple[int, ...]:
    """The adapted block; refuses a LoRA in several blocks, which has no single difference."""
    if like.layers == "all" or len(like.layers) != 1:
        raise InputError(f"like.layers: found {like.layers}; allowed: one block")
    return like.layers
