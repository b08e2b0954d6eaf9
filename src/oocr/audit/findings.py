"""What an audit finds, as typed values, and the sentence that sums it up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from oocr.explain.constancy import Constancy
from oocr.explain.lens import LensToken
from oocr.steering.vectors import Vector

CONSTANT, PARTLY = 0.8, 0.5
"""Shares recovered from which on the verdict is "a constant vector" and "partly"."""

NOTHING = 1e-4
"""Nats per token below which a fine-tune is said to do nothing on these texts."""

FLIPS = 0.3
"""By how much mean |cos| must exceed |mean cos| for an axis whose sign is not constant."""

MORE = 1.5
"""Times its share of tokens that a token must have of the energy to be told as a gate."""

GATED, SCARCE = 0.5, 0.2
"""A token gates the change if it has this share of its energy, on at most this share of tokens."""


Kind = Literal["constant", "partly", "not constant", "nothing", "texts disagree"]

UNTOLD: tuple[Kind, ...] = ("nothing", "texts disagree")
"""Kinds of which no share is told."""


@dataclass(frozen=True, slots=True)
class Effect:
    """KL(changed || base), nats per prediction.

    Attributes:
        whole: over all texts.
        thirds: over those that give the mean, those that choose a block, and those told of.
    """

    whole: float
    thirds: tuple[float, ...]

    @property
    def untold(self) -> Kind | None:
        """Why no share of it can be told; None: one can."""
        if not self.whole > NOTHING:
            return "nothing"
        return None if min(self.thirds) > NOTHING else "texts disagree"


@dataclass(frozen=True, slots=True)
class Share:
    """A share of the effect that is brought back, with its 95 % interval over the texts told of.

    The interval is a bootstrap of whole texts; NaN where there is only one.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class AtBlock:
    """What one block's output shows.

    Attributes:
        layer: the block.
        constancy: of d_t there, over the texts that the mean is taken from.
        absolute: mean |cos| of d_t to the mean: near 1 for an axis whose sign flips, too.
        chosen_by: share of the change that the mean brings back on the texts that choose a block.
        recovered: the same on the texts that are reported.
        low, high: 95 % interval of `recovered`, as in `Share`.
    """

    layer: int
    constancy: Constancy
    absolute: float
    chosen_by: float
    recovered: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """The best single vector at the best block: trained to do what the fine-tune does.

    Attributes:
        vector: after `steps` of Adam on KL(changed || base + v), from the mean on, over the texts
            that give the mean.
        steps: how many were best on the texts that choose; 0: none, it is the mean.
        recovered: on the texts that are reported.
        cosine: of the mean with it.
    """

    vector: Vector
    steps: int
    recovered: Share
    cosine: float


@dataclass(frozen=True, slots=True)
class Gate:
    """A token at which the change is larger than at most.

    Attributes:
        token: its text.
        share: of the energy of all d_t at the best block, on tokens with this text.
        count: how often it occurs.
        of_tokens: share of all tokens that have this text: what `share` would be if the change
            were alike everywhere.
    """

    token: str
    share: float
    count: int
    of_tokens: float


@dataclass(frozen=True, slots=True)
class Strip:
    """One text, token by token, at the best block.

    Attributes:
        kind: which text it is, in words.
        tokens: their texts.
        cosines: of d_t with the vector, signed.
        norms: |d_t|.
    """

    kind: str
    tokens: tuple[str, ...]
    cosines: tuple[float, ...]
    norms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What the fine-tune, and the vector in its place, do to neutral text.

    Attributes:
        tokens: how many next-token predictions were compared.
        kl_changed, kl_vector: mean KL(base || …), nats per token.
        perplexity_base, perplexity_changed, perplexity_vector: of the true next tokens.
    """

    tokens: int
    kl_changed: float
    kl_vector: float
    perplexity_base: float
    perplexity_changed: float
    perplexity_vector: float


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found.

    Attributes:
        layers: blocks whose weights the fine-tune changes; of a checkpoint all whose outputs move.
        given, texts: how many texts there were, and were used.
        read: tokens of the texts used, long ones cut.
        tokens: predictions compared for what is told.
        kl: KL(changed || base), nats per token, on the texts told of.
        blocks: block by block, from the first changed one on.
        best: the block at which the vector brings back most, on the texts that choose.
        vector: the mean difference there, at every token.
        random: share that random directions of the vector's norm bring back there, on average.
        fitted: the best single vector there; None: not asked for, or there is nothing to fit.
        says, against: the tokens that the vector makes likelier, and less likely.
        gates: tokens with much more of the change's energy at the best block than of the tokens.
        strips: two of the texts told of.
        cost: on neutral text.
        kind: the verdict in a word or two.
        verdict: one sentence.
    """

    layers: tuple[int, ...]
    given: int
    texts: int
    read: int
    tokens: int
    kl: float
    blocks: tuple[AtBlock, ...]
    best: int
    vector: Vector
    random: float
    fitted: Fitted | None
    says: tuple[LensToken, ...]
    against: tuple[LensToken, ...]
    gates: tuple[Gate, ...]
    strips: tuple[Strip, ...]
    cost: Cost
    kind: Kind
    verdict: str

    @property
    def at_best(self) -> AtBlock:
        """The best block's findings."""
        return next(one for one in self.blocks if one.layer == self.best)


def kind_of(best: AtBlock, effect: Effect) -> Kind:
    """By the share brought back alone; the thresholds are `CONSTANT`, `PARTLY` and `NOTHING`."""
    if effect.untold is not None:
        return effect.untold
    if best.recovered >= CONSTANT:
        return "constant"
    return "partly" if best.recovered >= PARTLY else "not constant"


def verdict_of(best: AtBlock, effect: Effect, gates: tuple[Gate, ...]) -> str:
    """One sentence: is it a constant vector? And one more if there is no interval."""
    few = " Too few texts for an interval: 6 or more give one." if math.isnan(best.low) else ""
    return _sentence(best, effect, gates) + ("" if effect.untold else few)


def _sentence(best: AtBlock, effect: Effect, gates: tuple[Gate, ...]) -> str:
    kind = kind_of(best, effect)
    if kind == "nothing":
        kl = effect.whole
        return f"On these texts it does next to nothing (KL to the base {kl:.1e} nats a token)."
    if kind == "texts disagree":
        each = ", ".join(f"{one:.1e}" for one in effect.thirds)
        return (
            "The texts disagree: on some thirds of them it does next to nothing, on others it does "
            f"something (KL to the base {each} nats a token); give more texts like the latter."
        )
    told = (
        f"at block {best.layer} one vector, added at every token, "
        + (
            f"brings back {best.recovered:.0%} of"
            if best.recovered > 0
            else "brings back nothing of"
        )
        + " its effect on these texts"
    )
    cosine, energy = best.constancy.cosine, best.constancy.energy
    shape = f"signed cosine {cosine:.2f}, share of energy in the mean {energy:.2f}"
    if kind == "constant":
        return f"A constant vector: {told} ({shape})."
    gate = next((one for one in gates if one.share >= GATED and one.of_tokens <= SCARCE), None)
    why = (
        f"; {gate.share:.0%} of the change's energy is on the token {gate.token!r}, "
        f"{gate.of_tokens:.1%} of all tokens"
        if gate
        else ""
    )
    if kind == "partly":
        rest = why or "; the rest differs from token to token"
        return f"Partly a constant vector: {told} ({shape}){rest}."
    turns = best.absolute - abs(cosine) > FLIPS
    flips = " (its direction keeps, its sign does not)" if turns else ""
    return f"Not a constant vector{flips}: {told} ({shape}){why}."
