"""Path patching: where a vector is read (paper, section 5.4).

The vector is added, and chosen modules return their outputs of the untouched pass, token by token:
"pattern" holds queries and keys (every token attends as before), "values" holds values, "attention"
and "mlp" the module's output, "both" leaves only the direct path through the residual stream. The
share of a part is the share of the effect that is lost when the part is held. Shares need not add
up to one, because parts act through each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor, nn

from oocr.data.batches import pad
from oocr.data.examples import Example
from oocr.engine.forward import plain_rows, start_block
from oocr.errors import InputError
from oocr.evals.probes import Probes, means
from oocr.models.attention import attention_of
from oocr.models.branches import mlp_of
from oocr.models.language_model import LanguageModel
from oocr.steering.hooks import hooked
from oocr.steering.vectors import Vector

HeldPart = Literal["pattern", "values", "attention", "mlp", "both"]
LINEARS: Mapping[str, tuple[str, ...]] = {"pattern": ("q_proj", "k_proj"), "values": ("v_proj",)}


@dataclass(frozen=True, slots=True)
class PathEffect:
    """The effect with one part held in one block (None: in all blocks above the vector).

    `log_odds`: mean of the trained pole (or the answer), part held; `lost`: share of the vector's
    effect on them that is lost.
    """

    part: HeldPart
    layer: int | None
    log_odds: float
    lost: float


@dataclass(frozen=True, slots=True)
class PathEffects:
    """Mean log-odds without the vector, with it, and with parts held (`effects`)."""

    base: float
    steered: float
    effects: tuple[PathEffect, ...]


def where_read(
    model: LanguageModel,
    examples: Sequence[Example],
    vector: Vector,
    parts: Sequence[HeldPart] = get_args(HeldPart),
    *,
    by_layer: bool = True,
) -> PathEffects:
    """Hold each part in all blocks above the vector, and (`by_layer`) in each of them.

    The effect is the mean of the examples' log-odds.

    InputError: an unknown part, or one that this family does not have apart (fused queries, keys
    and values).
    """
    reached = range(start_block(vector), model.n_blocks)
    modules: dict[tuple[HeldPart, int], list[nn.Module]] = {}
    for part in parts:
        if part not in get_args(HeldPart):
            raise InputError(f"parts: found {part!r}; allowed: {', '.join(get_args(HeldPart))}")
        for layer in reached:
            modules[part, layer] = _modules(model, part, layer)
    probes = Probes.of(model, examples)
    probes.frozen(model.n_blocks)
    # Padded in front even with a common beginning: each pass is one call of the whole batch.
    batches = [pad([probes.lines[i] for i in g], model.pad_id, model.device) for g in probes.groups]
    watched = dict.fromkeys(module for group in modules.values() for module in group)
    clean: list[dict[nn.Module, Any]] = []
    base: list[Tensor] = []
    for batch in batches:
        outputs: dict[nn.Module, Any] = {}
        with hooked(*[module.register_forward_hook(_keeping(outputs)) for module in watched]):
            base.append(plain_rows(model, batch, None)[None])
        clean.append(outputs)

    def score(batch_rows: Sequence[Tensor]) -> float:
        return means(examples, probes.scores_of(batch_rows)[0], "log_odds")[0]

    def held(group: Sequence[nn.Module]) -> float:
        batch_rows = []
        for batch, outputs in zip(batches, clean, strict=True):
            give = _giving(outputs)
            with hooked(*[module.register_forward_hook(give) for module in group]):
                batch_rows.append(plain_rows(model, batch, vector, everywhere=False)[None])
        return score(batch_rows)

    start, whole = score(base), held([])
    effect = whole - start

    def read(part: HeldPart, layer: int | None) -> PathEffect:
        layers = reached if layer is None else [layer]
        log_odds = held([module for at in layers for module in modules[part, at]])
        return PathEffect(
            part, layer, log_odds, 1 - (log_odds - start) / effect if effect else float("nan")
        )

    effects = [read(part, None) for part in parts]
    if by_layer:
        effects += [read(part, layer) for part in parts for layer in reached]
    return PathEffects(start, whole, tuple(effects))


def _modules(model: LanguageModel, part: HeldPart, layer: int) -> list[nn.Module]:
    if part == "mlp":
        return [mlp_of(model, layer).module]
    attention = attention_of(model, layer)
    if part == "attention":
        return [attention]
    if part == "both":
        return [attention, mlp_of(model, layer).module]
    names = LINEARS[part]
    if not all(hasattr(attention, name) for name in names):
        raise InputError(
            f"parts: {part!r} needs {', '.join(names)} apart; the attention of {model.name} has "
            f"{', '.join(name for name, _ in attention.named_children())}; "
            "allowed: attention, mlp, both"
        )
    return [getattr(attention, name) for name in names]


def _keeping(outputs: dict[nn.Module, Any]) -> Callable[[nn.Module, Any, Any], None]:
    """A hook that stores the outputs of modules."""
    return lambda module, _args, output: outputs.__setitem__(module, _copied(output))


def _giving(outputs: Mapping[nn.Module, Any]) -> Callable[[nn.Module, Any, Any], Any]:
    """A hook that replaces the outputs of modules by the stored ones."""
    return lambda module, _args, _output: _copied(outputs[module])


def _copied(output: Any) -> Any:
    """A copy: some families add to a module's output in place."""
    if isinstance(output, Tensor):
        return output.clone()
    if isinstance(output, tuple):
        return tuple(_copied(part) for part in output)
    return output
