"""Side effects of an intervention on unrelated text: KL, perplexity, neutral answers.

A vector is added at the last token before each prediction or answer, or at every token (where a
vector trained at one token may do more damage).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import TokenSequence, pad
from oocr.data.examples import Example
from oocr.data.tokens import encode_prompt
from oocr.engine.forward import final_rows, start_block
from oocr.engine.recording import Recording, record
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.explain.lens import check_single
from oocr.explain.neutral import neutral_places, neutral_questions
from oocr.models.language_model import LanguageModel
from oocr.models.position_limits import position_limits
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector

EVERY = 4
"""Least distance in tokens of compared predictions: each needs a pass over the text before it."""

TOGETHER = 64
"""Sequences per batch, where each prediction has its own sequence."""


@dataclass(frozen=True, slots=True)
class NeutralTextCost:
    """Side effects per token of neutral text.

    `tokens`: predictions compared; `kl`: mean KL(base || intervention), nats; `perplexity`: exp of
    the mean negative log-probability of the true next token, and `perplexity_base` the untouched
    model's.
    """

    tokens: int
    kl: float
    perplexity: float
    perplexity_base: float


class NeutralPredictions:
    """The base model's predictions on passages, at evenly spaced tokens or at given ones.

    Interventions will start from the blocks `starts`. At about `tokens` predictions are compared,
    spread over the passages, which are cut to what that needs. `apart`: each prediction is made
    from a sequence that ends there, so that a vector at "last" acts just before it. `places`: of
    each passage the tokens after which predictions may be compared; None: any.
    """

    def __init__(
        self,
        model: LanguageModel,
        passages: list[str],
        starts: set[int],
        tokens: int = 256,
        *,
        apart: bool = False,
        places: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.model = model
        self.recordings: list[Recording] = []
        self.base: list[Tensor] = []
        longest = position_limits(model).longest
        most = EVERY * tokens // len(passages) + 2 if places is None else longest
        most = min(most, longest) if most and longest else most
        encoded = [encode_prompt(model.tokenizer, passage).ids[:most] for passage in passages]
        places = places or [range(1, len(ids) - 1) for ids in encoded]
        step = max(1, sum(map(len, places)) // tokens)
        sequences: list[TokenSequence] = []
        for ids, places_of in zip(encoded, places, strict=True):
            targets = [(at, ids[at + 1], 1.0) for at in places_of[::step]]
            ends = [(at + 1, [(at, id, weight)]) for at, id, weight in targets]
            ends = ends if apart else [(len(ids), targets)]
            sequences += [TokenSequence(ids[:end], end, {}, asked) for end, asked in ends]
        # Apart in few batches: each reads the whole head once.
        size = TOGETHER if apart else 1
        for begin in range(0, len(sequences), size):
            batch = pad(sequences[begin : begin + size], model.pad_id, model.device)
            recording = record(model, batch, {*starts, model.n_blocks}, cache=apart)
            self.recordings.append(recording)
            self.base.append(_log_probs(model, final_rows(model, recording, None)[0]))

    def damage(self, intervention: Vector | Adapter | LanguageModel) -> NeutralTextCost:
        """KL and perplexity under an intervention, or another checkpoint of the model.

        A vector acts where its positions say.
        """
        kl, nll, nll_base, count = 0.0, 0.0, 0.0, 0
        for recording, base in zip(self.recordings, self.base, strict=True):
            base, logp = on_shared(base, self._logp_under(recording, intervention))
            targets = recording.batch.target_rows, recording.batch.target_ids
            kl += float((base.exp() * (base - logp)).sum())
            nll -= float(logp[targets].sum())
            nll_base -= float(base[targets].sum())
            count += len(recording.batch.target_ids)
        exp = torch.tensor([nll / count, nll_base / count]).exp().tolist()
        return NeutralTextCost(count, kl / count, exp[0], exp[1])

    def _logp_under(
        self, recording: Recording, intervention: Vector | Adapter | LanguageModel
    ) -> Tensor:
        if isinstance(intervention, LanguageModel):
            other = record(intervention, recording.batch, [intervention.n_blocks], cache=False)
            rows = final_rows(intervention, other, None)[0]
            return _log_probs(intervention, rows).to(self.model.device)
        assert start_block(intervention) in recording.inputs
        arm = [intervention] if isinstance(intervention, Vector) else intervention
        return _log_probs(self.model, final_rows(self.model, recording, arm)[0])


def on_shared(
    logp: Float[Tensor, "row vocab"], other: Float[Tensor, "row grown"]
) -> tuple[Float[Tensor, "row shared"], Float[Tensor, "row shared"]]:
    """Log-probabilities of two models given that the next token is one that both have."""
    shared = min(logp.shape[-1], other.shape[-1])
    first, second = (
        each if each.shape[-1] == shared else each[:, :shared].log_softmax(dim=-1)
        for each in (logp, other)
    )
    return first, second


@torch.no_grad()
def _log_probs(model: LanguageModel, rows: Tensor) -> Tensor:
    return model.anatomy.readout(rows).float().log_softmax(dim=-1)


STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
PASSAGES = {"last": 12, "all": 4}
"""Numbers of neutral passages: with a sequence for each prediction, short texts are cheaper."""


@dataclass(frozen=True, slots=True)
class StrengthCost:
    """Side effects of a vector times `strength`.

    `kl`: mean KL(base || steered) on neutral text, nats per token; `perplexity`: over the untouched
    model's; `agreement`: share of neutral questions whose best option stays the untouched model's.
    """

    strength: float
    kl: float
    perplexity: float
    agreement: float


class SideEffects:
    """Neutral text and questions, recorded once for all vectors that act from block `start` on.

    `tokens`: predictions to compare on neutral text; `questions`: choices (None: the built-in
    ones); `positions`: "last" adds vectors before each prediction and answer, "all" everywhere.
    """

    def __init__(
        self,
        model: LanguageModel,
        start: int,
        *,
        tokens: int = 256,
        questions: Sequence[Example] | None = None,
        positions: Literal["last", "all"] = "last",
    ) -> None:
        if positions not in PASSAGES:
            raise InputError(f"positions: found {positions!r}; allowed: {', '.join(PASSAGES)}")
        self.positions = positions
        examples = neutral_questions(model) if questions is None else questions
        passages, places = neutral_places(model, PASSAGES[positions])
        apart = positions == "last"
        self.text = NeutralPredictions(model, passages, {start}, tokens, apart=apart, places=places)
        self.questions = Probes.of(model, examples, starts=(start, model.n_blocks))
        self.best = self.questions.scores(None)[0].argmax(dim=-1)

    def costs(self, vector: Vector, strengths: Sequence[float] = STRENGTHS) -> list[StrengthCost]:
        """Side effects of a vector at each strength, wherever its own positions are.

        InputError: joined directions, which belong to their spans.
        """
        check_single(vector, "belong to their spans")
        vectors = {s: vector.at(self.positions) * s for s in strengths if s}
        costs = {0.0: StrengthCost(0.0, 0.0, 1.0, 1.0)}
        best = self.questions.scores([*vectors.values()]).argmax(dim=-1) if vectors else ()
        for (strength, scaled), chosen in zip(vectors.items(), best, strict=True):
            damage = self.text.damage(scaled)
            perplexity = damage.perplexity / damage.perplexity_base
            agreement = float((chosen == self.best).float().mean())
            costs[strength] = StrengthCost(strength, damage.kl, perplexity, agreement)
        return [costs[strength] for strength in strengths]
