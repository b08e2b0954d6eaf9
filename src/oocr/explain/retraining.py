"""What changes with rank, with a penalty, with other rows: arms trained anew and asked again."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

import polars as pl
import torch

from oocr import stats
from oocr.data.examples import Example
from oocr.engine.forward import Intervention, final_rows, start_block
from oocr.engine.off_domain import OffDomain, OffText, references
from oocr.engine.trainable import ArmSpec, Spec, start_of
from oocr.engine.training import Trained, fit_all
from oocr.engine.training_batches import TrainingBatches, prepare
from oocr.errors import InputError
from oocr.evals.probes import Probes, means
from oocr.evals.score_table import Scores, evaluate
from oocr.explain.constancy import Constancy, constancy_of
from oocr.explain.differences import READ_PROMPTS, Texts, joined
from oocr.explain.neutral import READ, neutral_passages
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedPoint:
    """An arm of a member's task, with its answers to the probes and the in-context test."""

    member: str
    scores: Scores = field(repr=False)
    trained: Trained = field(repr=False)

    @property
    def right(self) -> float:
        """Share of the probes answered right; facets count alike."""
        return self._score("probes")

    @property
    def in_context(self) -> float:
        """Share of the in-context test examples answered right; facets count alike."""
        return self._score("in_context")

    def _score(self, split: str) -> float:
        cells = self.scores.scoring.score(self.scores.rows.filter(pl.col("part") == split))
        return float("nan") if cells is None else stats.mean(cells)

    @property
    def loss(self) -> float:
        """Before the last step, nats per example."""
        return self.trained.losses[-1]

    @property
    def arm(self) -> Vector | Adapter:
        """What was trained."""
        return self.trained.final

    @property
    def adapter(self) -> Adapter:
        """What was trained, a LoRA."""
        assert isinstance(self.trained.final, Adapter)
        return self.trained.final


def _ask(
    model: LanguageModel, tasks: Sequence[Task], trained: Sequence[Trained]
) -> list[tuple[int, int, TrainedPoint]]:
    """Arms' answers to their task's questions, with the places of setting (outer) and task."""
    points: dict[int, TrainedPoint] = {}
    for number, task in enumerate(tasks):
        places = range(number, len(trained), len(tasks))
        arms: Mapping[str, Intervention] = {str(place): trained[place].final for place in places}
        scores = evaluate(model, replace(task, paper=()), arms)
        for place in places:
            answers = Scores(scores.rows.filter(pl.col("arm") == str(place)), scores.scoring)
            done = trained[place]
            points[place] = TrainedPoint(member=task.member, scores=answers, trained=done)
    return [(*divmod(place, len(tasks)), points[place]) for place in range(len(trained))]


def _shared(point: TrainedPoint) -> dict[str, Any]:
    return {"member": point.member, "scores": point.scores, "trained": point.trained}


def _as_list(task: Task | Sequence[Task]) -> list[Task]:
    return [task] if isinstance(task, Task) else list(task)


RANKS = (1, 4, 16, 64)
EXPONENTS = (0.0, 0.5, 1.0)
"""e in rate * (r0 / r) ** e, the rates that are tried for rank r where `rate` suits rank r0.

h' = h + (alpha / r) B A x with alpha = r, so the factor is one at every rank. Adam moves each entry
of B by about the rate, and so the output up to r times as far per step.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPoint(TrainedPoint):
    """A LoRA of one rank, at the rate of Adam that was chosen for it.

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
    """Train a LoRA of each rank on each task: a point for each, rank by rank.

    `like` gives block, modules, and the rank that `rate` suits; each rank's rate is chosen on the
    probes of `validation`, other tasks. `prepared`: recorded batches of each task, to reuse.

    Raises:
        InputError: no rank, no validation task, or a rank below 1.
    """
    chosen = choose_rates(model, validation, like, ranks=ranks, rate=rate, steps=steps, seed=seed)
    tasks, layers = _as_list(task), _block(like)
    batches = prepared or [prepare(model, reported, layers) for reported in tasks]
    trained: list[Trained] = []
    for rank in ranks:
        arms = [(reported, chosen[rank]) for reported in tasks]
        trained += _fit_rank(model, arms, like, rank, steps, seed, batches)
    unrelated = Texts.unrelated(model, layers, most=READ)
    texts = [Texts.of(model, reported.train, layers, most=READ_PROMPTS) for reported in tasks]
    return [
        RankPoint(
            **_shared(point),
            rank=ranks[place],
            learning_rate=chosen[ranks[place]],
            constancy=constancy_of(joined((texts[number], unrelated), point.adapter)),
        )
        for place, number, point in _ask(model, tasks, trained)
    ]


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
    """The adapted block; what a LoRA adds in several is no single difference."""
    if like.layers == "all" or len(like.layers) != 1:
        raise InputError(f"like.layers: found {like.layers}; allowed: one block")
    return like.layers


