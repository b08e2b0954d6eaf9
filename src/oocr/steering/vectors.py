"""Steering vectors: h'[t] = h[t] + v at chosen tokens t, h = the output of one block or its MLP.

The MLP's output is what the block's MLP module returns, before any norm that follows it: where a
family has one (Gemma), a constant added there is no constant in the residual stream.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from oocr import html
from oocr.errors import InputError
from oocr.hub_files import HUB_FILE, fetch_vector, hub_path
from oocr.models.language_model import LanguageModel
from oocr.steering.call_positions import TokenChooser, language_model
from oocr.steering.hooks import Site as Site
from oocr.steering.hooks import check_site, stream_hook
from oocr.steering.positions import JOIN, spans_of
from oocr.steering.vector_file import (
    VectorContent,
    read_safetensors,
    vector_content,
    write_vector,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_ORIGIN = ("model", "task", "control", "seed", "step", "file")


@dataclass(frozen=True, slots=True)
class SteeringVector:
    """A vector to train, at a block's output or (site "mlp") at its MLP's output."""

    layer: int  # block at whose output it is added; -1: the embedding's output
    positions: str = "all"  # a selector; spans joined by "+" each get a direction of their own
    init_scale: float = 0.02  # norm of the random start, as a share of the median token norm
    site: Site = "block"
    init_norm: float | None = None  # norm of the random start itself, in place of `init_scale`

    def __post_init__(self) -> None:
        _check_site(self.layer, self.site)
        spans_of(self.positions)
        for name in ("init_scale", "init_norm"):
            size = getattr(self, name)
            if size is not None and not 0 <= size < math.inf:
                raise InputError(f"{name}: found {size}; allowed: 0 or more")


def _check_site(layer: int, site: str) -> None:
    if site not in get_args(Site):
        raise InputError(f"site {site!r}: allowed: {', '.join(get_args(Site))}")
    if site == "mlp" and layer < 0:
        raise InputError(f"site 'mlp': found layer {layer}; allowed: a block, from 0 on")


@dataclass(frozen=True, slots=True)
class Vector:
    """A fixed steering vector: trained, taken from an adapter, or drawn at random.

    Vectors of the same site and positions add and subtract; all scale. The direction is kept in
    float32 on the CPU, wherever it was made.
    """

    layer: int  # block at whose output it is added; -1: the embedding's output
    positions: str  # where it is added
    direction: Float[Tensor, "*span d_model"]  # where positions joins spans, a row for each
    spans: Mapping[str, str] = field(default_factory=dict[str, str])  # texts of the spans
    about: Mapping[str, str] = field(default_factory=dict[str, str])  # provenance
    site: Site = "block"  # the block's output, or its MLP's ("mlp") before any norm after it

    def __post_init__(self) -> None:
        object.__setattr__(self, "direction", self.direction.float().cpu())
        _check_site(self.layer, self.site)
        joined = self.positions.split(JOIN) if JOIN in self.positions else []
        shape = tuple(self.direction.shape)
        if len(shape) != 1 + bool(joined) or (joined and shape[0] != len(joined)):
            rows = f"{len(joined)} rows" if joined else "one dimension"
            raise InputError(f"a vector at {self.positions!r} has {rows}, found {shape}")
        if not torch.isfinite(self.direction).all():
            raise InputError("the vector holds values that are not finite")

    @property
    def norm(self) -> float:
        """Euclidean norm; of several directions the root mean square of theirs."""
        return float(self.direction.float().square().sum(dim=-1).mean().sqrt())

    @property
    def where(self) -> tuple[int, str, str]:
        """Layer, site and positions: vectors that share them can be stacked and added."""
        return self.layer, self.site, self.positions

    def at(self, positions: str) -> Vector:
        """The same direction, added at other tokens."""
        return replace(self, positions=positions)

    def only(self, span: str) -> Vector:
        """The direction of one of the joined spans, at that span."""
        names = self.positions.split(JOIN)
        if len(names) < 2 or span not in names:
            raise InputError(f"span {span!r}: the vector is at {self.positions!r}")
        spans = {name: text for name, text in self.spans.items() if name == span}
        return replace(
            self, positions=span, direction=self.direction[names.index(span)], spans=spans
        )

    def __mul__(self, factor: float) -> Vector:
        return replace(self, direction=self.direction * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Vector:
        return self * -1.0

    def __truediv__(self, factor: float) -> Vector:
        return self * (1.0 / factor)

    def __add__(self, other: Vector) -> Vector:
        if self.where != other.where:
            raise InputError(
                f"vectors at different sites do not add: {self.site} {self.layer} at "
                f"{self.positions!r} and {other.site} {other.layer} at {other.positions!r}"
            )
        about = {key: text for key, text in self.about.items() if other.about.get(key) == text}
        return replace(self, direction=self.direction + other.direction, about=about)

    def __sub__(self, other: Vector) -> Vector:
        return self + (-other)

    def cosine(self, other: Vector) -> float:
        """Signed cosine with another vector of the same layer."""
        a, b = self.direction.double().flatten(), other.direction.double().flatten()
        return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-300))

    @contextmanager
    def on(
        self,
        model: LanguageModel | PreTrainedModel,
        tokens: Bool[Tensor, "batch token *span"] | None = None,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> Iterator[None]:
        """Steer the model inside the block: passes, generation, pipelines, scores.

        A span acts in the prompts that contain its text. Vectors on one model add up. On leaving,
        also by an error, the model is restored.

        Args:
            model: the model, or its underlying transformers model.
            tokens: where to act in place of `positions`, by column, for each row (or each prompt,
                whose samples or beams are several rows). At generated tokens nothing is then added.
            tokenizer: of a transformers model, where `positions` names spans.

        Raises:
            InputError: a layer, site or width that the model doesn't have; a span without a text.
                Inside: a call that does not show which tokens the positions are.
        """
        host = language_model(model, tokenizer)
        if host is model:
            check_fits(host, self)
        else:  # whether the vector was made on it is not known
            check_site(host, self.layer, self.site, self.direction.shape[-1])
        chooser = TokenChooser(self.positions, self.spans, host.tokenizer, tokens)
        direction = self.direction.to(host.device)

        def moved(hidden: Tensor) -> Tensor:
            if chooser.now is None:
                raise InputError(
                    f"a vector is on {host.name}, which runs a block apart from it: it is not "
                    "known which tokens these are; allowed: calls of the whole model"
                )
            # Gemma-4's last blocks may run only the last tokens, whose logits are wanted.
            chosen = chooser.now[:, -hidden.shape[1] :] if hidden.ndim == 3 else chooser.now
            step = added(chosen.to(direction.device), direction[None])[0]
            return hidden + step.reshape(hidden.shape).to(hidden)  # its dtype and device

        place = f"{self.site} {self.positions} {sorted(self.spans.items())}"
        where = b"" if tokens is None else tokens.cpu().numpy().tobytes()
        values = self.direction.detach().float().cpu().numpy().tobytes()
        name = hashlib.sha256(place.encode() + where + values).hexdigest()[:16]
        with (
            chooser.watching(host.hf),
            stream_hook(host, self.layer, moved, site=self.site, name=name, at_tokens=True),
        ):
            yield

    def _repr_html_(self) -> str:
        what = "the embedding's output" if self.layer < 0 else f"block {self.layer}"
        origin = {name: text for name, text in self.about.items() if name in _ORIGIN}
        return html.facts(
            "Steering vector",
            {
                "added to": what if self.site == "block" else f"the MLP's output in {what}",
                "at tokens": self.positions,
                **{f"span {name}": repr(text) for name, text in self.spans.items()},
                "norm": f"{self.norm:.4g}",
                "width": self.direction.shape[-1],
                **origin,
            },
        )

    def save(self, path: str | Path) -> Path:
        """Write the vector's file (see `oocr.steering.vector_file`).

        Raises:
            InputError: `RESERVED` names in `about`, or another kind of file in this place.
        """
        content = VectorContent(
            self.layer, self.positions, self.direction, self.spans, self.about, self.site
        )
        return write_vector(Path(path), content)

    @staticmethod
    def load(path: str | Path, model: LanguageModel | None = None) -> Vector:
        """Read what `save` wrote, for a model if given; warns if it was made on another one.

        `path` may be on the Hub: "someone/japan", or an address (see `oocr.hub_files`).

        Raises:
            InputError: not such a file, or a vector that does not fit the model.
        """
        address = hub_path(path)
        file = None if address is None else fetch_vector(address)
        tensors, metadata = read_safetensors(path if file is None else file.local)
        try:
            content = vector_content(tensors, metadata)
            about = {} if file is None else {HUB_FILE: str(file.address)}
            vector = Vector(
                content.layer,
                content.positions,
                content.direction,
                content.spans,
                {**content.about, **about},
                content.site,
            )
            if model is not None:
                check_fits(model, vector)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        return vector


def random_vector(like: Vector, norm: float, seed: int) -> Vector:
    """A control: directions drawn uniformly from the sphere of a norm, at the same site."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(like.direction.shape, generator=generator, dtype=torch.float64)
    direction = direction / direction.norm(dim=-1, keepdim=True) * norm
    return replace(
        like,
        direction=direction.to(like.direction),
        about={"control": "random direction", "seed": str(seed)},
    )


