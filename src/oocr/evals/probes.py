"""Scoring items: the options' log-probabilities under an intervention."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, by_length
from oocr.data.examples import Example
from oocr.data.tokens import RowTokens
from oocr.engine.forward import final_rows, replayed_rows, start_block
from oocr.engine.losses import option_scores
from oocr.engine.recording import batch_of
from oocr.engine.recording_cache import RecordingCache, RecordingHandle, record_shared, tiers
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, attach_adapter
from oocr.steering.vectors import Vector

TOKENS_PER_BATCH = 1024


@dataclass(slots=True)
class Probes:
    """Items tokenized for a model, with recordings that all arms share.

    Options whose first tokens differ are told apart by them; where two options begin alike,
    each option of that item is scored by the log-probability of its whole text. Items that ask for
    it are told apart by their options' last tokens, at the same place.

    Attributes:
        model: the model.
        items: what is asked.
        lines: sequences; items that ask the same prompt share one.
        served: per line, the items it serves and the option that it ends in (-1: it ends in the
            prompt and all options are read from its last token).
        groups: line indices per batch.
        starts: blocks that are recorded in the first pass, whichever is asked for first.
        recorded: start block -> one recording per batch.
        shared: recordings by start block and token ids, for other items with the same prompts.
    """

    model: LanguageModel
    items: tuple[Example, ...]
    lines: list[TokenSequence] = field(default_factory=list[TokenSequence])
    served: list[list[tuple[int, int]]] = field(default_factory=list[list[tuple[int, int]]])
    groups: list[list[int]] = field(default_factory=list[list[int]])
    starts: frozenset[int] = frozenset()
    recorded: dict[int, list[RecordingHandle]] = field(
        default_factory=dict[int, list[RecordingHandle]]
    )
    shared: RecordingCache = field(default_factory=RecordingCache)

    @staticmethod
    def of(
        model: LanguageModel,
        items: Sequence[Example],
        shared: RecordingCache | None = None,
        starts: Collection[int] = (),
        rows: RowTokens | None = None,
    ) -> Probes:
        """Tokenize items; each needs at least two options.

        Args:
            model: the model.
            items: what is asked.
            shared: recordings of other items, to find the same prompts in.
            starts: blocks that arms will start from (n_blocks: the base), if they are known.
            rows: texts that were tokenized before, to look in first and add to.

        Raises:
            ValueError: an item without options.
        """
        known = RecordingCache(tiers(model.device)) if shared is None else shared
        probes = Probes(model, tuple(items), starts=frozenset(starts), shared=known)
        rows = RowTokens(model.tokenizer) if rows is None else rows
        served: dict[object, tuple[TokenSequence, list[tuple[int, int]]]] = {}
        for index, item in enumerate(items):
            if len(item.options) < 2:
                raise ValueError(f"item {item.id!r} has {len(item.options)} options; 2 are needed")
            prompt = rows.prompt(item.prompt, item.spans)
            size, spans = len(prompt.ids), dict(prompt.spans)
            same = (prompt.ids, tuple(sorted(spans.items())))
            if item.scored_by == "last_token":
                ends = [rows.answer(prompt, option)[-1] for option in item.options]
                firsts: tuple[int, ...] | None = tuple(ends)
            else:
                firsts = rows.first_tokens(prompt, item.options)
            if firsts is not None:
                fresh = TokenSequence(prompt.ids, size, spans, items=1)
                line, owners = served.setdefault(same, (fresh, []))
                line.options.append((size - 1, firsts, item.options.index(item.answer)))
                owners.append((index, -1))
                continue
            for place, option in enumerate(item.options):
                answer = rows.answer(prompt, option)
                fresh = TokenSequence((*prompt.ids, *answer[:-1]), size, spans, items=1)
                fresh.targets.extend((size - 1 + i, one, 1.0) for i, one in enumerate(answer))
                _, owners = served.setdefault((*same, answer), (fresh, []))
                owners.append((index, place))
        probes.lines = [line for line, _ in served.values()]
        probes.served = [owners for _, owners in served.values()]
        # Whole-text lines apart: they need the full vocabulary, the others a few rows of it.
        for whole in (False, True):
            indices = [i for i, owners in enumerate(probes.served) if (owners[0][1] >= 0) is whole]
            lengths = [len(probes.lines[i].ids) for i in indices]
            for group in by_length(lengths, TOKENS_PER_BATCH) if indices else []:
                probes.groups.append([indices[i] for i in group])
        return probes

    def frozen(self, start: int) -> list[RecordingHandle]:
        """The recordings for replays from a block, made at the first call."""
        if start not in self.recorded:
            wanted = self.starts | {start}
            recordings = [self._record(group, wanted) for group in self.groups]
            for block in wanted:
                self.recorded.setdefault(block, recordings)
        return self.recorded[start]

    def _record(self, group: list[int], starts: Collection[int]) -> RecordingHandle:
        lines = [self.lines[i] for i in group]
        return record_shared(self.model, batch_of(self.model, lines), starts, self.shared)

    @torch.no_grad()
    def scores(
        self,
        interventions: Sequence[Vector] | Adapter | None,
        *,
        everywhere: bool = True,
    ) -> Float[Tensor, "stack item option"]:
        """Each option's log-score, up to a constant per item; -inf where an item has fewer.

        Args:
            interventions: vectors of one site (stacked), one adapter, or None for the base.
            everywhere: refuse items in which a vector's positions select nothing.
        """
        if interventions is None:
            start = self.model.n_blocks
        else:
            start = start_block(
                interventions if isinstance(interventions, Adapter) else interventions[0]
            )
        recordings = self.frozen(start)
        if isinstance(interventions, Adapter):
            with attach_adapter(self.model, interventions):
                return self.scores_of([self._adapted(recording, start) for recording in recordings])
        return self.scores_of(
            [
                final_rows(self.model, recording.load(None), interventions, everywhere=everywhere)
                for recording in recordings
            ]
        )

    @torch.no_grad()
    def scores_of(
        self, rows: Sequence[Float[Tensor, "stack row d_model"]]
    ) -> Float[Tensor, "stack item option"]:
        """`scores` from the last block's output at each batch's wanted rows, however it came about.

        Args:
            rows: per batch, in the order of `groups`.
        """
        most = max(len(item.options) for item in self.items)
        out = torch.full((len(rows[0]), len(self.items), most), float("-inf"))
        batches = [recording.batch for recording in next(iter(self.recorded.values()))]
        for group, batch, some in zip(self.groups, batches, rows, strict=True):
            for layer, own in enumerate(some):
                self._fill(out[layer], group, batch, own)
        return out

    def _adapted(self, recording: RecordingHandle, start: int) -> Tensor:
        """The wanted rows with an adapter attached from a block on."""
        loaded = recording.load(start)
        return replayed_rows(self.model, loaded, loaded.inputs[start], start)

    def _fill(self, out: Tensor, group: list[int], batch: Batch, rows: Tensor) -> None:
        if len(batch.option_ids):
            scores = option_scores(self.model, batch, rows).cpu()
            owners = [item for line in group for item, _ in self.served[line]]
            for item, row in zip(owners, scores, strict=True):
                count = len(self.items[item].options)
                out[item, :count] = row[:count]
            return
        picked = self.model.anatomy.token_logps(rows, batch.target_rows, batch.target_ids).cpu()
        sequence = batch.rows[batch.target_rows, 0].cpu()
        totals = torch.zeros(batch.size).index_add_(0, sequence, picked)
        for line, total in zip(group, totals, strict=True):
            for owner in self.served[line]:
                out[owner] = total
