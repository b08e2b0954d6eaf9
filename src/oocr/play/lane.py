"""One text, token by token, as events: the prompt, each new token, then what follows each token.

An event is a JSON object with a `type`:
    prompt   tokens: [{text, steered, special}], acts: per vector in use whether it acts anywhere
    token    text, id, probability, top (what it was picked from: [[text, probability], …])
    read     from: index of a token (the prompt's count too), values: [[projection, cosine], …]
    after    top: what would follow the last token
    options  the preset's options with their probabilities among themselves
    next     from, top: for each token of the prompt what the model expects after it
    end      why: "length", "end token"; first: seconds until the first token, all: of the whole
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.tokens import EncodedPrompt, RowTokens, encode_prompt, text_of
from oocr.engine.stream import NewToken, stream
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.models.position_limits import position_limits
from oocr.play.settings import TextSettings
from oocr.play.steering import SteeredTokens, SteeringSource, applied, used
from oocr.steering.hooks import hidden_of
from oocr.steering.vectors import Vector

Event = dict[str, Any]

TOP = 6
"""Next tokens that are shown."""

LOOKED_BACK = 160
"""Last tokens of a prompt whose next tokens are shown."""

AT_ONCE = 16
"""Rows in one product with the head."""


def text_events(
    model: LanguageModel, sources: Mapping[str, SteeringSource], settings: TextSettings
) -> Iterator[Event]:
    """Generate a text. What steers it is attached until the iterator ends or is closed.

    InputError: settings that do not go with the model.
    """
    began = time.perf_counter()
    active = used(sources, settings.steering)
    prompt = encode_prompt(model.tokenizer, settings.asked)
    option_ids = _option_ids(model, prompt, settings.options)
    size, first = len(prompt.ids), 0.0
    shown = _room(model, size, settings.new_tokens)
    yield _prompt_event(model, prompt, active)
    with ExitStack() as stack:
        for source, use in active:
            stack.enter_context(applied(source, use).on(model))
        reader = _Reader(model, _direction(sources, settings.colour))
        stack.callback(reader.remove)
        # One token more than is shown, for the state at the last one and what follows it.
        tokens = stream(
            model,
            prompt,
            max_new_tokens=shown + 1,
            temperature=settings.temperature,
            seed=settings.seed,
        )
        for place, token in enumerate(tokens):
            fed = size if place == 0 else 1
            logp = token.logits.log_softmax(dim=-1)
            new = _token_event(model, token, logp)
            if place == shown or token.ends:
                new = {"type": "after", "top": new["top"]}
            first = first or time.perf_counter() - began
            yield new
            if place == 0 and option_ids:
                yield _option_event(settings.options, token.logits[list(option_ids)])
            if reader.active:
                yield {"type": "read", "from": size + place - fed, "values": reader.take(fed)}
            if new["type"] == "after":
                break
        why = "end token" if token.ends else "length"
        yield {"type": "end", "why": why, "first": first, "all": time.perf_counter() - began}
        for start, rows in reader.prompt_rows(size):
            top = [_top(model, row) for row in rows.log_softmax(dim=-1)]
            yield {"type": "next", "from": start, "top": top}


def _room(model: LanguageModel, size: int, wanted: int) -> int:
    """How many new tokens there is room for: the last one is fed back too, to be coloured."""
    longest = position_limits(model).longest
    if longest is None:
        return wanted
    if size >= longest:
        raise InputError(f"the prompt has {size} tokens; {model.name} has {longest} positions")
    return min(wanted, longest - size)


def _direction(sources: Mapping[str, SteeringSource], id: str) -> Vector | None:
    source = sources.get(id)
    return source.steering if source and isinstance(source.steering, Vector) else None


def _prompt_event(model: LanguageModel, prompt: EncodedPrompt, active: Any) -> Event:
    text, offsets = text_of(model.tokenizer, prompt.ids)
    special = set(model.tokenizer.all_special_ids)
    marks = {
        source.id: SteeredTokens.of(model, prompt, use)
        for source, use in active
        if isinstance(source.steering, Vector)
    }
    done, shown = 0, []
    for place, (_, end) in enumerate(offsets):
        piece = text[done:end] if end > done else ""
        done = max(done, end)
        shown.append(
            {
                "text": piece,
                "special": prompt.ids[place] in special,
                "steered": [id for id, mark in marks.items() if mark.prompt[place]],
            }
        )
    return {
        "type": "prompt",
        "tokens": shown,
        "new_steered": [id for id, mark in marks.items() if mark.new],
        "nowhere": [id for id, mark in marks.items() if not any(mark.prompt) and not mark.new],
    }


def _token_event(model: LanguageModel, token: NewToken, logp: Tensor) -> Event:
    probability = float(logp[token.id].exp())
    top = _top(model, logp)
    return {
        "type": "token",
        "text": token.text,
        "id": token.id,
        "probability": probability,
        "top": top,
    }


def _top(model: LanguageModel, logp: Float[Tensor, " vocab"]) -> list[tuple[str, float]]:
    values, ids = logp.topk(min(TOP, len(logp)))
    words = len(model.tokenizer)
    return [
        (str(model.tokenizer.decode([id])) if id < words else f"<{id}>", round(p, 5))
        for id, p in zip(ids.tolist(), values.exp().tolist(), strict=True)
    ]


def _option_ids(
    model: LanguageModel, prompt: EncodedPrompt, options: tuple[str, ...]
) -> tuple[int, ...]:
    """The options' first tokens; none where two options share theirs."""
    if len(options) < 2:
        return ()
    return RowTokens(model.tokenizer).first_tokens(prompt, options) or ()


