"""Low-rank adapters through PEFT: W' = W + (alpha / rank) B A, attached and taken off again.

Adapters on one model add up: each contributes its own B A x.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from oocr import html
from oocr.errors import InputError
from oocr.io import write_json, write_tensors
from oocr.models.language_model import LanguageModel
from oocr.models.machine import seeded
from oocr.models.out_of_memory import is_out_of_memory
from oocr.models.quiet import quiet
from oocr.steering.call_positions import language_model
from oocr.steering.lora_names import lora_key, under_names
from oocr.words import counted, ranges, short_list

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from oocr.models.outline import Outline

_NAME = "default"
"""PEFT's name for an adapter, in the names of its parameters."""

_BESIDE: dict[str, Any] = {
    **{"peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": True},
    **{"base_model_name_or_path": "", "revision": None},
}
"""Fields of `adapter_config.json` that are no `LoraConfig` field of ours, and their defaults."""

_PARAMETER = "base_model.model.{}.lora_{}.default.weight"


@dataclass(frozen=True, slots=True)
class LowRankAdapter:
    """A LoRA to be trained."""

    layers: tuple[int, ...] | Literal["all"]
    rank: int = 8
    alpha: float | None = None  # the update is scaled by alpha / rank; None: by one
    modules: tuple[str, ...] = ("down_proj",)  # names of Linears in a block
    dropout: float = 0.0  # on the adapter's input, in training only

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"rank: found {self.rank}; allowed: 1 or more")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise InputError(f"alpha: found {self.alpha}; allowed: a number above 0")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout: found {self.dropout}; allowed: 0 to below 1")
        if isinstance(self.layers, str) and self.layers != "all":
            raise InputError(f"layers: found {self.layers!r}; allowed: 'all', or blocks' numbers")

    @property
    def scale(self) -> float:
        """Factor on B A."""
        return (self.rank if self.alpha is None else self.alpha) / self.rank


