"""Training without a direction: does a LoRA find another one that does the same?

The direction u of an earlier arm is projected out at every block's output from the LoRA's block on,
in training and in the test. If the effect comes back, u was one way among several; if not, it is
the way. Beside it: the earlier LoRA under the same ablation, and a LoRA trained without a random
direction, for which nothing should be lost.

The new LoRA's own direction is read with the ablation off: what it adds along u the ablation takes
away, so the cosine would be zero by construction. (Where what a LoRA adds is a linear map of B, as
without a norm behind the adapted module, its gradient along u is zero too; Adam's scaling of each
coordinate lets some of u in again, without use.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from oocr.engine.prepared import prepare
from oocr.engine.training import Trained, fit
from oocr.evals.evaluate import Scores, evaluate
from oocr.explain.ranks import like_layers
from oocr.interventions.ablation import ablate
from oocr.interventions.adapters import Adapter, LowRankAdapter
from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Without:
    """A LoRA that was trained with a direction taken out.

    Attributes:
        adapter: the LoRA.
        losses: of training, nats per item.
        scores: arms "base", "earlier" (if given) and "new", all with the direction taken out.
    """

    adapter: Adapter
    losses: tuple[float, ...]
    scores: Scores


def train_without(
    model: LanguageModel,
    task: Task,
    like: LowRankAdapter,
    direction: Float[Tensor, " d_model"],
    *,
    earlier: Adapter | None = None,
    learning_rate: float | None = None,
    steps: int = 10,
    seed: int = 0,
) -> Without:
    """Train a LoRA with a direction taken out from its block on, and score it so.

    Args:
        model: the model, nothing attached.
        task: its rows, in-context test items and probes.
        like: the LoRA: block, rank, modules.
        direction: of any norm but 0.
        earlier: the LoRA that the direction is from, to be scored under the same ablation.
        learning_rate: as `fit` takes it.
        steps: as `fit` takes them.
        seed: as `fit` takes it.

    Raises:
        InputError: a LoRA in several blocks, or a direction that cannot be taken out.
    """
    done = fit_without(
        model, task, like, direction, learning_rate=learning_rate, steps=steps, seed=seed
    )
    assert isinstance(done.final, Adapter)
    with ablate(model, direction, layers_from(model, like)):
        arms = {"base": None, **({"earlier": earlier} if earlier else {}), "new": done.final}
        scores = evaluate(model, task, arms)
    return Without(done.final, done.losses, scores)


def fit_without(
    model: LanguageModel,
    task: Task,
    like: LowRankAdapter,
    direction: Float[Tensor, " d_model"],
    *,
    learning_rate: float | None = None,
    steps: int = 10,
    seed: int = 0,
    batch_lines: int = 16,
) -> Trained:
    """The training of `train_without`."""
    with ablate(model, direction, layers_from(model, like)):
        prepared = prepare(model, task, like_layers(like), batch_lines)
        return fit(
            model,
            task,
            like,
            learning_rate=learning_rate,
            steps=steps,
            seed=seed,
            prepared=prepared,
        )


def layers_from(model: LanguageModel, like: LowRankAdapter) -> Sequence[int]:
    """The LoRA's block and all above: what comes below it the LoRA cannot change."""
    return range(like_layers(like)[0], model.n_blocks)