def _option_event(options: tuple[str, ...], logits: Tensor) -> Event:
    shares = logits.softmax(dim=-1).tolist()
    return {"type": "options", "shares": [[o, p] for o, p in zip(options, shares, strict=True)]}


class _Reader:
    """Reads the residual stream in each forward call, after whatever is attached before it.

    At a direction's block its projection h · v / |v| and cosine; at the last block the rows that
    logits are made from, of the first call only.
    """

    def __init__(self, model: LanguageModel, vector: Vector | None) -> None:
        self.model = model
        self.values: list[tuple[float, float]] = []
        self._rows: Tensor | None = None
        self._handles = [model.anatomy.blocks[-1].register_forward_hook(self._keep)]
        self.active = vector is not None and vector.norm > 0
        if vector is not None and self.active:
            self._unit = (vector.direction / vector.norm).to(model.device)
            blocks = model.anatomy.blocks
            if vector.layer < 0:
                before = blocks[0].register_forward_pre_hook(self._before, with_kwargs=True)
                self._handles.append(before)
            else:
                after = blocks[vector.layer].register_forward_hook(self._after)
                self._handles.append(after)

    def _keep(self, _module: object, _args: object, output: Any) -> None:
        if self._rows is None:
            self._rows = hidden_of(output)[0].detach()

    def _after(self, _module: object, _args: object, output: Any) -> None:
        self._read(hidden_of(output))

    def _before(self, _module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._read(args[0] if args else kwargs["hidden_states"])

    def _read(self, hidden: Tensor) -> None:
        rows = hidden[0].float()
        projections = rows @ self._unit.to(rows.device)
        cosines = projections / rows.norm(dim=-1).clamp(min=1e-12)
        self.values = list(zip(projections.tolist(), cosines.tolist(), strict=True))

    def take(self, count: int) -> list[tuple[float, float]]:
        """Those of the last `count` tokens of the last call."""
        return self.values[-count:]

    @torch.no_grad()
    def prompt_rows(self, size: int) -> Iterator[tuple[int, Float[Tensor, "row vocab"]]]:
        """Logits after the prompt's tokens but the last, a few at a time, with the first's index.

        Nothing where the last block ran some tokens only.
        """
        rows = self._rows
        if rows is None or len(rows) != size:
            return
        for start in range(max(0, size - 1 - LOOKED_BACK), size - 1, AT_ONCE):
            yield start, self.model.anatomy.readout(rows[start : min(start + AT_ONCE, size - 1)])

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
