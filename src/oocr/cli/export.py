"""`oocr export`: a vector in the format of another tool, and how that tool loads it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from oocr.cli.vector import Chosen, checked_file, fitting_model
from oocr.errors import InputError
from oocr.io import check_output, command_line
from oocr.models.language_model import LanguageModel
from oocr.steering.formats.gguf_vector import write_gguf
from oocr.steering.formats.lm_eval import check_path, write_lm_eval
from oocr.steering.formats.peft import peft_adapter
from oocr.steering.vectors import Vector
from oocr.words import ranges

FORMATS = ("gguf", "peft", "lm-eval")


def export(
    file: Path, to: str, out: Path, chosen: Chosen, *, model: str | None, everywhere: bool
) -> None:
    """Write a vector in another tool's format, and print how that tool loads it."""
    console = Console(highlight=False, soft_wrap=True)
    if to not in FORMATS:
        raise InputError(f"--to {to or repr(to)}: allowed: {', '.join(FORMATS)}")
    if to == "lm-eval":
        check_path(out)
    if to != "gguf" and model is None:
        raise InputError(f"--model: missing; {to} needs to know what the model calls its modules")
    check_output(out, inputs=[file], needs=1_000_000)
    read = checked_file(file)
    if everywhere and "positions" in read.missing and chosen.positions is None:
        chosen = replace(chosen, positions="all")
    completed = chosen.completing(read)
    vectors = completed.vectors
    if to != "gguf" and len(vectors) > 1:
        blocks = ranges(completed.layers)
        raise InputError(
            f"{file}: has vectors at blocks {blocks}; {to} takes one: choose it by --layer"
        )
    loaded = None if model is None else fitting_model(model, read, completed, console)
    if to == "gguf":
        hint = None if loaded is None else loaded.about["model_type"]
        write_gguf(out, vectors, hint=hint, everywhere=everywhere)
        use = command_line(["llama-cli", "-m", "MODEL.gguf", "--control-vector", out])
    else:
        assert loaded is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it was made on another model is printed
            use = _write(loaded, vectors[0], to, out, everywhere)
    if left_out := vectors[0].about.get("left out"):
        console.print(f"[yellow]left out:[/] {escape(left_out)}")
    console.print(f"{escape(str(out))}\n  use: {escape(use)}")


def _write(model: LanguageModel, vector: Vector, to: str, out: Path, everywhere: bool) -> str:
    if to == "peft":
        peft_adapter(model, vector, everywhere=everywhere).save(out)
        return f"PeftModel.from_pretrained(model, {str(out)!r})"
    write_lm_eval(out, model, vector, everywhere=everywhere)
    name = model.about.get("model_id", model.name)
    settings = f"pretrained={name},steer_path={out}"
    return command_line(["lm_eval", "--model", "steered", "--model_args", settings])