WEIGHTS = (0.0, 1.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowPoint(TrainedPoint):
    """An arm that was trained with a penalty of one weight (0: plain training)."""

    weight: float

    @property
    def kl(self) -> float:
        """On the other texts, before the last step, nats per token."""
        return self.trained.kl[-1]


def statements(codename: str, span: str = "codename") -> tuple[OffText, ...]:
    """The built-in unrelated statements about a codename."""
    text = files("oocr.explain").joinpath("data/off_domain.txt").read_text(encoding="utf-8")
    return tuple(
        OffText(text.replace("{}", codename), {span: codename})
        for text in text.splitlines()
        if text
    )


def narrow(
    model: LanguageModel,
    task: Task | Sequence[Task],
    spec: Spec,
    off: OffDomain,
    *,
    weights: Sequence[float] = WEIGHTS,
    learning_rate: float | None = None,
    steps: int = 10,
    seed: int = 0,
    prepared: Sequence[TrainingBatches] | None = None,
) -> list[NarrowPoint]:
    """Train an arm with each weight * KL(base || trained) on other texts: was it narrow, or broad?

    If what was learned out of context was only the cheapest way to fit the narrow rows, the penalty
    can take it away while the rows are still fitted. The arm must be able to act on the texts (for
    a vector at a codename: texts with the codename), and none may be a question of the test.

    An arm and a point for each weight and task, in this order; arms that see the same tokens share
    their passes. The weight of `off` is replaced. `learning_rate`, `steps`, `seed` and `prepared`
    (one per task) are as `fit` takes them.

    Raises:
        InputError: a text that a task asks or trains on; no weight.
    """
    if not weights:
        raise InputError("weights: found none; allowed: one or more")
    tasks = _as_list(task)
    for trained_on in tasks:
        _check_apart(trained_on, off)
    start = [start_of(model, spec)]
    batches = prepared or [prepare(model, trained_on, start) for trained_on in tasks]
    arms = [
        ArmSpec(trained_on, spec, learning_rate, steps, seed, off_domain=penalty)
        for penalty in [replace(off, weight=weight) for weight in weights]
        for trained_on in tasks
    ]
    trained = fit_all(model, arms, [*batches] * len(weights))
    return [
        NarrowPoint(**_shared(point), weight=weights[place])
        for place, _, point in _ask(model, tasks, trained)
    ]


@torch.no_grad()
def kl_on(model: LanguageModel, off: OffDomain, arm: Vector) -> float:
    """KL(base || arm) on the other texts, nats per token: what there is for a penalty to take.

    Raises:
        InputError: a text in which the vector acts at no token.
    """
    total, count = 0.0, 0
    for reference in references(model, off, [start_block(arm)], arm.positions):
        rows = final_rows(model, reference.recording, [arm])
        total += float(reference.kl(model, rows)[0]) * len(reference.logp)
        count += len(reference.logp)
    return total / count


def _check_apart(task: Task, off: OffDomain) -> None:
    """Refuse texts that the task trains on or asks."""
    examples = (*task.train, *task.stop, *task.in_context, *task.probes)
    prompts = {example.prompt for example in examples}
    for text in off.texts:
        if text.prompt in prompts:
            raise InputError(
                f"off_domain.texts: {text.prompt!r} is an item of {task.name}; allowed: others"
            )


SHARES = (0.0, 0.5, 0.8)
WORDS = 8
"""Words of a passage before the one that is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixPoint(TrainedPoint):
    """A LoRA trained on `rows` rows, a `share` of them unrelated."""

    share: float
    rows: int


def unrelated_rows(
    count: int, seed: int = 0, model: LanguageModel | None = None
) -> tuple[Example, ...]:
    """So many rows, each WORDS words of a neutral passage and the next one.

    Passages that LoRAs are read on are left out; a plug-in's model may have its own.

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
    """Train the same LoRA on each mix of narrow and unrelated rows, every row in every step.

    A LoRA and a point for each share and task, in this order. `learning_rate`, `steps` and `seed`
    are as `fit` takes them; the seed also draws the rows.

    Raises:
        InputError: a share that cannot be mixed.
    """
    tasks, start = _as_list(task), [start_of(model, like)]
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
        MixPoint(**_shared(point), share=shares[place], rows=len(mix.train))
        for mix, (place, _, point) in zip(mixes, _ask(model, tasks, trained), strict=True)
    ]
