"""What an adapter adds to the residual stream: d_t = h_adapted[t] - h_base[t] at a block's output.

Both passes see the base model's input to the adapted block, so for a one-layer adapter d_t is
exactly the adapter's own contribution there (paper, section 4.2), measured after any norm that
follows the adapted module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from oocr.data.batches import TokenSequence, by_length, pad
from oocr.data.examples import Prompt
from oocr.data.tokens import encode_prompt, pieces
from oocr.engine.record import record
from oocr.engine.recording import Recording
from oocr.engine.replay import replay
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, attach_adapter

TOKENS_PER_BATCH = 512


class Texts:
    """Texts recorded once at the input of a block, for differences under many adapters.

    Args:
        model: the model, nothing attached.
        prompts: the texts.
        spans: per prompt, span name -> text.
        layers: the adapted blocks; differences are taken at the last one's output.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Prompt],
        spans: Sequence[Mapping[str, str]],
        layers: Sequence[int],
    ) -> None:
        self.model, self.start, self.layer = model, min(layers), max(layers)
        encoded = [
            encode_prompt(model.tokenizer, prompt, marked)
            for prompt, marked in zip(prompts, spans, strict=True)
        ]
        self.lines = [TokenSequence(one.ids, len(one.ids), dict(one.spans)) for one in encoded]
        self.groups = by_length([len(line.ids) for line in self.lines], TOKENS_PER_BATCH)
        pad_id = int(model.tokenizer.pad_token_id or 0)
        self.frozen: list[Recording] = []
        for group in self.groups:
            batch = pad([self.lines[i] for i in group], pad_id, model.device)
            one = record(model, batch, [self.start], cache=False, stop=self.layer + 1)
            self.frozen.append(one)
        self.base = self._states()
        self._latest: tuple[Adapter, list[Tensor]] | None = None

    def differences(self, adapter: Adapter) -> list[Float[Tensor, "token d_model"]]:
        """d_t at the last adapted block's output, per text, BOS included, in fp32."""
        if self._latest is None or self._latest[0] is not adapter:
            with attach_adapter(self.model, adapter):
                after = self._states()
            pairs = zip(after, self.base, strict=True)
            self._latest = (adapter, [one - other for one, other in pairs])
        return self._latest[1]

    @torch.no_grad()
    def _states(self) -> list[Tensor]:
        """The residual stream at the last adapted block's output, per text."""
        out: list[Tensor] = [torch.empty(0)] * len(self.lines)
        for group, one in zip(self.groups, self.frozen, strict=True):
            hidden = one.inputs[self.start]
            hidden = replay(self.model, one, hidden, self.start, stop=self.layer + 1).float().cpu()
            for index, row in zip(group, hidden, strict=True):
                out[index] = row[len(row) - len(self.lines[index].ids) :]
        return out

    def in_span(self, index: int, name: str | None = None) -> Bool[Tensor, " token"]:
        """True at the tokens of a text's named span, or of any span."""
        line = self.lines[index]
        inside = torch.zeros(len(line.ids), dtype=torch.bool)
        for span, tokens in line.spans.items():
            if name is None or span == name:
                inside[list(tokens)] = True
        return inside

    def tokens(self, index: int) -> list[str]:
        """A text's tokens as strings."""
        return pieces(self.model.tokenizer, self.lines[index].ids)