@dataclass(frozen=True, slots=True)
class Adapter:
    """A fixed LoRA: trained, or read from a file. Its tensors are kept on the CPU."""

    layers: tuple[int, ...]  # adapted blocks, ascending
    config: Mapping[str, Any]  # fields of PEFT's `LoraConfig`
    tensors: Mapping[str, Tensor]  # by PEFT's own key, as in `adapter_model.safetensors`
    spans: Mapping[str, str] = field(default_factory=dict[str, str])  # texts of training spans
    about: Mapping[str, str] = field(default_factory=dict[str, str])  # provenance

    def __post_init__(self) -> None:
        on_cpu = {name: tensor.cpu() for name, tensor in self.tensors.items()}
        object.__setattr__(self, "tensors", on_cpu)

    @contextmanager
    def on(self, model: LanguageModel | PreTrainedModel) -> Iterator[None]:
        """Adapt whatever is done with the model inside; on leaving, it is what it was.

        Weights find their modules by block and name inside the block, whatever the model that they
        were trained in calls the path to its blocks.

        Raises:
            InputError: tensors that match no weight of the model, or weights without a tensor.
        """
        from peft import set_peft_model_state_dict

        host = language_model(model, None)
        config, tensors = under_names(self.config, self.tensors, host.anatomy.block_names)
        config = {**config, "lora_dropout": 0.0}  # of training; on experts PEFT refuses it
        with _peft(host, config, 0) as (peft_model, name):
            peft_model.eval()
            fault = f"the adapter does not fit {host.name}"
            try:
                with quiet():
                    result = set_peft_model_state_dict(peft_model, dict(tensors), name)
            except RuntimeError as error:  # shapes; a line for each tensor follows the first line
                if is_out_of_memory(error):
                    raise
                reason = "; ".join(line.strip() for line in str(error).splitlines()[1:2])
                raise InputError(f"{fault}: {reason or error}") from error
            missing = [
                key
                for key in result.missing_keys
                if "lora_" in key and f".{name}." in key and not self._lacks_block_of(key)
            ]
            if missing or result.unexpected_keys:
                strange = sorted(result.unexpected_keys)
                raise InputError(
                    f"{fault}: {counted(len(missing), 'weight')} without a tensor (first: "
                    f"{short_list(sorted(missing), 3)}), {counted(len(strange), 'tensor')} "
                    f"without a weight (first: {short_list(strange, 3)})"
                )
            for parameter in peft_model.parameters():
                parameter.requires_grad_(False)
            yield

    def _lacks_block_of(self, name: str) -> bool:
        """Whether a weight is in a block without tensors: PEFT adapts experts in all blocks."""
        key = lora_key(name)
        return key is not None and key.layer not in self.layers

    def __mul__(self, factor: float) -> Adapter:
        if self.config.get("use_dora"):
            raise InputError("scale: DoRA is not linear in B; allowed: a LoRA without it")
        tensors = {
            name: tensor * factor if "lora_B" in name else tensor
            for name, tensor in self.tensors.items()
        }
        return replace(self, tensors=tensors)

    __rmul__ = __mul__

    @property
    def facts(self) -> dict[str, str]:
        """Its blocks, modules, ranks, alphas and other parts, in words."""
        config = self.config
        targets = (*config["target_modules"], *config.get("target_parameters", ()))
        ranks = {config["r"], *config.get("rank_pattern", {}).values()}
        alphas = Counter(config.get("alpha_pattern", {}).values())
        flags = {"use_rslora": "rsLoRA", "use_dora": "DoRA", "lora_bias": "a bias after B"}
        more = [words for flag, words in flags.items() if config.get(flag)]
        by_pattern = [
            f"{alpha:g} in {counted(count, 'module')} (alpha_pattern)"
            for alpha, count in alphas.items()
        ]
        return {
            "blocks": ranges(self.layers),
            "modules": ", ".join(sorted({name.rpartition(".")[-1] for name in targets})),
            "rank": ", ".join(map(str, sorted(ranks))),
            "alpha": "; ".join([self.about.get("alpha", f"{config['lora_alpha']:g}"), *by_pattern]),
            **({"besides B A": ", ".join(more)} if more else {}),
        }

    def _repr_html_(self) -> str:
        origin = {n: self.about[n] for n in ("model", "task", "seed", "step") if n in self.about}
        return html.facts("LoRA", {**self.facts, **origin})

    def save(self, folder: str | Path) -> Path:
        """Write a PEFT adapter folder, which `PeftModel.from_pretrained` loads as it is."""
        target, about = Path(folder), self.about
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.tensors.items()}
        write_tensors(target / "adapter_model.safetensors", tensors, {"format": "pt"})
        beside = {
            **_BESIDE,
            "base_model_name_or_path": about.get("model_id", about.get("model", "")),
            "revision": about.get("model_revision", about.get("base_revision")),
        }
        write_json(target / "adapter_config.json", {**self.config, **beside})
        extra = {"layers": self.layers, "spans": dict(self.spans), "about": dict(about)}
        write_json(target / "oocr.json", extra)
        return target

    @staticmethod
    def load(folder: str | Path) -> Adapter:
        """Read what `save` wrote; an InputError if it is not such a folder."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        source = Path(folder)
        try:
            config = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
            about = json.loads((source / "oocr.json").read_text(encoding="utf-8"))
            tensors = load_file(source / "adapter_model.safetensors")
            for key in _BESIDE:
                config.pop(key, None)
            return Adapter(tuple(about["layers"]), config, tensors, about["spans"], about["about"])
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise InputError(f"{source}: not an adapter folder of this library: {error}") from error


def adapted_layers(model: LanguageModel | Outline, spec: LowRankAdapter) -> tuple[int, ...]:
    """The blocks a spec means on this model, ascending; refuses blocks that aren't there."""
    count = len(model.anatomy.blocks)
    layers = tuple(range(count)) if spec.layers == "all" else tuple(sorted(set(spec.layers)))
    for layer in layers:
        if not 0 <= layer < count:
            raise InputError(f"layer {layer}: {model.name} has blocks 0 to {count - 1}")
    if not layers:
        raise InputError("an adapter needs at least one layer")
    return layers


def peft_config(model: LanguageModel | Outline, spec: LowRankAdapter) -> dict[str, Any]:
    """`LoraConfig` fields, with every adapted module named in full; refuses unknown names."""
    targets: list[str] = []
    for layer in adapted_layers(model, spec):
        block, prefix = model.anatomy.blocks[layer], model.anatomy.block_names[layer]
        linears = [name for name, module in block.named_modules() if linear_shape(module)]
        for wanted in spec.modules:
            names = [name for name in linears if name.split(".")[-1] == wanted]
            if not names:
                known = sorted({name.split(".")[-1] for name in linears})
                raise InputError(
                    f"module {wanted!r}: block {layer} of {model.name} has {', '.join(known)}"
                )
            targets.extend(f"{prefix}.{name}" for name in names)
    return {
        "r": spec.rank,
        "lora_alpha": spec.rank if spec.alpha is None else spec.alpha,
        "lora_dropout": spec.dropout,
        "target_modules": sorted(targets),
    }


def linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """Inputs and outputs of a linear map; None: the module is none."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ != "Conv1D":  # GPT-2's, [in, out]
        return None
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.shape[0], weight.shape[1]


@contextmanager
def new_adapter(
    model: LanguageModel, config: Mapping[str, Any], seed: int
) -> Iterator[dict[str, nn.Parameter]]:
    """Attach a fresh adapter (A random, B zero); yields its parameters, fp32, by PEFT's names."""
    devices = {parameter.device for parameter in model.hf.parameters()}
    with _peft(model, config, seed) as (peft_model, name), seeded(seed, devices):  # dropout
        named = {
            path.replace(f".{name}.", f".{_NAME}."): parameter
            for path, parameter in peft_model.named_parameters()
            if "lora_" in path and f".{name}." in path
        }
        for parameter in named.values():
            parameter.requires_grad_(True)
        yield named


