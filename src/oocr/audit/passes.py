"""The passes of an audit: both models over the same texts, and the base with vectors added.

Log-probabilities of a large vocabulary are made for one text at a time and not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, pad
from oocr.data.check_rows import Row, check_rows
from oocr.data.examples import Prompt
from oocr.data.tokens import encode_prompt
from oocr.engine.forward import SteeringMask, final_rows, steered_rows
from oocr.engine.recording import record
from oocr.errors import InputError
from oocr.explain.side_effects import on_shared
from oocr.models.language_model import LanguageModel
from oocr.models.position_limits import limits_of, position_limits
from oocr.steering.adapters import Adapter
from oocr.steering.positions import select_each
from oocr.steering.vectors import Vector

SKIP = 1
"""Tokens left out at the start of a text: in many models the first one carries a huge norm."""

MOST_TOKENS = 128
"""Most tokens of a text; longer texts are cut."""

PREDICTIONS, LEAST = 128, 4
"""Most compared in a third of the texts (each costs an LM head per block); least in each text."""

MOST_RENAMED = 0.1
"""Share of token ids that a fine-tune may rename: reserved tokens that it uses."""

LOOKS = 4
"""Number of training steps at which the fitted vector is scored."""


def most_read(model: LanguageModel) -> int:
    """Tokens of each text that are read."""
    return min(MOST_TOKENS, position_limits(model).longest or MOST_TOKENS)


def check_texts(model: LanguageModel, texts: Mapping[Prompt, str]) -> tuple[str, ...]:
    """Check texts (text -> its place) against a model; returns remarks in sentences.

    Raises: InputError: the model cannot read some texts; names all of them.
    """
    most = most_read(model)
    rows = (Row(where, prompt, most=most) for prompt, where in texts.items())
    return check_rows(model.tokenizer, rows, limits_of(model)).all


def batch_of_text(model: LanguageModel, prompt: Prompt, most: int = PREDICTIONS) -> Batch:
    """One text, with the logits wanted of evenly spaced tokens, the last one among them."""
    ids = encode_prompt(model.tokenizer, prompt).ids[: most_read(model)]
    sequence = TokenSequence(ids, len(ids), {}, items=1)
    start, end = min(SKIP, len(ids) - 1), len(ids) - 1
    count = min(most, end - start + 1)
    wanted = [end - round(i * (end - start + 1) / count) for i in range(count)]
    sequence.targets.extend((at, 0, 1.0) for at in reversed(wanted))
    return pad([sequence], model.pad_id, model.device)


def batches_of(model: LanguageModel, prompts: Sequence[Prompt]) -> list[Batch]:
    """A batch per text; the more texts, the fewer predictions of each are compared."""
    most = max(LEAST, PREDICTIONS // max(1, len(prompts) // 3))
    return [batch_of_text(model, prompt, most) for prompt in prompts]


@contextmanager
def changed_model(
    model: LanguageModel, changed: Adapter | LanguageModel
) -> Iterator[LanguageModel]:
    """The changed model, for as long as the block runs."""
    if isinstance(changed, LanguageModel):
        yield changed
        return
    with changed.on(model):
        yield model


def check_same(model: LanguageModel, other: LanguageModel) -> tuple[str, ...]:
    """Remarks on a checkpoint with another vocabulary: it may be larger.

    Raises:
        InputError: its blocks or width differ, or its tokens where both have them.
    """
    for name in ("n_blocks", "d_model"):
        a, b = getattr(model, name), getattr(other, name)
        if a != b:
            raise InputError(f"{other.name}: {name} is {b}; allowed: {a}, as in {model.name}")
    logits, here = other.anatomy.vocab, model.anatomy.vocab
    shared = min(logits, here, len(model.tokenizer), len(other.tokenizer))
    texts, others = (
        each.tokenizer.convert_ids_to_tokens(list(range(shared))) for each in (model, other)
    )
    renamed = [id for id in range(shared) if texts[id] != others[id]]
    if len(renamed) > MOST_RENAMED * shared:
        raise InputError(
            f"{other.name}: its tokenizer has other tokens than {model.name}'s for {len(renamed)} "
            f"of {shared} ids (first: {renamed[0]}, {others[renamed[0]]!r}, there "
            f"{texts[renamed[0]]!r}); allowed: a fine-tune of the base with its tokens"
        )
    notes: list[str] = []
    if renamed:
        notes.append(
            f"{len(renamed)} of {shared} token ids have another name in the fine-tune (first: "
            f"{renamed[0]}, {others[renamed[0]]!r}); both read the base's ids"
        )
    if logits != here:
        more = f"{abs(logits - here)} tokens {'more' if logits > here else 'less'}"
        notes.append(
            f"the fine-tune's vocabulary has {more} than the base's ({logits} and {here}): "
            f"predictions are compared among the {min(logits, here)} shared tokens"
        )
    return tuple(notes)


def differences(
    model: LanguageModel,
    changed: Adapter | LanguageModel,
    batches: Sequence[Batch],
    layers: Sequence[int],
) -> list[dict[int, Float[Tensor, "token d_model"]]]:
    """d_t at each block's output, per text, without its first token."""
    starts = [layer + 1 for layer in layers]
    stop = max(starts) if max(starts) < model.n_blocks else None
    with changed_model(model, changed) as other:
        after = [record(other, batch, starts, cache=False, stop=stop).inputs for batch in batches]
    moves: list[dict[int, Tensor]] = []
    for batch, moved in zip(batches, after, strict=True):
        base = record(model, batch, starts, cache=False, stop=stop).inputs
        moves.append(
            {
                start - 1: (moved.pop(start).to(base[start]) - base[start])[0, SKIP:].float().cpu()
                for start in starts
            }
        )
    return moves


