"""What an intervention does to text it should leave alone: KL to the base model and perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from oocr.data.batches import TokenSequence, pad
from oocr.data.tokens import encode_prompt
from oocr.engine.forward import final_rows, start_block
from oocr.engine.recording import Recording, record
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector

EVERY = 4
"""At least every so many tokens one prediction is compared: each costs the text before it."""

TOGETHER = 64
"""Lines in a batch, where each prediction has its own."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Per token of neutral text.

    Attributes:
        tokens: how many next-token predictions were compared.
        kl: mean KL(base || intervention), nats.
        perplexity: exp of the mean negative log-probability of the true next token.
        perplexity_base: the same for the untouched model.
    """

    tokens: int
    kl: float
    perplexity: float
    perplexity_base: float


class NeutralText:
    """Passages with the base model's predictions at evenly spaced tokens, or at given ones.

    Args:
        model: the model, nothing attached.
        passages: the texts.
        starts: blocks from which interventions will start.
        tokens: predictions to compare, spread over the passages, which are cut where they are
            longer than that needs.
        apart: each prediction is made from a line of its own that ends there, so that a vector at
            "last" acts at one token, just before it. Else all of a passage's are made in one line,
            for interventions that act at every token.
        places: of each passage the tokens after which predictions are compared, some of them left
            out where `tokens` asks for less; None: any token.
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
        pad_id = int(model.tokenizer.pad_token_id or 0)
        self.frozen: list[Recording] = []
        self.base: list[Tensor] = []
        most = EVERY * tokens // len(passages) + 2 if places is None else None
        encoded = [encode_prompt(model.tokenizer, passage).ids[:most] for passage in passages]
        asked = places or [range(1, len(ids) - 1) for ids in encoded]
        step = max(1, sum(map(len, asked)) // tokens)
        # Apart in few batches: each reads the whole head once.
        lines: list[list[TokenSequence]] = [[]] if apart else []
        for ids, some in zip(encoded, asked, strict=True):
            if not apart:
                lines.append([TokenSequence(ids, len(ids), {}, items=1)])
                lines[-1][0].targets.extend((at, ids[at + 1], 1.0) for at in some[::step])
                continue
            for at in some[::step]:
                if len(lines[-1]) == TOGETHER:
                    lines.append([])
                lines[-1].append(TokenSequence(ids[: at + 1], at + 1, {}, items=1))
                lines[-1][-1].targets.append((at, ids[at + 1], 1.0))
        for together in lines:
            batch = pad(together, pad_id, model.device)
            one = record(model, batch, {*starts, model.n_blocks}, cache=apart)
            self.frozen.append(one)
            self.base.append(self._logp(final_rows(model, one, None)[0]))

    def damage(self, intervention: Vector | Adapter | LanguageModel) -> Damage:
        """KL and perplexity under an intervention (a vector acts where its positions say).

        In place of an intervention another checkpoint of the model can be given.
        """
        kl, nll, nll_base, count = 0.0, 0.0, 0.0, 0
        for one, base in zip(self.frozen, self.base, strict=True):
            logp = self._logp_under(one, intervention)
            targets = one.batch.target_ids
            kl += float((base.exp() * (base - logp)).sum())
            nll -= float(logp[one.batch.target_rows, targets].sum())
            nll_base -= float(base[one.batch.target_rows, targets].sum())
            count += len(targets)
        exp = torch.tensor([nll / count, nll_base / count]).exp().tolist()
        return Damage(count, kl / count, exp[0], exp[1])

    def _logp_under(self, one: Recording, intervention: Vector | Adapter | LanguageModel) -> Tensor:
        if isinstance(intervention, LanguageModel):
            other = record(intervention, one.batch, [intervention.n_blocks], cache=False)
            rows = final_rows(intervention, other, None)[0]
            return self._logp(rows, intervention).to(self.model.device)
        assert start_block(intervention) in one.inputs
        arm = [intervention] if isinstance(intervention, Vector) else intervention
        return self._logp(final_rows(self.model, one, arm)[0])

    @torch.no_grad()
    def _logp(self, rows: Tensor, model: LanguageModel | None = None) -> Tensor:
        return (model or self.model).anatomy.readout(rows).float().log_softmax(dim=-1)
