"""Log-probabilities of tokens in Inspect's form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspect_ai.model import Logprob, Logprobs, TopLogprob

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from oocr.inspect.steering import AskedPrompt


def token_logprobs(
    asked: AskedPrompt, text: str, rows: Float[Tensor, "token vocab"], top: int
) -> Logprobs:
    """Log-probabilities of an answer's tokens with `top` alternatives; else of the likeliest."""
    before = len(asked.encoded.ids)
    ids = asked.answer(text) or (int(rows[before - 1].argmax()),)
    following = rows[before - 1 : before - 1 + len(ids)]
    return _listed(asked, ids, following, top)


def prompt_logprobs(asked: AskedPrompt, rows: Float[Tensor, "token vocab"], top: int) -> Logprobs:
    """Log-probabilities of the prompt's tokens from the second on."""
    ids = asked.encoded.ids[1:]
    return _listed(asked, ids, rows[: len(ids)], top)


def _listed(
    asked: AskedPrompt, ids: tuple[int, ...], rows: Float[Tensor, "token vocab"], top: int
) -> Logprobs:
    decode = asked.model.tokenizer.decode
    content = []
    for token, row in zip(ids, rows, strict=True):
        values, places = row.topk(min(top, len(row)))
        listed = [
            TopLogprob(token=str(decode([int(place)])), logprob=float(value))
            for value, place in zip(values, places, strict=True)
        ]
        word = str(decode([token]))
        content.append(Logprob(token=word, logprob=float(row[token]), top_logprobs=listed or None))
    return Logprobs(content=content)