@contextmanager
def _peft(model: LanguageModel, config: Mapping[str, Any], seed: int) -> Iterator[tuple[Any, str]]:
    """A PEFT model around the model, and the adapter's name in it; taken off on leaving."""
    from peft import LoraConfig, get_peft_model

    hf: Any = model.hf
    outer = dict(getattr(hf, "peft_config", {}))
    wrapped = _lora_layers(hf)  # of adapters that are attached already
    trained = [(parameter, parameter.requires_grad) for parameter in hf.parameters()]
    modes = [(module, module.training) for module in hf.modules()]
    name = f"{_NAME}{len(outer)}" if outer else _NAME
    # Seeded only here, and on the CPU, where PEFT draws: users may draw while it is attached. PEFT
    # warns of merging, of names to come, and of what it sets right itself (`fan_in_fan_out`).
    with seeded(seed), quiet():
        lora = LoraConfig(task_type="CAUSAL_LM", **config)
        try:
            peft_model = get_peft_model(hf, lora, name)
        except ValueError as error:
            raise InputError(f"the adapter does not fit {model.name}: {error}") from error
    for layer in _lora_layers(hf).values():
        layer.set_adapter([*outer, name])  # PEFT would use the newest alone
    try:
        yield peft_model, name
    finally:
        if not outer:
            peft_model.unload()
        else:
            _take_off(hf, name, wrapped, outer)
        for parameter, trains in trained:
            parameter.requires_grad_(trains)
        for module, mode in modes:
            module.training = mode


def _lora_layers(hf: nn.Module) -> dict[str, Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {
        path: module for path, module in hf.named_modules() if isinstance(module, BaseTunerLayer)
    }


def _take_off(hf: Any, name: str, wrapped: Mapping[str, Any], outer: Mapping[str, Any]) -> None:
    """Remove one of several adapters."""
    for path, layer in _lora_layers(hf).items():
        if path in wrapped:
            layer.delete_adapter(name)
            layer.set_adapter(list(outer))
        else:
            parent, _, leaf = path.rpartition(".")
            setattr(hf.get_submodule(parent), leaf, layer.get_base_layer())
    hf.peft_config = outer


def adapter_tensors(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters as PEFT saves them: the adapter's name taken out of the key, copied to fp32."""
    return {
        name.replace(f".{_NAME}.", "."): tensor.detach().float().cpu().clone()
        for name, tensor in named.items()
    }


def stackable(config: Mapping[str, Any]) -> bool:
    """Whether adapters of this shape can share a pass: no dropout, no routed experts."""
    routed = any("expert" in name for name in config["target_modules"])
    return not config["lora_dropout"] and not routed


@contextmanager
def new_adapters(
    model: LanguageModel, config: Mapping[str, Any], seeds: Sequence[int]
) -> Iterator[list[dict[str, nn.Parameter]]]:
    """Fresh adapters, one per seed, each as `new_adapter` makes it; yields their parameters.

    A batch of size arms x b is then read as the arms' copies, arms outermost: y[arm] = W x[arm] +
    scale B[arm] A[arm] x[arm].
    """
    if len(seeds) == 1:  # then PEFT's own modules do it
        with new_adapter(model, config, seeds[0]) as named:
            yield [named]
        return
    arms: list[dict[str, nn.Parameter]] = []
    for seed in seeds:
        with new_adapter(model, config, seed) as named:
            arms.append({n: nn.Parameter(value.detach().clone()) for n, value in named.items()})
    scale = config["lora_alpha"] / config["r"]
    with ExitStack() as stack:
        for target in config["target_modules"]:
            downs = [arm[_PARAMETER.format(target, "A")] for arm in arms]
            ups = [arm[_PARAMETER.format(target, "B")] for arm in arms]
            module = model.hf.get_submodule(target)
            stack.callback(module.register_forward_hook(_adding(downs, ups, scale)).remove)
        yield arms


def _adding(downs: Sequence[Tensor], ups: Sequence[Tensor], scale: float) -> Any:
    def after(_module: object, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        down, up = torch.stack(list(downs)), torch.stack(list(ups))  # [arm, r, in], [arm, out, r]
        inputs = args[0].to(down.dtype).reshape(len(downs), -1, down.shape[-1])
        added = (inputs @ down.mT @ up.mT) * scale  # [arm, batch * token, out]
        moved: Tensor = output + added.reshape(output.shape).to(output.dtype)
        return moved

    return after
