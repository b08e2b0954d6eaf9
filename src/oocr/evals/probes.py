"""Probes: options' log-scores under an intervention, and one row per item from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, by_prompt
from oocr.data.check_rows import Row, check_rows
from oocr.data.examples import Example, FreeTextExample
from oocr.data.tokens import RowTokens
from oocr.engine.forward import final_rows, replayed_rows, start_block
from oocr.engine.losses import option_scores
from oocr.engine.recording import batch_of
from oocr.engine.recording_cache import RecordingCache, RecordingHandle, record_shared, tiers
from oocr.errors import RunError
from oocr.models.language_model import LanguageModel
from oocr.models.position_limits import limits_of
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector
from oocr.words import counted

TOKENS_PER_BATCH = 1024

Columns = Mapping[str, str | int | float | None]
"""Constant columns of rows."""


def arm_columns(
    arm: str,
    member: str,
    seed: int | None = None,
    *,
    control: str = "",
    part: str | None = None,
    step: int | None = None,
    final: bool = True,
) -> Columns:
    """The columns of rows that say which arm was scored (see `oocr.runs.records`)."""
    about = {"arm": arm, "control": control, "member": member, "seed": seed}
    return {**about, "part": part, "step": step, "final": final}


@dataclass(slots=True)
class Probes:
    """Items tokenized for a model, with recordings that all arms share.

    An option's score is the logit of its first token; where two options of an item begin alike,
    the log-probability of its whole text; of items with `scored_by` "last_token", the logit of its
    last token at the prompt's end.

    Attributes:
        lines: sequences; items with the same prompt share one.
        served: per sequence, the items it serves and the option that it ends in (-1: it ends in
            the prompt, and all options are read from its last token).
        groups: indices of sequences per batch.
        starts: blocks that are recorded in the first pass, whichever is asked for first.
        recorded: start block -> one recording per batch.
        shared: recordings by start block and token ids, for other items with the same prompts.
    """

    model: LanguageModel
    items: tuple[Example, ...]
    lines: list[TokenSequence]
    served: list[list[tuple[int, int]]]
    groups: list[list[int]]
    starts: frozenset[int]
    shared: RecordingCache
    recorded: dict[int, list[RecordingHandle]]

    @staticmethod
    def of(
        model: LanguageModel,
        items: Sequence[Example],
        shared: RecordingCache | None = None,
        starts: Collection[int] = (),
        rows: RowTokens | None = None,
    ) -> Probes:
        """Tokenize items; each needs at least two options.

        `shared` has recordings of other items, `rows` texts that were tokenized before; `starts`:
        blocks that arms will start from (n_blocks: the base), if they are known.

        ValueError: an item without options. InputError: without `rows`, items that the model cannot
        read.
        """
        if rows is None:
            rows = RowTokens(model.tokenizer)
            check_rows(rows, map(Row.asked, items), limits_of(model))
        served: dict[object, tuple[TokenSequence, list[tuple[int, int]]]] = {}
        for index, item in enumerate(items):
            if len(item.options) < 2:
                raise ValueError(f"item {item.id!r} has {len(item.options)} options; 2 are needed")
            prompt = rows.prompt(item.prompt, item.spans)
            size, spans = len(prompt.ids), dict(prompt.spans)
            same = (prompt.ids, tuple(sorted(spans.items())))
            if item.scored_by == "last_token":
                ends = (rows.answer(prompt, option)[-1] for option in item.options)
                tokens: tuple[int, ...] | None = tuple(ends)
            else:
                tokens = rows.first_tokens(prompt, item.options)
            if tokens is not None:
                sequence = TokenSequence(prompt.ids, size, spans, items=1)
                sequence, owners = served.setdefault(same, (sequence, []))
                sequence.options.append((size - 1, tokens, item.options.index(item.answer)))
                owners.append((index, -1))
                continue
            for place, option in enumerate(item.options):
                answer = rows.answer(prompt, option)
                sequence = TokenSequence((*prompt.ids, *answer[:-1]), size, spans, items=1)
                sequence.targets.extend((size - 1 + i, id, 1.0) for i, id in enumerate(answer))
                _, owners = served.setdefault((*same, answer), (sequence, []))
                owners.append((index, place))
        lines = [sequence for sequence, _ in served.values()]
        owners_of = [owners for _, owners in served.values()]
        groups: list[list[int]] = []
        # Whole-text sequences apart: they need the full vocabulary, the others a few rows of it.
        for whole in (False, True):
            indices = [i for i, owners in enumerate(owners_of) if (owners[0][1] >= 0) is whole]
            batches = by_prompt([lines[i] for i in indices], TOKENS_PER_BATCH)
            groups += [[indices[i] for i in batch] for batch in batches]
        shared = RecordingCache(tiers(model.device)) if shared is None else shared
        known = frozenset(starts)
        return Probes(model, tuple(items), lines, owners_of, groups, known, shared, {})

    def frozen(self, start: int) -> list[RecordingHandle]:
        """The recordings for replays from a block, made at the first call."""
        if start not in self.recorded:
            wanted = self.starts | {start}
            batches = [
                batch_of(self.model, [self.lines[i] for i in group]) for group in self.groups
            ]
            recordings = [record_shared(self.model, b, wanted, self.shared) for b in batches]
            for block in wanted:
                self.recorded.setdefault(block, recordings)
        return self.recorded[start]

    @torch.no_grad()
    def scores(
        self, interventions: Sequence[Vector] | Adapter | None, *, everywhere: bool = True
    ) -> Float[Tensor, "stack item option"]:
        """Each option's log-score, up to a constant per item; -inf where an item has fewer.

        Of vectors of one site (stacked), one adapter, or None for the base. `everywhere`: refuse
        items in which a vector's positions select nothing.
        """
        if isinstance(interventions, Adapter):
            start = start_block(interventions)
            recordings = self.frozen(start)
            with interventions.on(self.model):
                return self.scores_of([self._adapted(recording, start) for recording in recordings])
        start = self.model.n_blocks if interventions is None else start_block(interventions[0])
        rows = [
            final_rows(self.model, recording.load(None), interventions, everywhere=everywhere)
            for recording in self.frozen(start)
        ]
        return self.scores_of(rows)

    @torch.no_grad()
    def scores_of(
        self, rows: Sequence[Float[Tensor, "stack row d_model"]]
    ) -> Float[Tensor, "stack item option"]:
        """`scores` from the last block's output at the wanted rows of each batch of `groups`."""
        most = max(len(item.options) for item in self.items)
        out = torch.full((len(rows[0]), len(self.items), most), float("-inf"))
        batches = [recording.batch for recording in next(iter(self.recorded.values()))]
        for group, batch, stack in zip(self.groups, batches, rows, strict=True):
            for arm, arm_rows in enumerate(stack):
                self._fill(out[arm], group, batch, arm_rows)
        return out

    def _adapted(self, recording: RecordingHandle, start: int) -> Tensor:
        """The wanted rows with an adapter attached from a block on."""
        loaded = recording.load(start)
        return replayed_rows(self.model, loaded, loaded.inputs[start], start)

    def _fill(self, out: Tensor, group: list[int], batch: Batch, rows: Tensor) -> None:
        if len(batch.option_ids):
            scores = option_scores(self.model, batch, rows).cpu()
            owners = [item for sequence in group for item, _ in self.served[sequence]]
            for item, row in zip(owners, scores, strict=True):
                count = len(self.items[item].options)
                out[item, :count] = row[:count]
            return
        picked = self.model.anatomy.token_logps(rows, batch.target_rows, batch.target_ids).cpu()
        places = batch.rows[batch.target_rows, 0].cpu()
        totals = torch.zeros(batch.size).index_add_(0, places, picked)
        for sequence, total in zip(group, totals, strict=True):
            for owner in self.served[sequence]:
                out[owner] = total


