"""At which tokens of a forward call a vector acts: the same ones however the model is called.

A call may be a plain pass, the prefill or a later step of a cached generation, or one pass of a
generation without a cache; its rows may be padded on either side, repeated (beams, several samples)
or reordered within one prompt's rows. Selectors mean the prompt and what is generated after it:
inside `generate` the prompt is what was given to it; else it is all tokens of a call without a
cache, and tokens that continue its cache are generated ones.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from oocr.data.batches import Batch
from oocr.data.tokens import text_of, touching
from oocr.errors import InputError
from oocr.models.anatomy import anatomy
from oocr.models.language_model import LanguageModel
from oocr.steering.hooks import hooked
from oocr.steering.positions import PaddedSpans, select_each, selectors, selects_new, spans_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class KnownPrompt:
    """The tokens that coming forward calls are about, as far as their caller knows them."""

    width: int  # columns of the prompts, padding included; later ones are generated tokens
    ids: Int[Tensor, "prompt token"] | None = None
    mask: Bool[Tensor, "prompt token"] | None = None  # of real tokens; None: as the first call says
    last: Int[Tensor, " prompt"] | None = None  # each prompt's last column; None: its last token
    spans: Mapping[str, Bool[Tensor, "prompt token"]] = field(default_factory=dict[str, Tensor])
    """Span name -> True at its tokens; other spans are looked for in `ids`."""
    copies: int = 1  # of the rows in each call, the copies outermost


_PROMPT: ContextVar[KnownPrompt | None] = ContextVar("prompt", default=None)


@contextmanager
def prompt_known(prompt: KnownPrompt | Batch | None, *, copies: int = 1) -> Iterator[None]:
    """Say which tokens the forward calls inside are about; None: it is not known."""
    if isinstance(prompt, Batch):
        width = int(prompt.ids.shape[1])
        prompt = KnownPrompt(width, prompt.ids, prompt.mask, prompt.last, prompt.spans, copies)
    token = _PROMPT.set(prompt)
    try:
        yield
    finally:
        _PROMPT.reset(token)


@dataclass(frozen=True, slots=True)
class TokenSelection:
    """Where a vector acts in the prompts' columns, and whether at every token after them."""

    prompt: Bool[Tensor, "prompt token *span"]
    generated: Bool[Tensor, " prompt"]

    def columns(self, begin: int, count: int) -> Bool[Tensor, "prompt count *span"]:
        """The columns from `begin` on."""
        known = self.prompt[:, begin : begin + count]
        new = self.generated.view(-1, *[1] * (known.ndim - 1))
        more = new.expand(-1, count - known.shape[1], *known.shape[2:])
        return torch.cat([known, more], dim=1)


CACHES = ("past_key_values", "cache_params")
"""What families call the model's cache argument."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What one forward call of the model says of its tokens."""

    rows: int
    begin: int
    count: int
    ids: Tensor | None
    mask: Tensor | None
    masked: bool
    cache: Any

    @staticmethod
    def of(
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        cached: Mapping[Any, int],
    ) -> _Call:
        given = inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments
        given = {**given, **given.pop("kwargs", {})}
        ids = given.get("input_ids")
        shape = given["inputs_embeds"].shape if ids is None else ids.shape
        cache, mask = _cache_in(given.get), given.get("attention_mask")
        begin = 0 if cache is None else _cached_tokens(cache, cached)
        return _Call(shape[0], begin, shape[1], ids, _plain(mask), mask is not None, cache)


def _cache_in(get: Callable[[str], Any]) -> Any:
    return next((cache for name in CACHES if (cache := get(name)) is not None), None)


def _cached_tokens(cache: Any, cached: Mapping[Any, int]) -> int:
    """How many tokens a cache holds. One of states alone does not say: then as counted before."""
    try:
        return int(cache.get_seq_length())
    except ValueError:
        return cached.get(cache, 1 if cache.has_previous_state() else 0)


def _plain(mask: Any) -> Tensor | None:
    """An attention mask [batch, token]; None: it is another kind of mask, or none."""
    return mask.bool() if isinstance(mask, Tensor) and mask.ndim == 2 else None


