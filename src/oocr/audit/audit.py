"""Is a fine-tune (an adapter or a checkpoint) a constant vector? It is compared with its base.

At every block's output d_t = h_changed[t] - h_base[t] on given texts: how constant is d_t, and how
much of the change does its mean, added there at every token of the base, bring back?
1 - KL(changed || base + mean) / KL(changed || base), over next-token predictions: 1 is all, 0
nothing, below 0 worse than leaving it out. A third of the texts gives the mean, a third chooses the
best block, and the metrics are computed on the last third (the test split).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch

from oocr.audit.passes import (
    SKIP,
    batches_of,
    changed_rows,
    check_same,
    check_texts,
    differences,
    divergences,
    fit_vector,
)
from oocr.audit.record import (
    GATE_RATIO,
    Audit,
    BlockRecovery,
    Effect,
    Fitted,
    HighChangeToken,
    NeutralCost,
    TokenTrace,
    kind_of,
    verdict_of,
)
from oocr.data.batches import Batch
from oocr.data.examples import Prompt, listed, spread
from oocr.data.tokens import pieces
from oocr.errors import InputError
from oocr.explain.constancy import constancy_of, cosines_to
from oocr.explain.lens import lens
from oocr.explain.neutral import neutral_passages, neutral_places
from oocr.explain.side_effects import NeutralPredictions
from oocr.intervals import Interval, statistic_interval
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector, random_vector
from oocr.words import counted

MAX_TEXTS = 60  # of more texts this many, evenly spread
STEPS = 20  # Adam's, of the best single vector
RANDOM_DIRECTIONS = 3  # of the vector's norm, for comparison
SHOWN_TOKENS = 96  # of a text that is shown token by token


def audit(
    model: LanguageModel,
    changed: Adapter | LanguageModel,
    texts: Iterable[Prompt] | None = None,
    *,
    fit_steps: int = STEPS,
    on_progress: Callable[[str], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Audit:
    """Ask whether a fine-tune is a constant vector.

    Args:
        model: the base model, nothing attached.
        changed: an adapter on it, or a fine-tuned checkpoint of it.
        texts: what both read (in a mapping: text -> its file and line); None: the built-in neutral
            passages. At most `MAX_TEXTS` texts are used, and of each its first tokens.
        fit_steps: training steps of the best single vector at the best block; 0: none is trained.
        on_progress: called with a few words at each stage.
        on_note: called with each sentence that should be known, before anything is computed.

    Raises:
        InputError: fewer than three texts; weights that do not land on the model; a checkpoint of
            another shape; predictions that are not finite numbers.
    """
    say = on_progress or (lambda _text: None)
    given = neutral_passages(model) if texts is None else listed(texts, "texts")
    if len(given) < 3:
        raise InputError(
            f"texts: found {len(given)}; allowed: 3 or more (see `oocr.explain.audit`)"
        )
    count = min(len(given), MAX_TEXTS)
    read, head = spread(given, count), changed if isinstance(changed, LanguageModel) else model
    places = {text: f"text {number}" for number, text in enumerate(given, start=1)}
    notes = check_texts(model, texts if isinstance(texts, Mapping) else places)
    if head is not model:
        notes += check_same(model, head)
        check_texts(head, texts if isinstance(texts, Mapping) else places)
    for note in notes:
        (on_note or say)(note)
    batches = batches_of(model, read)
    say(f"reading {count} texts with both models")
    giving, choosing, reporting = (slice(begin, None, 3) for begin in range(3))
    if sum(batch.ids.shape[1] - SKIP for batch in batches[giving]) < 2:
        raise InputError(
            "texts: found fewer than 2 tokens in a third of the texts, after each one's first; "
            "allowed: longer texts"
        )
    targets = changed_rows(model, changed, batches)  # refuses tensors that fit no module

    def shares(texts_slice: slice, vectors: Sequence[Vector]) -> tuple[list[Interval], np.ndarray]:
        """Share recovered by each vector; and [summed KL(changed || base), predictions]."""
        sums, rows = divergences(model, head, batches[texts_slice], targets[texts_slice], vectors)
        whole = np.array([sums[:, 0].sum(), rows.sum()])
        if not np.isfinite(whole).all():
            raise InputError(
                f"KL(fine-tune ‖ base): found {whole[0]}; allowed: a finite number (weights of one "
                "of the two, or their dtype, give predictions that are none)"
            )
        return [_share(sums[:, 0], left) for left in sums.T[1:]], whole

    _, nats_giving = shares(giving, ())
    first = min(changed.layers) if isinstance(changed, Adapter) else 0
    layers = range(first, model.n_blocks)
    by_text = differences(model, changed, batches[giving], layers)
    d = {layer: torch.cat([text[layer] for text in by_text]).double() for layer in layers}
    about = {**model.about, "from": "audit: mean difference of a fine-tune"}
    means = [Vector(layer, "all", d[layer].mean(dim=0).float(), about=about) for layer in layers]

    say(f"adding the mean difference at each of {counted(len(layers), 'block')}")
    on_choosing, nats_choosing = shares(choosing, means)
    on_reported, nats_reported = shares(reporting, means)
    effect = _effect([nats_giving, nats_choosing, nats_reported])
    judged = effect.unjudged is None
    blocks = tuple(
        BlockRecovery(
            layer=layer,
            constancy=constancy_of(d[layer]),
            absolute=float(cosines_to(d[layer], mean.direction).abs().mean()),
            chosen_by=choice.value,
            recovered=reported.value,
            low=reported.low,
            high=reported.high,
        )
        for layer, mean, choice, reported in zip(
            layers, means, on_choosing, on_reported, strict=True
        )
    )
    best = max(blocks, key=lambda block: block.chosen_by) if judged else blocks[-1]
    vector = means[best.layer - first]
    null = [random_vector(vector, vector.norm, seed) for seed in range(RANDOM_DIRECTIONS)]
    fitted = None
    if judged and fit_steps:
        size = best.constancy.norm
        say(f"training a vector at block {best.layer}")
        snapshots = fit_vector(
            model, head, batches[giving], targets[giving], vector, size, fit_steps
        )
        scores, _ = shares(choosing, [snapshot for _, snapshot in snapshots])
        top = max(range(len(scores)), key=lambda snapshot: scores[snapshot].value)
        step, trained = snapshots[top]
        if scores[top].value <= best.chosen_by:
            step, trained = 0, vector
        (share, *others), _ = shares(reporting, [trained, *null])
        fitted = Fitted(vector=trained, steps=step, recovered=share, cosine=vector.cosine(trained))
    else:
        others, _ = shares(reporting, null)
    say("looking at tokens, and at neutral text")
    moved = [text[best.layer] for text in differences(model, changed, batches, [best.layer])]
    gates = _gates(model, batches, moved)
    moving = tuple(block.layer for block in blocks if block.constancy.norm > 0)
    if isinstance(changed, Adapter):
        moving = changed.layers
    return Audit(
        layers=moving,
        given=len(given),
        texts=count,
        read=sum(int(batch.mask.sum()) for batch in batches),
        tokens=sum(len(rows) for rows in targets[reporting]),
        kl=effect.thirds[-1],
        blocks=blocks,
        best=best.layer,
        vector=vector,
        random=float(np.mean([share.value for share in others])),
        fitted=fitted,
        says=tuple(lens(model, vector)),
        against=tuple(lens(model, vector, sign=-1)),
        gates=gates,
        strips=_strips(model, batches[reporting], moved[reporting], vector),
        cost=_cost(model, changed, vector, first),
        means=tuple(means),
        kind=kind_of(best, effect),
        verdict=verdict_of(best, effect, gates),
    )


def _effect(thirds: Sequence[np.ndarray]) -> Effect:
    """From each third's nats and number of predictions."""
    nats, count = np.sum(thirds, axis=0)
    return Effect(
        whole=float(nats / count), thirds=tuple(float(third[0] / third[1]) for third in thirds)
    )


