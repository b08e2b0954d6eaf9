"""Is somebody's fine-tune a constant vector? An adapter, or a whole checkpoint, against its base.

At every block's output d_t = h_changed[t] - h_base[t] on given texts. Asked per block: how constant
is d_t (`oocr.explain.constancy`), and how much of the change does its mean, added there at every
token of the base, bring back:

    recovered = 1 - KL(changed || base + mean) / KL(changed || base)

over next-token predictions of other texts. 1: the vector does all that the fine-tune does there; 0:
nothing; below 0: worse than leaving it out. A third of the texts gives the mean, a third says which
block is the best, and what is told of the blocks comes from the last third.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch, Line, pad
from oocr.data.items import Prompt
from oocr.data.tokens import encode_prompt
from oocr.engine.forward import final_rows
from oocr.engine.frozen import Frozen
from oocr.engine.record import record
from oocr.errors import InputError
from oocr.explain.constancy import Constancy, constancy_of, cosines_to
from oocr.explain.lens import Said, lens
from oocr.explain.neutral import neutral_passages
from oocr.interventions.adapters import Adapter, attach_adapter
from oocr.interventions.vectors import Vector
from oocr.models.language_model import LanguageModel

SKIP = 1
"""Tokens left out at the start of a text: in many models the first one carries a huge norm."""

MOST_TOKENS = 192
"""Of each text; longer ones are cut."""

CONSTANT, PARTLY = 0.8, 0.5
"""Shares recovered from which on the verdict is "a constant vector" and "partly"."""

NOTHING = 1e-4
"""Nats per token below which a fine-tune is said to do nothing on these texts."""


@dataclass(frozen=True, slots=True)
class AtBlock:
    """What one block's output shows.

    Attributes:
        layer: the block.
        constancy: of d_t there, over the texts that the mean is taken from.
        absolute: mean |cos| of d_t to the mean: near 1 for an axis whose sign flips, too.
        chosen_by: share of the change that the mean brings back on the texts that choose a block.
        recovered: the same on the texts that are reported.
    """

    layer: int
    constancy: Constancy
    absolute: float
    chosen_by: float
    recovered: float


@dataclass(frozen=True, slots=True)
class Gate:
    """A token at which the change is much larger or smaller than at most.

    Attributes:
        token: its text.
        share: of the energy of all d_t at the best block, on tokens with this text.
        count: how often it occurs.
    """

    token: str
    share: float
    count: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found.

    Attributes:
        layers: blocks whose weights the fine-tune changes; of a checkpoint all whose outputs move.
        tokens: predictions compared.
        kl: KL(changed || base), nats per token.
        blocks: block by block, from the first changed one on.
        best: the block at which the vector brings back most, on the texts that choose.
        vector: the mean difference there, at every token.
        says: the tokens that the vector makes likelier.
        gates: tokens on which the energy of the change is concentrated at the best block.
        verdict: one sentence.
    """

    layers: tuple[int, ...]
    tokens: int
    kl: float
    blocks: tuple[AtBlock, ...]
    best: int
    vector: Vector
    says: tuple[Said, ...]
    gates: tuple[Gate, ...]
    verdict: str

    @property
    def at_best(self) -> AtBlock:
        """The best block's findings."""
        return next(one for one in self.blocks if one.layer == self.best)


def audit(
    model: LanguageModel,
    changed: Adapter | LanguageModel,
    texts: Sequence[Prompt] | None = None,
) -> Audit:
    """Ask whether a fine-tune is a constant vector.

    Args:
        model: the base model, nothing attached.
        changed: an adapter on it, or a fine-tuned checkpoint of it.
        texts: what both read; None: the built-in neutral passages.

    Raises:
        InputError: fewer than three texts; weights that do not land on the model; a checkpoint of
            another shape.
    """
    prompts = neutral_passages() if texts is None else list(texts)
    if len(prompts) < 3:
        raise InputError(
            f"texts: found {len(prompts)}; allowed: 3 or more (see `oocr.explain.audit`)"
        )
    batches = [_batch(model, prompt) for prompt in prompts]
    if isinstance(changed, LanguageModel):
        _check_same(model, changed)
    first = min(changed.layers) if isinstance(changed, Adapter) else 0
    starts = range(first, model.n_blocks + 1)
    base = [record(model, batch, starts) for batch in batches]
    with attach_adapter(model, changed) if isinstance(changed, Adapter) else nullcontext():
        other = model if isinstance(changed, Adapter) else changed
        after = [record(other, batch, starts, cache=False) for batch in batches]
        targets = [_logp(other, final_rows(other, one, None)[0]) for one in after]
    giving, choosing, telling = (range(begin, len(batches), 3) for begin in range(3))

    def left(some: Sequence[int], vector: Vector | None) -> float:
        """KL that remains with the vector on the base."""
        arms = None if vector is None else [vector]
        found = {i: _logp(model, final_rows(model, base[i], arms)[0]) for i in some}
        return _divergence([targets[i] for i in some], list(found.values()))

    whole = {some: left(some, None) for some in (choosing, telling)}
    moves = min(whole.values()) > NOTHING
    blocks: list[AtBlock] = []
    vectors: dict[int, Vector] = {}
    about = {"from": "audit: mean difference of a fine-tune", "model": model.name}
    for layer in range(first, model.n_blocks):
        d = torch.cat([_difference(base[i], after[i], layer) for i in giving])
        mean = d.mean(dim=0)
        vectors[layer] = Vector(layer, "all", mean.float(), about=about)
        shares = {
            some: 1 - left(some, vectors[layer]) / whole[some] if moves else float("nan")
            for some in whole
        }
        blocks.append(
            AtBlock(
                layer=layer,
                constancy=constancy_of(d),
                absolute=float(cosines_to(d, mean).abs().mean()),
                chosen_by=shares[choosing],
                recovered=shares[telling],
            )
        )
    layers = (
        changed.layers
        if isinstance(changed, Adapter)
        else tuple(one.layer for one in blocks if one.constancy.norm > 0)
    )
    best = max(blocks, key=lambda one: one.chosen_by) if moves else blocks[-1]
    found = vectors[best.layer]
    return Audit(
        layers=layers,
        tokens=sum(len(targets[i]) for i in telling),
        kl=whole[telling],
        blocks=tuple(blocks),
        best=best.layer,
        vector=found,
        says=tuple(lens(model, found)),
        gates=_gates(model, base, after, best.layer),
        verdict=_verdict(best, whole[telling]),
    )