class TokenChooser:
    """Where a vector acts in each forward call of a model, decided before the call.

    `now` is True at the steered tokens of the call that runs now; None: none runs. `tokens`, if
    given, is used in place of the selector: columns after these are not steered.
    """

    def __init__(
        self,
        positions: str,
        texts: Mapping[str, str],
        tokenizer: PreTrainedTokenizerBase | None,
        tokens: Bool[Tensor, "batch token *span"] | None,
    ) -> None:
        self.positions, self.texts, self.tokenizer = positions, texts, tokenizer
        self.now: Tensor | None = None
        self._running: nn.Module | None = None
        self._fixed: TokenSelection | None = None
        self._latest: TokenSelection | None = None
        self._known: WeakKeyDictionary[Any, TokenSelection] = WeakKeyDictionary()
        self._cached: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._end = 0
        needed = spans_of(positions)
        if tokens is not None:
            nowhere = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
            self._fixed = TokenSelection(tokens, nowhere)
        elif needed and not set(needed) & set(texts):
            raise InputError(
                f"positions {positions!r}: the vector names no such span; "
                f"allowed: {', '.join(selectors(texts))}"
            )

    @contextmanager
    def watching(self, hf: Any) -> Iterator[None]:
        """Follow the calls of a Hugging Face model inside."""
        handles = []
        for module in dict.fromkeys((hf, hf.base_model)):  # some families pass the base model by
            handles.append(module.register_forward_pre_hook(self._before, with_kwargs=True))
            handles.append(module.register_forward_hook(self._after, always_call=True))
        with hooked(*handles), _generations_noted(hf):
            yield

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._running is not None:
            return  # the model calls its base model, which was decided with it
        call, prompt = _Call.of(module, args, kwargs, self._cached), _PROMPT.get()
        self._end = call.begin + call.count
        selection = self._latest = self._fixed or self._selection(call, prompt)
        size, copies = len(selection.generated), 1 if prompt is None else prompt.copies
        if call.rows % (size * copies):
            raise InputError(
                f"tokens: found {size} sequences; the forward call has {call.rows}; "
                "allowed: as many, or a multiple of it"
            )
        chosen = selection.columns(call.begin, call.count)
        chosen = chosen.repeat_interleave(call.rows // (size * copies), dim=0)
        self._running, self.now = module, chosen.repeat(copies, *[1] * (chosen.ndim - 1))

    def _after(self, module: nn.Module, _args: object, output: Any) -> None:
        if module is not self._running:
            return
        self._running = self.now = None
        cache = _cache_in(lambda name: getattr(output, name, None))
        if cache is not None and self._latest is not None:
            self._known[cache], self._cached[cache] = self._latest, self._end

    def _selection(self, call: _Call, prompt: KnownPrompt | None) -> TokenSelection:
        key = prompt if prompt is not None else call.cache if call.begin else None
        if key is not None and key in self._known:
            return self._known[key]
        if prompt is None and call.begin:
            if self.positions != "all":
                raise InputError(
                    f"positions {self.positions!r}: which tokens they are is not known: the call "
                    f"continues {call.begin} cached tokens, and these were not computed under this "
                    "vector; allowed: 'all', or computing them inside the same `with`"
                )
            everywhere = torch.ones(call.rows, 1, dtype=torch.bool)
            return TokenSelection(everywhere, everywhere[:, 0])
        selection = self._select(
            call, KnownPrompt(call.count, call.ids) if prompt is None else prompt
        )
        if key is not None:
            self._known[key] = selection
        return selection

    def _select(self, call: _Call, prompt: KnownPrompt) -> TokenSelection:
        """The selector, in prompts of which the call may tell what is not known yet."""
        ids, mask = prompt.ids, prompt.mask
        size = call.rows if ids is None else len(ids)
        if mask is None and call.mask is not None and call.mask.shape[1] >= prompt.width:
            mask = call.mask[:: call.rows // size, : prompt.width]
        if mask is None and call.masked and self.positions != "all":
            raise InputError(
                f"positions {self.positions!r}: which tokens are padding is not known; allowed: an "
                "attention_mask [batch, token]"
            )
        if mask is None:
            mask = torch.ones(size, prompt.width, dtype=torch.bool)
        last = prompt.last
        if last is None:
            last = prompt.width - 1 - mask.long().flip(1).argmax(dim=1)
        spans = dict(prompt.spans)
        if missing := [name for name in spans_of(self.positions) if name not in spans]:
            spans |= self._spans(missing, ids, mask)
        marked = PaddedSpans(mask, last.to(mask.device), spans)
        chosen = select_each(marked, self.positions, everywhere=False)
        return TokenSelection(chosen, selects_new(marked, self.positions))

    def _spans(self, names: list[str], ids: Tensor | None, mask: Tensor) -> dict[str, Tensor]:
        texts = {name: self.texts[name] for name in names if name in self.texts}
        if not texts:
            return {}
        if ids is None or self.tokenizer is None:
            what = "token ids: found inputs_embeds" if ids is None else "the tokenizer: found none"
            raise InputError(
                f"positions {self.positions!r}: to find {list(texts.values())} takes {what}; "
                "allowed: positions without spans, or `tokens=` with the mask"
            )
        spans = {name: torch.zeros(mask.shape, dtype=torch.bool) for name in texts}
        for row, (tokens, real) in enumerate(zip(ids.cpu(), mask.cpu(), strict=True)):
            columns = real.nonzero().flatten()
            whole, offsets = text_of(self.tokenizer, tokens[columns].tolist())
            for name, text in texts.items():
                spans[name][row, columns[list(touching(whole, offsets, text))]] = True
        return {name: span.to(mask.device) for name, span in spans.items()}


@contextmanager
def _generations_noted(hf: Any) -> Iterator[None]:
    """Note the prompts of each `hf.generate` inside, which a pass without a cache does not show."""
    if not hasattr(hf, "generate"):
        yield
        return
    outer, generate = vars(hf).get("generate"), hf.generate

    @functools.wraps(generate)
    def noted(inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        ids = kwargs.get("input_ids") if inputs is None else inputs
        tokens = kwargs.get("inputs_embeds") if ids is None else ids
        if tokens is None:
            return generate(inputs, *args, **kwargs)
        with prompt_known(
            KnownPrompt(int(tokens.shape[1]), ids, _plain(kwargs.get("attention_mask")))
        ):
            return generate(inputs, *args, **kwargs)

    hf.generate = noted
    try:
        yield
    finally:
        if outer is None:
            del hf.generate
        else:
            hf.generate = outer


def language_model(
    model: LanguageModel | PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None
) -> LanguageModel:
    """A transformers model as steering needs it, neither frozen nor tested; or an InputError."""
    if isinstance(model, LanguageModel):
        return model
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model: found {model!r}; allowed: what oocr.load_model gives, or a transformers model"
        )
    config: Any = model.config
    name = str(config.name_or_path or type(model).__name__)
    words: Any = tokenizer
    return LanguageModel(name, model, words, anatomy(model), {"kind": "memory"}, "")
