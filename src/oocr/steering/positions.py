"""Position selectors: at which tokens of a sequence a vector is added.

A selector is "all", "last" (the last prompt token), "prompt", "answer", the name of a span
("codename": each token of each occurrence), or goes on from there: "from:last", "from:codename"
(from the span's first token on). Generated tokens are answer tokens. Spans joined by "+"
("paris+tokyo") name several directions, one for each span, that act together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from oocr.data.batches import Batch
from oocr.errors import InputError

FROM = "from:"
JOIN = "+"
FIXED = ("all", "last", "prompt", "answer", f"{FROM}last")
"""Selectors that need no span."""


@dataclass(frozen=True, slots=True)
class PaddedSpans:
    """Padded sequences, as selectors see them; `last`: the column of each prompt's last token."""

    mask: Bool[Tensor, "batch token"]
    last: Int[Tensor, " batch"]
    spans: Mapping[str, Bool[Tensor, "batch token"]]


def select(
    batch: Batch | PaddedSpans, positions: str, *, everywhere: bool = True
) -> Bool[Tensor, "batch token"]:
    """True at the tokens that the selector names; of joined spans at those of any of them.

    Raises:
        InputError: not a selector; with `everywhere` also an unknown span, or a sequence in which
            nothing is selected.
    """
    mask, last = batch.mask, batch.last[:, None]
    columns = torch.arange(mask.shape[1], device=mask.device)
    chosen = {
        "all": mask,
        "last": columns == last,
        "prompt": mask & (columns <= last),
        "answer": mask & (columns > last),
        f"{FROM}last": mask & (columns >= last),
    }.get(positions)
    if chosen is None:
        spans = spans_of(positions)
        if everywhere and len(spans) == 1 and spans[0] not in batch.spans:
            raise InputError(
                f"positions {positions!r}: no such span here; "
                f"allowed: {', '.join(selectors(batch.spans))}"
            )
        chosen = _by_span(batch, spans).any(dim=-1)
        if positions.startswith(FROM):
            chosen = mask & (chosen.cumsum(dim=1) > 0)
    needed = everywhere and positions != "answer"
    if needed and (empty := (~chosen.any(dim=1)).nonzero().flatten().tolist()):
        raise InputError(
            f"positions {positions!r} select no token in {len(empty)} of {len(batch.mask)} "
            f"sequences (first: sequence {empty[0]})"
        )
    return chosen


def _by_span(batch: Batch | PaddedSpans, spans: Iterable[str]) -> Bool[Tensor, "batch token span"]:
    nothing = torch.zeros_like(batch.mask)
    return torch.stack([batch.spans.get(name, nothing) for name in spans], dim=-1)


def select_each(
    batch: Batch | PaddedSpans, positions: str, *, everywhere: bool = True
) -> Bool[Tensor, "batch token *span"]:
    """`select`, and for joined spans the tokens of each span apart, on a last axis."""
    chosen = select(batch, positions, everywhere=everywhere)
    return _by_span(batch, spans_of(positions)) if JOIN in positions else chosen


def selects_new(batch: Batch | PaddedSpans, positions: str) -> Bool[Tensor, " batch"]:
    """True for sequences in which the selector also names each token generated after them."""
    if positions in ("all", "answer"):
        return torch.ones_like(batch.mask[:, 0])
    if positions.startswith(FROM):
        return select(batch, positions, everywhere=False).any(dim=1)
    spans_of(positions)
    return torch.zeros_like(batch.mask[:, 0])


def spans_of(positions: str) -> tuple[str, ...]:
    """The spans in a selector ("codename" for "from:codename"); refuses invalid selectors."""
    if positions in FIXED:
        return ()
    if JOIN in positions:
        spans = tuple(positions.split(JOIN))
        wrong = len(set(spans)) < len(spans)
    else:
        spans, wrong = (positions.removeprefix(FROM),), False
    if wrong or any(not name.strip() or ":" in name or name in FIXED for name in spans):
        raise InputError(
            f"positions {positions!r}: allowed: {', '.join(FIXED)}, a span's name, {FROM}<span>, "
            f"or different spans joined by {JOIN}"
        )
    return spans


def selectors(spans: Iterable[str]) -> list[str]:
    """Every selector that sequences with these spans allow."""
    names = list(spans)
    return [*FIXED, *names, *(FROM + name for name in names if JOIN not in name)]
