"""Blocks after full fine-tuning: new values of their weights, put on a model and taken off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from oocr.errors import InputError
from oocr.models.language_model import LanguageModel


@dataclass(frozen=True, slots=True, eq=False)
class TunedWeights:
    """Values of the blocks' parameters, by their names in the transformers model.

    Embedding, final norm and LM head are the model's own.
    """

    tensors: Mapping[str, Tensor]
    about: Mapping[str, str] = field(default_factory=dict[str, str])

    @contextmanager
    def on(self, model: LanguageModel) -> Iterator[None]:
        """The model computes with these values inside; on leaving it has its own again.

        InputError: a parameter that the model lacks, or has in another shape.
        """
        named = block_parameters(model)
        for name, tensor in self.tensors.items():
            shape = tuple(named[name].shape) if name in named else None
            if shape != tuple(tensor.shape):
                raise InputError(
                    f"tuned weights: found {name} of shape {tuple(tensor.shape)}; {model.name} has "
                    f"{'none of that name' if shape is None else shape}"
                )
        with replaced({named[name]: tensor for name, tensor in self.tensors.items()}):
            yield

    @property
    def numbers(self) -> int:
        """How many."""
        return sum(tensor.numel() for tensor in self.tensors.values())


def block_parameters(model: LanguageModel) -> dict[str, nn.Parameter]:
    """The parameters of all blocks, each once, by their names in the transformers model."""
    blocks = zip(model.anatomy.block_names, model.anatomy.blocks, strict=True)
    named = {
        f"{prefix}.{name}": parameter
        for prefix, block in blocks
        for name, parameter in block.named_parameters()
    }
    return {name: p for name, p in named.items() if p.dtype.is_floating_point}


@contextmanager
def replaced(values: Mapping[nn.Parameter, Tensor]) -> Iterator[None]:
    """Parameters hold other tensors inside. Their own are not written to: they may be shared."""
    original = {parameter: parameter.data for parameter in values}
    try:
        for parameter, tensor in values.items():
            parameter.data = tensor
        yield
    finally:
        for parameter, tensor in original.items():
            parameter.data = tensor