def added(
    chosen: Bool[Tensor, "batch token *span"], directions: Float[Tensor, "stack *span d_model"]
) -> Float[Tensor, "stack batch token d_model"]:
    """What each stacked arm adds: its direction at chosen tokens, of joined spans one each."""
    if chosen.ndim == 2:
        return chosen[:, :, None] * directions[:, None, None, :]
    return torch.einsum("btk,skd->sbtd", chosen.to(directions.dtype), directions)


def check_fits(model: LanguageModel, vector: Vector) -> None:
    """Refuse a vector that does not belong on this model; warn if it was made on another one."""
    check_site(model, vector.layer, vector.site, vector.direction.shape[-1])
    if trouble := model.differs_from(vector.about):
        warnings.warn(f"the vector {trouble}", stacklevel=2)


def check_everywhere(vector: Vector, tool: str, *, everywhere: bool) -> None:
    """Refuse a vector that acts only at some tokens, for a tool that adds it to all tokens."""
    if vector.direction.ndim > 1:
        raise InputError(
            f"positions: found {vector.positions!r}, {len(vector.direction)} directions at as many "
            f"spans; {tool} adds one to every token; allowed: one of them (vector.only(span))"
        )
    if vector.positions != "all" and not everywhere:
        raise InputError(
            f"positions: found {vector.positions!r}; {tool} adds the vector to every token, where "
            "it may act differently; allowed: 'all' (or everywhere=True, on the command "
            "line --everywhere, to export it all the same)"
        )
