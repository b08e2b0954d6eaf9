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

from oocr.engine.trainable import ArmSpec
from oocr.engine.training import Trained, fit_all
from oocr.engine.training_batches import TrainingBatches, prepare
from oocr.errors import InputError
from oocr.evals.probes import Probes, means
from oocr.explain.constancy import Constancy, constancy_of
from oocr.explain.differences import READ_PROMPTS, Texts, joined
from oocr.explain.neutral import READ
from oocr.explain.trained import TrainedPoint, as_list, ask
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.tasks.task import Task

RANKS = (1, 4, 16, 64)
EXPONENTS = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPoint(TrainedPoint):
    """A LoRA of one rank.

    Attributes:
        rank: r.
        learning_rate: Adam's, chosen for this rank.
        loss: before the last step, nats per example.
        constancy: of what it adds, over training prompts and unrelated text.
        adapter: the LoRA.
    """

    rank: int
    learning_rate: float
    loss: float
    constancy: Constancy
    adapter: Adapter


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
    """Train one LoRA per rank on a task and score it, each at the rate that validation chose.

    One LoRA per rank and task, and a point for each, in this order.

    Args:
        model: the model, nothing attached.
        task: what is reported, or several.
        like: block, modules, and the rank that `rate` suits; rank and alpha are replaced.
        validation: other tasks, on whose probes each rank's rate is chosen.
        ranks: which.
        rate: Adam's, at the rank of `like`.
        steps: the same for every rank.
        seed: the same for every rank.
        prepared: recorded batches of each task, to reuse.

    Raises:
        InputError: no rank, no validation task, or a rank below 1.
    """
    chosen = choose_rates(model, validation, like, ranks=ranks, rate=rate, steps=steps, seed=seed)
    tasks, layers = as_list(task), like_layers(like)
    batches = prepared or [prepare(model, reported, layers) for reported in tasks]
    trained = {
        rank: fit_rank(
            model,
            [(reported, chosen[rank]) for reported in tasks],
            like,
            rank,
            steps,
            seed,
            batches,
        )
        for rank in ranks
    }
    points: dict[tuple[int, int], RankPoint] = {}
    for number, reported in enumerate(tasks):
        loras = {rank: lora_of(trained[rank][number]) for rank in ranks}
        scored = ask(model, reported, {str(rank): lora for rank, lora in loras.items()})
        texts = (
            Texts.of(model, reported.train, layers, most=READ_PROMPTS),
            Texts.unrelated(model, layers, most=READ),
        )
        for rank, lora in loras.items():
            points[rank, number] = RankPoint(
                member=reported.member,
                scores=scored[str(rank)],
                rank=rank,
                learning_rate=chosen[rank],
                loss=trained[rank][number].losses[-1],
                constancy=constancy_of(joined(texts, lora)),
                adapter=lora,
            )
    return [points[rank, number] for rank in ranks for number in range(len(tasks))]


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
    for name, values in (("ranks", ranks), ("validation", validation)):
        if not values:
            raise InputError(f"{name}: found none; allowed: one or more")
    if min(ranks) < 1:
        raise InputError(f"ranks: found {min(ranks)}; allowed: 1 or more")
    prepared = [prepare(model, task, like_layers(like)) for task in validation]
    probes = [Probes.of(model, task.probes) for task in validation]
    chosen: dict[int, float] = {}
    for rank in ranks:
        rates = list(dict.fromkeys(rate * (like.rank / rank) ** power for power in EXPONENTS))
        arms = [(task, tried) for tried in rates for task in validation]
        if len(rates) == 1:
            chosen[rank] = rates[0]
            continue
        trained = fit_rank(model, arms, like, rank, steps, seed, prepared * len(rates))
        scores: dict[float, tuple[float, float]] = {}
        for place, tried in enumerate(rates):
            loras = trained[place * len(validation) : (place + 1) * len(validation)]
            by_task = [_score(p, lora_of(lora)) for p, lora in zip(probes, loras, strict=True)]
            rights, logps = zip(*by_task, strict=True)
            scores[tried] = (sum(rights), sum(logps))
        chosen[rank] = max(scores, key=lambda tried: scores[tried])
    return chosen


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


def lora_of(trained: Trained) -> Adapter:
    """The trained LoRA."""
    assert isinstance(trained.final, Adapter)
    return trained.final


def like_layers(like: LowRankAdapter) -> tuple[int, ...]:
    """Where recordings must begin: the lowest adapted block.

    Raises:
        InputError: a LoRA in several blocks, whose additions are no single difference.
    """
    if like.layers == "all" or len(like.layers) != 1:
        raise InputError(f"like.layers: found {like.layers}; allowed: one block")
    return like.layers


def _score(probes: Probes, lora: Adapter) -> tuple[float, float]:
    """Share right, and mean log-probability of the answer among the options."""
    right, logp = means(probes.items, probes.scores(lora)[0], "right", "logp")
    return right, logp
