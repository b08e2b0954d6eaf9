"""A model with a vector or an adapter on it, as the arguments of Inspect's `-M` name them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field, ValidationError
from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, pad
from oocr.data.examples import Example, Prompt, prompt_text
from oocr.data.tokens import EncodedPrompt, encode_answer, encode_prompt, pieces
from oocr.engine.forward import Intervention
from oocr.engine.generate import generate
from oocr.engine.selftest import load_model
from oocr.errors import InputError
from oocr.evals.free_text import at_spans
from oocr.evals.probes import Probes
from oocr.io import Record
from oocr.models.language_model import LanguageModel
from oocr.models.position_limits import position_limits
from oocr.steering.adapters import Adapter
from oocr.steering.call_positions import prompt_known
from oocr.steering.formats.lora import read_adapter
from oocr.steering.formats.vector_layouts import read_vector
from oocr.steering.hooks import Site, check_site
from oocr.steering.positions import select, selects_new
from oocr.steering.vectors import Vector

SHOWN = 64
"""Steered tokens whose text is logged; all of their numbers are."""


class Arguments(Record):
    """Arguments of `-M`.

    `vector` and `adapter` are files (or Hugging Face ids), at most one of them; `scale` multiplies
    it; `layer`, `positions` and `site` say what a vector's file does not. `other_model`: accept one
    that was made on another model. `dtype` and `device` are those of `oocr.load_model`.
    """

    vector: str | None = None
    adapter: str | None = None
    scale: float = Field(default=1.0, allow_inf_nan=False)
    layer: int | None = None
    positions: str | None = None
    site: Site | None = None
    other_model: bool = False
    dtype: str = "auto"
    device: str = "auto"

    @staticmethod
    def of(given: Mapping[str, Any]) -> Arguments:
        """Checked arguments; an InputError names the field, the value and what is allowed."""
        try:
            arguments = Arguments.model_validate(dict(given))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            allowed = ", ".join(Arguments.model_fields)
            raise InputError(
                f"-M {name}={first['input']}: {first['msg']}; allowed: {allowed}"
            ) from error
        if arguments.vector is not None and arguments.adapter is not None:
            raise InputError("-M vector and -M adapter: found both; allowed: one of them")
        says = {name: getattr(arguments, name) for name in ("layer", "positions", "site")}
        if arguments.vector is None and (set_ := [n for n, v in says.items() if v is not None]):
            raise InputError(f"-M {set_[0]}: it is of a vector; give -M vector=FILE too")
        return arguments


@dataclass(frozen=True, slots=True)
class Steering:
    """A model and its intervention (None: untouched); `logged` goes into each call's log."""

    model: LanguageModel
    acting: Intervention | None
    logged: Mapping[str, Any]

    @staticmethod
    def load(name: str, given: Mapping[str, Any]) -> Steering:
        """Load what the arguments name.

        Raises:
            InputError: no such model or file, or one that belongs on another model.
        """
        settings = Arguments.of(given)
        acting: Intervention | None = None
        if settings.vector is not None:
            acting = read_vector(
                settings.vector,
                layer=settings.layer,
                positions=settings.positions,
                site=settings.site,
            )
        elif settings.adapter is not None:
            acting = read_adapter(settings.adapter)
        model = load_model(name, dtype=settings.dtype, device=settings.device)
        if acting is None:
            return Steering(model, None, {})
        file = settings.vector or settings.adapter
        if isinstance(acting, Vector):
            try:
                check_site(model, acting.layer, acting.site, acting.direction.shape[-1])
            except InputError as error:
                raise InputError(f"{file}: {error}") from error
        trouble = model.differs_from(acting.about)
        if trouble and not settings.other_model:
            raise InputError(f"{file}: it {trouble}; to use it all the same: -M other_model=true")
        acting = acting if settings.scale == 1.0 else acting * settings.scale
        return Steering(model, acting, _logged(acting, str(file), settings.scale))

    @property
    def about(self) -> dict[str, str]:
        """The origin of the vector or adapter, from its file."""
        return {} if self.acting is None else dict(self.acting.about)

    def asked(self, prompt: Prompt, spans: Mapping[str, str]) -> AskedPrompt:
        """A prompt, with the tokens at which the vector acts in it."""
        acting = at_spans(self.acting, prompt, spans)
        known = dict(acting.spans) if isinstance(acting, Vector) else {}
        text = prompt_text(prompt)
        present = {name: words for name, words in known.items() if words in text}
        encoded = encode_prompt(self.model.tokenizer, prompt, present)
        batch = pad([TokenSequence.of(encoded)], self.model.pad_id, self.model.device)
        return AskedPrompt(self.model, acting, prompt, present, encoded, batch)