def _batch(model: LanguageModel, prompt: Prompt) -> Batch:
    """One text, with the logits of every token but the first ones wanted."""
    ids = encode_prompt(model.tokenizer, prompt).ids[:MOST_TOKENS]
    line = Line(ids, len(ids), {}, items=1)
    line.targets.extend((at, 0, 1.0) for at in range(min(SKIP, len(ids) - 1), len(ids)))
    return pad([line], int(model.tokenizer.pad_token_id or 0), model.device)


def _check_same(model: LanguageModel, other: LanguageModel) -> None:
    for name in ("n_blocks", "d_model"):
        a, b = getattr(model, name), getattr(other, name)
        if a != b:
            raise InputError(f"{other.name}: {name} is {b}; allowed: {a}, as in {model.name}")
    if other.anatomy.vocab != model.anatomy.vocab:
        raise InputError(
            f"{other.name}: {other.anatomy.vocab} logits; allowed: {model.anatomy.vocab}, as in "
            f"{model.name}"
        )


def _difference(base: Frozen, after: Frozen, layer: int) -> Float[Tensor, "token d_model"]:
    one, other = after.inputs[layer + 1], base.inputs[layer + 1]
    return (one.double() - other.double())[0, SKIP:].cpu()


@torch.no_grad()
def _logp(model: LanguageModel, rows: Float[Tensor, "row d_model"]) -> Tensor:
    return model.anatomy.readout(rows).float().log_softmax(dim=-1).cpu()


def _divergence(targets: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Mean KL(targets || found) of log-probabilities, nats per token."""
    pairs = list(zip(targets, found, strict=True))
    total = sum(float((target.exp() * (target - one)).sum()) for target, one in pairs)
    return total / sum(len(target) for target, _ in pairs)


def _gates(
    model: LanguageModel, base: Sequence[Frozen], after: Sequence[Frozen], layer: int, top: int = 8
) -> tuple[Gate, ...]:
    """The token texts that carry the largest shares of the change's energy."""
    energy: dict[str, float] = {}
    counts: dict[str, int] = {}
    for one, other in zip(base, after, strict=True):
        squares = _difference(one, other, layer).square().sum(dim=1).tolist()
        for token, square in zip(one.batch.ids[0, SKIP:].tolist(), squares, strict=True):
            text = str(model.tokenizer.decode([token]))
            energy[text] = energy.get(text, 0.0) + square
            counts[text] = counts.get(text, 0) + 1
    total = sum(energy.values()) or 1.0
    ranked = sorted(energy, key=lambda text: -energy[text])[:top]
    return tuple(Gate(text, energy[text] / total, counts[text]) for text in ranked)


def _verdict(best: AtBlock, kl: float) -> str:
    if not kl > NOTHING:
        return f"On these texts it does next to nothing (KL to the base {kl:.1e} nats a token)."
    told = (
        f"at block {best.layer} one vector, added at every token, brings back "
        f"{best.recovered:.0%} of its effect on these texts"
    )
    cosine, energy = best.constancy.cosine, best.constancy.energy
    shape = f"signed cosine {cosine:.2f}, share of energy in the mean {energy:.2f}"
    if best.recovered >= CONSTANT:
        return f"A constant vector: {told} ({shape})."
    if best.recovered >= PARTLY:
        return f"Partly a constant vector: {told} ({shape}); the rest differs from token to token."
    flips = " (its direction keeps, its sign does not)" if best.absolute - abs(cosine) > 0.3 else ""
    return f"Not a constant vector{flips}: {told} ({shape})."
