"""One text, token by token, as events: the prompt, each new token, then what follows each token.

An event is a JSON object with a `type`:
    prompt   tokens: [{text, special, steered: [id of a vector]}], new_steered: ids at new tokens,
             nowhere: ids that act at no token, unknown: tokens that stand for an unknown word
    token    text, id, probability, top (what it was picked from: [[text, probability], …])
    read     from: index of a token (the prompt's count too), values: [[projection, cosine], …]
    after    top: what would follow the last token
    options  the preset's options with their probabilities among themselves
    next     from, top: for each token of the prompt what the model expects after it
    end      why: "length", "end token"; first: seconds until the first token, all: of the whole
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import chain

from jaxtyping import Float
from torch import Tensor

from oocr.data.tokens import EncodedPrompt, RowTokens, encode_prompt, text_of
from oocr.engine.stream import NewToken, stream
from oocr.errors import InputError, RunError
from oocr.models.language_model import LanguageModel
from oocr.models.position_limits import position_limits
from oocr.play.reader import Reader
from oocr.play.settings import SteeringUse, TextSettings
from oocr.play.steering import SteeredTokens, SteeringSource, applied, used
from oocr.play.turns import Event
from oocr.steering.vectors import Vector

TOP = 6
"""Number of next tokens that are shown."""


def takes_turns(
    model: LanguageModel, sources: Mapping[str, SteeringSource], settings: TextSettings
) -> bool:
    """Whether other texts may be generated between two tokens of this text.

    Vectors are put on and taken off for each; a LoRA stays on until the end. Where blocks keep
    states, a vector that is put on anew does not know how many tokens came before.
    """
    active = used(sources, settings.steering)
    return model.reuses_keys and all(isinstance(source.steering, Vector) for source, _ in active)


def text_events(
    model: LanguageModel, sources: Mapping[str, SteeringSource], settings: TextSettings
) -> Iterator[Event]:
    """Generate a text (see `takes_turns` for what is attached between two events).

    InputError: settings that do not go with the model.
    """
    began = time.perf_counter()
    active = used(sources, settings.steering)
    prompt = encode_prompt(model.tokenizer, settings.asked)
    option_ids = _option_ids(model, prompt, settings.options)
    size, first = len(prompt.ids), 0.0
    shown = _possible_tokens(model, size, settings.new_tokens)
    yield _prompt_event(model, prompt, active)
    reader = Reader(model, _direction(sources, settings.colour))
    arms = [applied(source, use) for source, use in active]

    @contextmanager
    def attached() -> Iterator[None]:
        with ExitStack() as stack:
            for arm in arms:
                stack.enter_context(arm.on(model))
            with reader.reading():
                yield

    whole: Callable[[], AbstractContextManager[None]]
    each: Callable[[], AbstractContextManager[None]]
    whole, each = attached, nullcontext
    if takes_turns(model, sources, settings):
        whole, each = nullcontext, attached
    # One token more than is shown, for the state at the last one and what follows it.
    tokens = stream(
        model,
        prompt,
        max_new_tokens=shown + 1,
        temperature=settings.temperature,
        seed=settings.seed,
    )
    with whole():
        for place in range(shown + 1):
            with each():
                token = next(tokens)
            values = reader.take(size if place == 0 else 1)
            _check_finite(token, values)
            if reader.active:  # the last tokens alone, where the block ran no others
                yield {"type": "read", "from": size + place - len(values), "values": values}
            if place == 0 and option_ids:
                yield _option_event(settings.options, token.logits[list(option_ids)])
            logp = token.logits.log_softmax(dim=-1)
            first = first or time.perf_counter() - began
            if place == shown or token.ends:
                yield {"type": "after", "top": _top(model, logp)}
                break
            yield _token_event(model, token, logp)
    why = "end token" if token.ends else "length"
    yield {"type": "end", "why": why, "first": first, "all": time.perf_counter() - began}
    for start, rows in reader.prompt_rows(size):
        top = [_top(model, row) for row in rows.log_softmax(dim=-1)]
        yield {"type": "next", "from": start, "top": top}


def _check_finite(token: NewToken, values: Sequence[tuple[float, float]]) -> None:
    """RunError: numbers that JSON does not have, and from which no token can be chosen."""
    if token.logits.isnan().any() or not all(map(math.isfinite, chain(*values))):
        raise RunError("the model's numbers are not finite here; try a lower strength")


def _possible_tokens(model: LanguageModel, size: int, wanted: int) -> int:
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


def _prompt_event(
    model: LanguageModel,
    prompt: EncodedPrompt,
    active: Sequence[tuple[SteeringSource, SteeringUse]],
) -> Event:
    text, offsets = text_of(model.tokenizer, prompt.ids)
    special = set(model.tokenizer.all_special_ids)
    marks = [
        (source.id, SteeredTokens.of(model, prompt, use))
        for source, use in active
        if isinstance(source.steering, Vector)
    ]
    done, shown = 0, []
    for place, (_, end) in enumerate(offsets):
        piece = text[done:end] if end > done else ""
        done = max(done, end)
        shown.append(
            {
                "text": piece,
                "special": prompt.ids[place] in special,
                "steered": [id for id, mark in marks if mark.prompt[place]],
            }
        )
    return {
        "type": "prompt",
        "tokens": shown,
        "new_steered": [id for id, mark in marks if mark.new],
        "unknown": prompt.ids.count(model.tokenizer.unk_token_id),
        "nowhere": [id for id, mark in marks if not any(mark.prompt) and not mark.new],
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