def _logged(acting: Intervention, file: str, scale: float) -> dict[str, Any]:
    if isinstance(acting, Adapter):
        return {"adapter": {"file": file, "scale": scale, **acting.facts}}
    return {
        "vector": {
            "file": file,
            "scale": scale,
            "layer": acting.layer,
            "site": acting.site,
            "positions": acting.positions,
            "norm": acting.norm,
            "sha256": hashlib.sha256(acting.direction.numpy().tobytes()).hexdigest(),
        }
    }


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """A prompt in a steered model's tokens; `acting` is None where a vector finds no token.

    `spans`: the texts of the vector's spans that are in the prompt.
    """

    model: LanguageModel
    acting: Intervention | None
    prompt: Prompt
    spans: Mapping[str, str]
    encoded: EncodedPrompt
    batch: Batch

    @property
    def where(self) -> dict[str, Any]:
        """Which tokens are steered: their places in the prompt, and whether generated ones are."""
        if self.acting is None:
            return {"tokens": [], "text": [], "generated": False}
        if isinstance(self.acting, Adapter):
            return {"tokens": "all", "text": [], "generated": True}
        chosen = select(self.batch, self.acting.positions, everywhere=False)[0]
        places = [int(place) for place in chosen.nonzero().flatten()]
        texts = pieces(self.model.tokenizer, self.encoded.ids)
        return {
            "tokens": places,
            "text": [texts[place] for place in places[:SHOWN]],
            "generated": bool(selects_new(self.batch, self.acting.positions)[0]),
        }

    def option_scores(self, choice: Example) -> list[float]:
        """Each option's log-probability among the options, as a run scores it."""
        probes = Probes.of(self.model, [replace(choice, spans=self.spans)])
        acting = self.acting
        stack = [acting] if isinstance(acting, Vector) else acting
        scores = probes.scores(stack, everywhere=False)[0, 0]
        return [float(score) for score in scores.double().log_softmax(-1)]

    def continued(self, config: Any, longest: int, seed: int) -> tuple[list[str], dict[int, Any]]:
        """The answers to a request's `GenerateConfig`, and why those that did not end stopped."""
        limit = position_limits(self.model).longest
        left = None if limit is None else limit - len(self.encoded.ids) + 1
        wanted = config.max_tokens or longest
        count = wanted if left is None else min(wanted, left)
        if count < 1:
            return [""], {0: "model_length"}
        texts = generate(
            self.model,
            [self.prompt] * (config.num_choices or 1),
            self.acting,
            max_new_tokens=count,
            temperature=config.temperature or 0.0,
            seed=seed,
        )
        why = "max_tokens" if count == wanted else "model_length"
        reasons = {n: why for n, text in enumerate(texts) if len(self.answer(text)) >= count}
        for stop in config.stop_seqs or ():
            for place, text in enumerate(texts):
                if stop in text:
                    texts[place] = text[: text.index(stop)]
                    reasons.pop(place, None)
        return texts, reasons

    def answer(self, text: str) -> tuple[int, ...]:
        """An answer's tokens after the prompt."""
        return encode_answer(self.model.tokenizer, self.encoded, text) if text else ()

    @torch.no_grad()
    def log_probabilities(self, text: str) -> Float[Tensor, "token vocab"]:
        """Of the next token after each of the prompt and an answer, in one plain pass."""
        ids = torch.tensor([[*self.encoded.ids, *self.answer(text)]], device=self.model.device)
        call = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
        with prompt_known(self.batch):
            if self.acting is None:
                logits = self.model.hf(**call).logits
            else:
                with self.acting.on(self.model):
                    logits = self.model.hf(**call).logits
        rows: Tensor = logits[0].float().log_softmax(-1).cpu()
        return rows
