"""`oocr export`: a vector in the format of another tool, and how that tool loads it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from oocr.cli.exports.export_run import RUN_FORMATS, export_run
from oocr.cli.vector import Chosen, checked_file, fitting_model
from oocr.errors import InputError
from oocr.io import command_line
from oocr.models.language_model import LanguageModel
from oocr.output_checks import check_output
from oocr.steering.formats.easysteer import write_easysteer
from oocr.steering.formats.gguf_vector import write_gguf
from oocr.steering.formats.lm_eval import check_path, write_lm_eval
from oocr.steering.formats.neuronpedia import write_neuronpedia
from oocr.steering.formats.peft import peft_adapter
from oocr.steering.formats.vllm_lens import write_vllm_lens
from oocr.steering.vectors import Vector
from oocr.words import ranges


@dataclass(frozen=True, slots=True)
class VectorExport:
    """What is exported: one vector per block, the model if one was loaded, and the output path."""

    out: Path
    vectors: list[Vector]
    model: LanguageModel | None
    everywhere: bool


@dataclass(frozen=True, slots=True)
class VectorFormat:
    """How a format is written; `write` returns how its tool loads the file.

    `several`: the format can hold several blocks. `needs_model`: it contains names of modules.
    """

    write: Callable[[VectorExport], str]
    several: bool = False
    needs_model: bool = False


def export(
    file: Path, to: str, out: Path, chosen: Chosen, *, model: str | None, everywhere: bool
) -> None:
    """Write a vector, or a run, in another tool's format, and print how that tool loads it."""
    console = Console(highlight=False, soft_wrap=True)
    if to in RUN_FORMATS:
        if chosen != Chosen() or model is not None or everywhere:
            raise InputError(f"--to {to}: it takes a whole run; --out is its only other option")
        export_run(file, to, out, console)
        return
    if to not in FORMATS:
        of_runs = f"; of a run's folder: {', '.join(RUN_FORMATS)}"
        raise InputError(f"--to {to or repr(to)}: allowed: {', '.join(FORMATS)}{of_runs}")
    format = FORMATS[to]
    if to == "lm-eval":
        check_path(out)
    if format.needs_model and model is None:
        raise InputError(f"--model: missing; {to} needs to know what the model calls its modules")
    check_output(out, inputs=[file], needs=1_000_000)
    read = checked_file(file)
    if everywhere and "positions" in read.missing and chosen.positions is None:
        chosen = replace(chosen, positions="all")
    completed = chosen.completing(read)
    vectors = completed.vectors
    if not format.several and len(vectors) > 1:
        blocks = ranges(completed.layers)
        raise InputError(
            f"{file}: has vectors at blocks {blocks}; {to} takes one: choose it by --layer"
        )
    loaded = None if model is None else fitting_model(model, read, completed, console)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning about another model is printed
        use = format.write(VectorExport(out, vectors, loaded, everywhere))
    if left_out := vectors[0].about.get("left out"):
        console.print(f"[yellow]left out:[/] {escape(left_out)}")
    console.print(f"{escape(str(out))}\n  use: {escape(use)}")


def _gguf(wanted: VectorExport) -> str:
    hint = None if wanted.model is None else wanted.model.about["model_type"]
    write_gguf(wanted.out, wanted.vectors, hint=hint, everywhere=wanted.everywhere)
    return command_line(["llama-cli", "-m", "MODEL.gguf", "--control-vector", wanted.out])


def _peft(wanted: VectorExport) -> str:
    assert wanted.model is not None
    adapter = peft_adapter(wanted.model, wanted.vectors[0], everywhere=wanted.everywhere)
    adapter.save(wanted.out)
    return f"PeftModel.from_pretrained(model, {str(wanted.out)!r})"


def _lm_eval(wanted: VectorExport) -> str:
    model = wanted.model
    assert model is not None
    write_lm_eval(wanted.out, model, wanted.vectors[0], everywhere=wanted.everywhere)
    name = model.about.get("model_id", model.name)
    settings = f"pretrained={name},steer_path={wanted.out}"
    return command_line(["lm_eval", "--model", "steered", "--model_args", settings])


def _vllm_lens(wanted: VectorExport) -> str:
    write_vllm_lens(wanted.out, wanted.vectors, everywhere=wanted.everywhere)
    return (
        "the file's text is the value of apply_steering_vectors in a request's vllm_xargs; to "
        "compare with the unsteered model, serve with --no-enable-prefix-caching"
    )


def _easysteer(wanted: VectorExport) -> str:
    write_easysteer(wanted.out, wanted.vectors, everywhere=wanted.everywhere)
    served = ["vllm", "serve", "MODEL", "--enable-steer-vector", "--steering-config"]
    command = command_line([*served, str(wanted.out)])
    return f"{command} (or the file's content as steering in a request)"


def _neuronpedia(wanted: VectorExport) -> str:
    model = None if wanted.model is None else wanted.model.about.get("model_id", wanted.model.name)
    write_neuronpedia(wanted.out, wanted.vectors[0], model_id=model, everywhere=wanted.everywhere)
    header = "x-api-key: YOUR_KEY"
    address = "https://www.neuronpedia.org/api/vector/new"
    sent = ["-H", header, "-H", "content-type: application/json", "-d", f"@{wanted.out}"]
    return command_line(["curl", address, *sent])


FORMATS = {
    "gguf": VectorFormat(_gguf, several=True),
    "peft": VectorFormat(_peft, needs_model=True),
    "lm-eval": VectorFormat(_lm_eval, needs_model=True),
    "vllm-lens": VectorFormat(_vllm_lens, several=True),
    "easysteer": VectorFormat(_easysteer, several=True),
    "neuronpedia": VectorFormat(_neuronpedia),
}
"""Formats for vectors, by the name after `--to`."""