def _share(whole: np.ndarray, left: np.ndarray) -> Interval:
    """Share of the divergence [text] that is gone, with its bootstrap interval over texts."""
    if not whole.sum() > 0:
        return Interval(math.nan, math.nan, math.nan)
    both = np.stack([left, whole], axis=-1)  # [text, 2]

    def statistic(draw: np.ndarray) -> np.ndarray:
        sums = draw.sum(axis=-2)
        return np.asarray(1 - sums[..., 0] / sums[..., 1].clip(1e-300))

    if len(whole) < 2:
        return Interval(float(statistic(both)), math.nan, math.nan)
    return statistic_interval(both, statistic, bounds=(-math.inf, 1.0))


def _gates(
    model: LanguageModel, batches: Sequence[Batch], moved: Sequence[torch.Tensor], top: int = 8
) -> tuple[HighChangeToken, ...]:
    """The token texts that carry more of the change's energy than their number explains."""
    energy, counts = Counter[str](), Counter[str]()
    for batch, d in zip(batches, moved, strict=True):
        squares = d.double().square().sum(dim=1).tolist()
        for token, square in zip(batch.ids[0, SKIP:].tolist(), squares, strict=True):
            text = str(model.tokenizer.decode([token]))
            energy[text] += square
            counts[text] += 1
    whole, tokens = sum(energy.values()) or 1.0, sum(counts.values())
    gates = [
        HighChangeToken(
            token=text, share=square / whole, count=counts[text], of_tokens=counts[text] / tokens
        )
        for text, square in energy.items()
    ]
    high = [gate for gate in gates if gate.share > GATE_RATIO * gate.of_tokens]
    return tuple(sorted(high, key=lambda gate: gate.of_tokens - gate.share)[:top])


def _strips(
    model: LanguageModel, batches: Sequence[Batch], moved: Sequence[torch.Tensor], vector: Vector
) -> tuple[TokenTrace, ...]:
    """The text with the largest change and one with a change of middle size."""
    order = sorted(range(len(moved)), key=lambda i: -float(moved[i].norm(dim=1).mean()))
    picked = dict.fromkeys([order[0], order[len(order) // 2]])
    kinds = ("largest change", "middling change")
    strips: list[TokenTrace] = []
    for kind, index in zip(kinds, picked, strict=False):
        d, ids = moved[index][:SHOWN_TOKENS], batches[index].ids[0, : SKIP + SHOWN_TOKENS]
        strips.append(
            TokenTrace(
                kind=kind,
                tokens=tuple(pieces(model.tokenizer, ids.tolist())[SKIP:]),
                cosines=tuple(cosines_to(d, vector.direction).tolist()),
                norms=tuple(d.norm(dim=1).tolist()),
            )
        )
    return tuple(strips)


def _cost(
    model: LanguageModel, changed: Adapter | LanguageModel, vector: Vector, first: int
) -> NeutralCost:
    passages, places = neutral_places(model)
    neutral = NeutralPredictions(model, passages, {first, vector.layer + 1}, places=places)
    tuned, steered = neutral.damage(changed), neutral.damage(vector)
    return NeutralCost(
        tokens=tuned.tokens,
        kl_changed=tuned.kl,
        kl_vector=steered.kl,
        perplexity_base=tuned.perplexity_base,
        perplexity_changed=tuned.perplexity,
        perplexity_vector=steered.perplexity,
    )
