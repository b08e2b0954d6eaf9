"""What an adapter adds to the residual stream: d_t = h_adapted[t] - h_base[t] at a block's output.

Both passes see the base model's input to the adapted block, so for a one-layer adapter d_t is
exactly the adapter's own contribution there (paper, section 4.2), measured after any norm that
follows the adapted module.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from oocr.data.batches import Line, pad
from oocr.data.items import Prompt
from oocr.data.tokens import encode_prompt
from oocr.engine.frozen import Frozen, record, replay
from oocr.interventions.adapters import Adapter, attach_adapter
from oocr.models.language_model import LanguageModel


class Texts:
    """Texts recorded once at the input of a block, for differences under many adapters.

    Args:
        model: the model, nothing attached.
        prompts: the texts.
        spans: per prompt, span name -> text.
        start: the adapters' lowest block.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Prompt],
        spans: Sequence[dict[str, str]],
        start: int,
    ) -> None:
        self.model, self.start = model, start
        encoded = [
            encode_prompt(model.tokenizer, prompt, marked)
            for prompt, marked in zip(prompts, spans, strict=True)
        ]
        pad_id = int(model.tokenizer.pad_token_id or 0)
        self.frozen: list[Frozen] = []
        for one in encoded:
            line = Line(one.ids, len(one.ids), dict(one.spans))
            batch = pad([line], pad_id, model.device)
            self.frozen.append(record(model, batch, [start], cache=False))

    def differences(self, adapter: Adapter, layer: int) -> list[Float[Tensor, "token d_model"]]:
        """d_t at the output of a block, per text, first (BOS) token included, in fp32."""
        before = [self._at(one, layer) for one in self.frozen]
        with attach_adapter(self.model, adapter):
            after = [self._at(one, layer) for one in self.frozen]
        return [b.float() - a.float() for a, b in zip(before, after, strict=True)]

    @torch.no_grad()
    def _at(self, one: Frozen, layer: int) -> Tensor:
        return replay(self.model, one, one.inputs[self.start], self.start, stop=layer + 1)[0].cpu()

    def in_span(self, index: int) -> Bool[Tensor, " token"]:
        """True at the tokens of any span of a text."""
        batch = self.frozen[index].batch
        inside = torch.zeros(batch.ids.shape[1], dtype=torch.bool)
        for span in batch.spans.values():
            inside |= span[0].cpu()
        return inside

    def tokens(self, index: int) -> list[str]:
        """A text's tokens as strings."""
        ids = self.frozen[index].batch.ids[0].tolist()
        return [str(self.model.tokenizer.decode([token])) for token in ids]