def rows(
    items: Sequence[Example], scores: Float[Tensor, "item option"], columns: Columns | None = None
) -> pl.DataFrame:
    """One row per item scored: the table from which all reported scores are computed.

    Scores are -inf beyond an item's options. Columns made here, besides those of the item and
    (first) `columns`:
        right: the best-scored option is the answer, alone.
        tied: the answer is scored best together with other options. A tie counts as wrong, because
        the model prefers no option; their number is shown beside the scores.
        rank: how many options are scored at least as high as the answer (0: it is the best).
        logp: log-probability of the answer among the options, in nats.
        log_odds: log of the odds of options with positive over those with negative value, in nats.
        value: mean of the options' values under their probabilities, in [-1, 1].
        chosen: the best-scored option's text.

    RunError: scores that are not numbers.
    """
    logits = scores.double().numpy()
    broken = np.isnan(logits).any(axis=1)
    if broken.any():
        first = items[int(broken.argmax())].id
        raise RunError(
            f"the model's scores of {counted(int(broken.sum()), 'item')} are NaN (first: {first!r})"
        )
    logp = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    place = np.array([item.options.index(item.answer) for item in items])
    indices = np.arange(len(items))
    answer = logp[indices, place]
    valid = np.isfinite(logp)
    rank = ((logp >= answer[:, None]) & valid).sum(axis=1) - 1
    values = np.zeros_like(logp)
    for index, item in enumerate(items):
        values[index, : len(item.options)] = item.option_values
    up = np.logaddexp.reduce(np.where(values > 0, logp, -np.inf), axis=1)
    down = np.logaddexp.reduce(np.where(values < 0, logp, -np.inf), axis=1)
    best = np.where(valid, logp, -np.inf).argmax(axis=1)
    tied = (rank > 0) & (answer == logp[indices, best])
    return item_frame(
        items,
        {
            "answer": [item.answer for item in items],
            "chosen": [item.options[option] for item, option in zip(items, best, strict=True)],
            "right": rank == 0,
            "tied": tied,
            "rank": rank.astype(np.int32),
            "options": [len(item.options) for item in items],
            "logp": answer,
            "log_odds": up - down,
            "value": np.where(valid, np.exp(logp) * values, 0.0).sum(axis=1),
        },
        columns,
    )


def item_frame(
    items: Sequence[Example] | Sequence[FreeTextExample],
    values: Mapping[str, object],
    columns: Columns | None,
) -> pl.DataFrame:
    """Rows of constant columns, what items say of themselves, values, and the items' tags."""
    tags = sorted({name for item in items for name in item.tags})
    names = ("id", "facet", "group", "template")
    about = {name: [getattr(item, name) for item in items] for name in names}
    frame = pl.DataFrame(
        {
            **{"item" if name == "id" else name: texts for name, texts in about.items()},
            **values,
            **{f"tag_{name}": [item.tags.get(name) for item in items] for name in tags},
        },
        schema_overrides={"right": pl.Boolean, **{f"tag_{name}": pl.String for name in tags}},
    )
    fixed = [
        # None stays untyped: beside the numbers of other arms it must not turn them into text.
        pl.lit(value, dtype=pl.String if isinstance(value, str) else None).alias(name)
        for name, value in (columns or {}).items()
    ]
    return frame.select(*fixed, pl.all())


def means(
    examples: Sequence[Example], scores: Float[Tensor, "item option"], *columns: str
) -> tuple[float, ...]:
    """Plain means over examples of columns of `rows`."""
    table = rows(examples, scores)
    return tuple(float(table[name].cast(float).to_numpy().mean()) for name in columns)
