"""Options and arguments that several verbs of the command line have."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from typer import Argument, Option

from oocr.io import command_line

Text = str | None

Source = Annotated[str, Argument(help="a built-in run (`oocr tasks` lists them) or a YAML file")]
Processes = Annotated[int | None, Option(min=1, help="processes that train at the same time")]
Quick = Annotated[
    bool, Option("--quick", help="a first look: one seed, one grid point, few members")
]
VectorFile = Annotated[
    Path, Argument(help="a vector, of any project: .safetensors, .pt, .npy, GGUF control vector")
]
Exported = Annotated[Path, Argument(help="a vector, of any project, or the folder of a run")]
VectorLayer = Annotated[
    Text, Option("--layer", help="its block, if the file does not say; of several: 12 or 2,4,6")
]
VectorPositions = Annotated[
    Text, Option("--positions", help="tokens that it is added at: all, last, a span, …")
]
VectorSite = Annotated[
    Text, Option("--site", help="output that it is added to, if the file does not say: block, mlp")
]
Out = Annotated[Path, Option(file_okay=False, help="folder of all runs")]
OutOrUrl = Annotated[
    str, Option("--out", help="folder of all runs, or an address: s3://bucket/runs")
]
Local = Annotated[
    Path | None,
    Option(file_okay=False, help="of runs at an address: their folder here; default: in the cache"),
]
FineTunes = Annotated[
    list[str] | None,
    Argument(
        help="a LoRA (PEFT folder, Hugging Face id, .pt), or a fine-tuned checkpoint; or several"
    ),
]
Base = Annotated[Text, Option(help="the base model; default: the one that the adapter names")]
Texts = Annotated[
    Path | None,
    Option(
        help="texts to compare on: .jsonl, .json, .parquet, .csv, .txt; default: built-in passages"
    ),
]
LoadDtype = Annotated[str, Option(help="auto, float32, bfloat16 or float16")]
LoadDevice = Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps")]
JudgeModel = Annotated[
    Text, Option(help="a chat model that guesses what a vector means (needs the extra: judge)")
]
JudgeUrl = Annotated[
    Text, Option(help="the judge's OpenAI-compatible endpoint; default: OPENAI_BASE_URL")
]


@dataclass(frozen=True, slots=True)
class Overrides:
    """Options that replace fields of a run's configuration; None keeps the field."""

    model: Annotated[
        Text, Option(help="bundled name, Hugging Face id (or id@revision), folder or GGUF")
    ] = None
    layers: Annotated[Text, Option(help="blocks to try: 4 or 2,4,6 or 10:30:2 (without 30)")] = None
    positions: Annotated[
        Text, Option(help="tokens that the vector is added at: all, last, a span, from:last, ...")
    ] = None
    site: Annotated[Text, Option(help="output that the vector is added to: block or mlp")] = None
    arms: Annotated[Text, Option(help="what to train: vector, adapter, or vector,adapter")] = None
    seeds: Annotated[int | None, Option(min=1, help="seeds of each arm")] = None
    vector_learning_rates: Annotated[
        Text, Option(help="rates to try, relative to the site's norm: 0.02,0.05")
    ] = None
    adapter_learning_rates: Annotated[Text, Option(help="rates to try: 0.001,0.003")] = None
    dtype: Annotated[Text, Option(help="auto, float32, bfloat16 or float16")] = None
    device: Annotated[Text, Option(help="auto, cpu, cuda, cuda:1, mps")] = None
    workers: Processes = None
    devices: Annotated[
        Text, Option(help="numbers of the GPUs to use, a process on each: 0,1,3; default: all")
    ] = None
    gpus_per_worker: Annotated[
        int | None, Option(min=1, help="GPUs of each process, for a model that one cannot hold")
    ] = None


@dataclass(frozen=True, slots=True)
class Engine:
    """Options that send a command's work to a cluster; without them this process does it."""

    slurm: Annotated[
        Text,
        Option(help="run it on a Slurm cluster: gpu:1,time=4h,workers=8,partition=long"),
    ] = None
    sbatch: Annotated[
        Path | None, Option(dir_okay=False, help="only write the script for sbatch")
    ] = None
    ray: Annotated[
        Text,
        Option(help="run it on a Ray cluster: its address, auto, or local (starts one here)"),
    ] = None

    @property
    def named(self) -> str:
        """The option that names an engine; "": none is named."""
        return next((f"--{name}" for name, value in asdict(self).items() if value is not None), "")


def shared_words(verb: Sequence[str], words: Sequence[str], out: Path | str) -> list[str]:
    """The command of one of many processes: without the engine's options, with a full `--out`.

    `out` may be an address.
    """
    dropped = [f"--{name}" for name in (*get_type_hints(Engine), "out")]
    kept, rest = list(verb), list(words)
    while rest:
        word = rest.pop(0)
        name, sign, _ = word.partition("=")
        if name not in dropped:
            kept.append(word)
        elif not sign and rest and not rest[0].startswith("--"):
            rest.pop(0)
    return [*kept, "--out", str(out.resolve() if isinstance(out, Path) else out)]


def with_options(**groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: the verb's parameter is a dataclass, with one option for each of its fields.

    `groups`: parameter name -> its dataclass.
    """

    def decorated(verb: Callable[..., None]) -> Callable[..., None]:
        fields = {name: get_type_hints(of, include_extras=True) for name, of in groups.items()}
        parameters: list[Parameter] = []
        for parameter in signature(verb, eval_str=True).parameters.values():
            parameters += [
                Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=hint)
                for name, hint in fields.get(parameter.name, {}).items()
            ] or [parameter]

        @wraps(verb)
        def called(**values: Any) -> None:
            for group, of in groups.items():
                values[group] = of(**{name: values.pop(name) for name in fields[group]})
            verb(**values)

        called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorated


def this_command() -> str:
    """The command line of this process, to be shown with the results."""
    return command_line(["oocr", *sys.argv[1:]])
