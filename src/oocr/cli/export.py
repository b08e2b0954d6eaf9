"""`oocr export` and `oocr vector`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from oocr.cli.read import describe_bare_tensor
from oocr.engine.selftest import load_model
from oocr.errors import InputError
from oocr.io import check_output, command_line
from oocr.models.language_model import LanguageModel
from oocr.steering.formats.foreign import PICKLES, bare_vector, read_vector
from oocr.steering.formats.gguf import GGUF, read_gguf, write_gguf
from oocr.steering.formats.lm_eval import write_lm_eval
from oocr.steering.formats.peft import peft_adapter
from oocr.steering.vectors import Vector, check_fits

FORMATS = ("gguf", "peft", "lm-eval")


def export(file: Path, to: str, out: Path, *, model: str | None, everywhere: bool) -> None:
    """Write a vector in another tool's format, and print how that tool loads it."""
    console = Console(highlight=False, soft_wrap=True)
    if to not in FORMATS:
        raise InputError(f"--to {to}: allowed: {', '.join(FORMATS)}")
    if to != "gguf" and model is None:
        raise InputError(f"--model: missing; {to} needs to know what the model calls its modules")
    check_output(out, inputs=[file], needs=1_000_000)
    vectors = _vectors(file)
    loaded = None if model is None else _fitting_model(model, vectors, console)
    if to == "gguf":
        hint = None if loaded is None else loaded.about["model_type"]
        write_gguf(out, vectors, hint=hint, everywhere=everywhere)
        use = command_line(["llama-cli", "-m", "MODEL.gguf", "--control-vector", out])
    else:
        assert loaded is not None
        if len(vectors) > 1:
            blocks = ", ".join(str(vector.layer) for vector in vectors)
            raise InputError(f"{file}: has vectors at blocks {blocks}; {to} takes one")
        with _without_warning():
            use = _write(loaded, vectors[0], to, out, everywhere)
    console.print(f"{escape(str(out))}\n  use: {escape(use)}")


def _fitting_model(name: str, vectors: list[Vector], console: Console) -> LanguageModel:
    """The model, once it is known that the vectors fit it; says so if it is not theirs."""
    model = load_model(name, on_progress=lambda text: console.print(escape(text)))
    with _without_warning():
        for vector in vectors:
            check_fits(model, vector)
    if trouble := model.differs_from(vectors[0].about):
        console.print(f"[yellow]warning:[/] the vector {escape(trouble)}")
    return model


@contextmanager
def _without_warning() -> Iterator[None]:
    """`_fitting_model` prints itself that a vector was made on another model."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the vector was made on", UserWarning)
        yield


def _write(model: LanguageModel, vector: Vector, to: str, out: Path, everywhere: bool) -> str:
    if to == "peft":
        peft_adapter(model, vector, everywhere=everywhere).save(out)
        return f"PeftModel.from_pretrained(model, {str(out)!r})"
    write_lm_eval(out, model, vector, everywhere=everywhere)
    name = model.about.get("model_id", model.name)
    settings = f"pretrained={name},steer_path={out}"
    return command_line(["lm_eval", "--model", "steered", "--model_args", settings])


def _vectors(file: Path) -> list[Vector]:
    """The vectors of a file of this library, or of a GGUF control vector."""
    _check_file(file)
    return read_gguf(file) if file.suffix.lower() == GGUF else [read_vector(file)]


def _check_file(file: Path) -> None:
    if file.is_dir():
        raise InputError(f"{file}: this is a folder; allowed: a vector's file")
    if not file.exists():
        raise InputError(f"{file}: there is no such file")


def describe(file: Path, *, model: str | None = None) -> None:
    """Print what a vector's file holds; with a model, whether it belongs on it."""
    console = Console(highlight=False, soft_wrap=True)
    _check_file(file)
    if file.suffix.lower() in PICKLES:
        describe_bare_tensor(file, lambda text: console.print(escape(text)))
        # Where it acts is not known, so its width is all that can be held against a model.
        vectors = [Vector(0, "all", bare_vector(file).float())] if model is not None else []
    else:
        vectors = _vectors(file)
        _describe(vectors, console)
    if model is not None:
        loaded = _fitting_model(model, vectors, console)
        console.print(f"it fits {escape(loaded.name)}")


def _describe(vectors: list[Vector], console: Console) -> None:
    for vector in vectors:
        directions = vector.direction if vector.direction.ndim > 1 else vector.direction[None]
        norms = ", ".join(f"{float(direction.norm()):.4g}" for direction in directions)
        what = "block" if vector.site == "block" else "the MLP of block"
        console.print(
            f"[bold]{what} {vector.layer}[/], added at {escape(repr(vector.positions))}: "
            f"width {vector.direction.shape[-1]}, norm {norms}"
        )
    rows = [(f"span {name}", repr(text)) for name, text in vectors[0].spans.items()]
    for name, text in [*rows, *sorted(vectors[0].about.items())]:
        console.print(f"  {escape(name):<18} {escape(text)}")
