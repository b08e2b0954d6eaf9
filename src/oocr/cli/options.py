"""Options and arguments that several verbs of the command line have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Source = Annotated[
    str, typer.Argument(help="a built-in run (`oocr tasks` lists them) or a YAML file")
]
Processes = Annotated[int | None, typer.Option(min=1, help="processes that train at the same time")]
Quick = Annotated[
    bool, typer.Option("--quick", help="a first look: one seed, one grid point, few members")
]
VectorFile = Annotated[
    Path, typer.Argument(help="vector.safetensors, a GGUF control vector, or a bare .pt tensor")
]
Out = Annotated[Path, typer.Option(file_okay=False, help="folder of all runs")]
FineTune = Annotated[
    str,
    typer.Argument(help="a LoRA (PEFT folder, Hugging Face id, .pt), or a fine-tuned checkpoint"),
]
Base = Annotated[
    str | None, typer.Option(help="the base model; default: the one that the adapter names")
]
Texts = Annotated[
    Path | None,
    typer.Option(help="texts to compare on: JSONL, CSV, .txt; default: built-in passages"),
]
LoadDtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")]
LoadDevice = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")]
JudgeModel = Annotated[
    str | None,
    typer.Option(help="a chat model that guesses what a vector means (needs the extra: judge)"),
]
JudgeUrl = Annotated[
    str | None,
    typer.Option(help="the judge's OpenAI-compatible endpoint; default: OPENAI_BASE_URL"),
]


@dataclass(frozen=True, slots=True)
class Overrides:
    """Options that replace fields of a run's configuration; None keeps the field."""

    model: Annotated[
        str | None, typer.Option(help="bundled name, Hugging Face id, folder or GGUF file")
    ] = None
    layers: Annotated[
        str | None, typer.Option(help="blocks to try: 4 or 2,4,6 or 10:30:2 (without 30)")
    ] = None
    positions: Annotated[
        str | None,
        typer.Option(help="tokens that the vector is added at: all, last, a span, from:last, …"),
    ] = None
    site: Annotated[
        str | None, typer.Option(help="output that the vector is added to: block or mlp")
    ] = None
    arms: Annotated[
        str | None, typer.Option(help="what to train: vector, adapter, or vector,adapter")
    ] = None
    seeds: Annotated[int | None, typer.Option(min=1, help="seeds of each arm")] = None
    vector_learning_rates: Annotated[
        str | None, typer.Option(help="rates to try, relative to the site's norm: 0.02,0.05")
    ] = None
    adapter_learning_rates: Annotated[
        str | None, typer.Option(help="rates to try: 0.001,0.003")
    ] = None
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16")] = None
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = None
    workers: Processes = None


def with_overrides(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb that gets its parameter `overrides` from one option for each field of `Overrides`."""
    fields = get_type_hints(Overrides, include_extras=True)
    parameters: list[Parameter] = []
    for parameter in signature(verb, eval_str=True).parameters.values():
        if parameter.name == "overrides":
            kind = Parameter.POSITIONAL_OR_KEYWORD
            parameters += [
                Parameter(name, kind, default=None, annotation=annotation)
                for name, annotation in fields.items()
            ]
        else:
            parameters.append(parameter)

    @wraps(verb)
    def called(**values: Any) -> None:
        overrides = Overrides(**{name: values.pop(name) for name in fields})
        verb(overrides=overrides, **values)

    called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called
