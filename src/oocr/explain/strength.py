"""What a vector's effect costs: what it does at several strengths to what it should leave alone.

It is added to text and questions that have nothing to do with its task: at the last token before
each prediction or answer, or at every token, which a vector that was trained at one token need not
bear. Its effect at a strength: `oocr.explain.lines.by_strength`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.explain.neutral import neutral_places, neutral_questions
from oocr.explain.side_effects import NeutralText
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector

STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
PASSAGES = {"last": 12, "all": 4}
"""Of neutral text; an own line for each prediction is cheaper in short texts."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one vector does at one strength where it should do nothing.

    Attributes:
        strength: factor on the vector.
        kl: mean KL(base || steered) on neutral text, nats per token.
        perplexity: perplexity of neutral text over the untouched model's.
        agreement: share of neutral questions whose best option stays the untouched model's.
    """

    strength: float
    kl: float
    perplexity: float
    agreement: float


class Neutral:
    """Neutral text and questions, recorded once for all vectors of one layer.

    Args:
        model: the model, nothing attached.
        start: the first block that vectors change.
        tokens: predictions to compare on neutral text.
        questions: choices; None: the built-in ones.
        positions: "last": the vector is added at the last token before each prediction and answer;
            "all": at every token.
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
        asked = neutral_questions(model) if questions is None else questions
        passages, places = neutral_places(model, PASSAGES[positions])
        apart = positions == "last"
        self.text = NeutralText(model, passages, {start}, tokens, apart=apart, places=places)
        self.questions = Probes.of(model, asked, starts=(start, model.n_blocks))
        self.best = self.questions.scores(None)[0].argmax(dim=-1)

    def costs(self, vector: Vector, strengths: Sequence[float] = STRENGTHS) -> list[Cost]:
        """Side effects of a vector at each strength, wherever its own positions are.

        Raises:
            InputError: joined directions, which belong to their spans.
        """
        if vector.direction.ndim != 1:
            raise InputError(
                f"positions {vector.positions!r}: joined directions belong to their spans; "
                "take `vector.only(span)`"
            )
        some = [one for one in strengths if one]
        every = [vector.at(self.positions) * one for one in some]
        found = {0.0: Cost(0.0, 0.0, 1.0, 1.0)}
        if not every:
            return [found[one] for one in strengths]
        asked = self.questions.scores(every).argmax(dim=-1)
        for strength, one, best in zip(some, every, asked, strict=True):
            damage = self.text.damage(one)
            found[strength] = Cost(
                strength=strength,
                kl=damage.kl,
                perplexity=damage.perplexity / damage.perplexity_base,
                agreement=float((best == self.best).float().mean()),
            )
        return [found[one] for one in strengths]