def changed_rows(
    model: LanguageModel, changed: Adapter | LanguageModel, batches: Sequence[Batch]
) -> list[Float[Tensor, "row d_model"]]:
    """The changed model's last block's output at the wanted rows of each text."""
    with changed_model(model, changed) as other:
        recordings = [record(other, batch, [other.n_blocks], cache=False) for batch in batches]
        return [final_rows(other, recording, None)[0].clone() for recording in recordings]


def divergences(
    model: LanguageModel,
    head: LanguageModel,
    batches: Sequence[Batch],
    targets: Sequence[Float[Tensor, "row d_model"]],
    vectors: Sequence[Vector],
) -> tuple[Float[np.ndarray, "text arm"], Float[np.ndarray, " text"]]:
    """KL(changed || base + vector), summed over each text's rows; arm 0 is the base alone.

    `head` is the model whose final norm and LM head the changed one has, `targets` are
    `changed_rows`. Returns the sums in nats, and each text's number of rows.
    """
    starts = {vector.layer + 1 for vector in vectors} | {model.n_blocks}
    sums = np.zeros((len(batches), 1 + len(vectors)))
    for index, (batch, rows) in enumerate(zip(batches, targets, strict=True)):
        recording = record(model, batch, starts, cache=False)
        target = log_probs(head, rows)
        for arm, vector in enumerate((None, *vectors)):
            moved = final_rows(model, recording, None if vector is None else [vector])[0]
            sums[index, arm] = float(divergence(target, log_probs(model, moved)))
    return sums, np.array([len(rows) for rows in targets], dtype=float)


def fit_vector(
    model: LanguageModel,
    head: LanguageModel,
    batches: Sequence[Batch],
    targets: Sequence[Float[Tensor, "row d_model"]],
    start: Vector,
    size: float,
    steps: int,
) -> list[tuple[int, Vector]]:
    """Adam on KL(changed || base + v), a text a step in their order, the rate falling to zero.

    `head` and `targets` are as for `divergences`; a step goes about 3 % of `size` at first. Returns
    the vector at a few steps along the way, the last one among them, each with its number.
    """
    recordings = [record(model, batch, [start.layer + 1], cache=False) for batch in batches]
    masks = [SteeringMask.of(batch, select_each(batch, "all"), in_time=False) for batch in batches]
    direction = start.direction.detach().clone().to(model.device).requires_grad_(True)
    rate = 0.03 * size / direction.numel() ** 0.5
    about = {**start.about, "from": "audit: trained to do what a fine-tune does"}
    kept: list[tuple[int, Vector]] = []
    adam = torch.optim.Adam([direction], lr=rate)
    for step in range(steps):
        index = step % len(batches)
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        with torch.no_grad():
            target = log_probs(head, targets[index])
        moved = steered_rows(model, recordings[index], start, direction[None], masks[index])[0]
        logp = model.anatomy.readout(moved).float().log_softmax(dim=-1)
        loss = divergence(target.to(logp.device), logp) / len(target)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        if (step + 1) % max(1, steps // LOOKS) == 0 or step + 1 == steps:
            vector = Vector(start.layer, "all", direction.detach().cpu().clone(), about=about)
            kept.append((step + 1, vector))
    return kept


@torch.no_grad()
def log_probs(
    model: LanguageModel, rows: Float[Tensor, "row d_model"]
) -> Float[Tensor, "row vocab"]:
    """Next-token log-probabilities from the last block's output."""
    logps: Tensor = model.anatomy.readout(rows).float().log_softmax(dim=-1)
    return logps


def divergence(
    target: Float[Tensor, "row vocab"], logp: Float[Tensor, "row other"]
) -> Float[Tensor, ""]:
    """KL(target || logp), nats, summed over rows, among the tokens that both have."""
    target, logp = on_shared(target, logp.to(target.device))
    return torch.einsum("rv,rv->", target.exp(), target - logp)
