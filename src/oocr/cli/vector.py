"""`oocr vector`: what a vector's file says, what it does not, and whether it fits a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.markup import escape

from oocr.engine.selftest import load_model
from oocr.errors import InputError
from oocr.io import command_line
from oocr.models.language_model import LanguageModel
from oocr.steering.formats.vector_files import VectorFile, name_parts, ranges, vector_file
from oocr.steering.hooks import Site
from oocr.steering.positions import spans_of
from oocr.steering.vectors import SITES, Vector, check_fits

FEW = 8
"""Norms that are shown one by one."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """`--layer`, `--positions`, `--site`: what a file does not say, or which of its vectors."""

    layers: tuple[int, ...] | None = None
    positions: str | None = None
    site: Site | None = None

    @staticmethod
    def of(layer: str | None, positions: str | None, site: str | None) -> Chosen:
        """The options' texts, checked."""
        from oocr.cli.run import parse_layers

        sites = {name: name for name in get_args(Site)}
        if site is not None and site not in sites:
            raise InputError(f"--site {site}: allowed: {', '.join(sites)}")
        if positions is not None:
            spans_of(positions)
        layers = None if layer is None else parse_layers(layer, "--layer")
        return Chosen(layers, positions, None if site is None else sites[site])

    @property
    def given(self) -> bool:
        """Whether any of the three options was given."""
        return self != Chosen()


def checked_file(path: Path) -> VectorFile:
    """The vectors of a file; folders are refused."""
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; allowed: a vector's file")
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    return vector_file(path)


def describe(path: Path, chosen: Chosen, *, model: str | None = None) -> None:
    """Print what a vector's file holds; with a model, whether it belongs on it."""
    console = Console(highlight=False, soft_wrap=True)
    file = checked_file(path)
    if not file.missing or chosen.given:
        vectors = file.chosen(chosen.layers, chosen.positions, chosen.site)
        _describe(vectors, console)
    else:
        describe_unsaid(file, lambda text: console.print(escape(text)))
        # Where it acts is not known, so the rest is all that can be held against a model.
        layers = None if file.layers else (0,)
        vectors = file.chosen(layers, file.positions or "all", file.site or "block")
    if model is not None:
        loaded = fitting_model(model, file, vectors, console)
        console.print(f"it fits {escape(loaded.name)}")


def fitting_model(
    name: str, file: VectorFile, vectors: Sequence[Vector], console: Console
) -> LanguageModel:
    """The model, once it is known that the vectors fit it; says so if it is not theirs."""
    model = load_model(name, on_progress=lambda text: console.print(escape(text)))
    _check_layers(model, file)
    with without_warning():
        for vector in vectors:
            check_fits(model, vector)
    if trouble := model.differs_from(vectors[0].about):
        console.print(f"[yellow]warning:[/] the vector {escape(trouble)}")
    return model


def _check_layers(model: LanguageModel, file: VectorFile) -> None:
    """Refuse vectors by layer that are not the model's blocks, whichever of them is asked for."""
    blocks = model.n_blocks
    if file.rows and file.rows - file.shift != blocks:
        hint = ""
        if file.rows == blocks + 1:
            hint = ", so row 0 seems to be what block 0 reads, and row 1 its output"
        raise InputError(
            f"{file.path}: found {file.rows} rows; {model.name} has {blocks} blocks{hint}; "
            'allowed: a row for each block (in Python: torch.save(rows[1:], "vectors.pt"))'
        )
    if file.layers and file.layers[-1] >= blocks:
        raise InputError(
            f"{file.path}: found vectors up to layer {file.layers[-1]}; {model.name} has blocks 0 "
            f"to {blocks - 1} (they may be counted from 1, or from what block 0 reads)"
        )


@contextmanager
def without_warning() -> Iterator[None]:
    """`fitting_model` prints itself that a vector was made on another model."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the vector was made on", UserWarning)
        yield


def describe_unsaid(file: VectorFile, say: Say) -> None:
    """Describe a file that does not say all that is needed, and name what it does not say."""
    directions = list(file.directions.values())
    norms = [f"{float(direction.norm()):.4g}" for direction in directions]
    parts = name_parts(file.path)
    about = dict(file.about)
    fields = {
        "width": len(directions[0]),
        "norm": ", ".join(norms[:FEW]) + (f", … ({len(norms)} of them)" if norms[FEW:] else ""),
        **({"layer": ranges(file.layers)} if file.layers else {}),
    }
    of_name = {name: str(getattr(parts, name)) for name in ("codename", "name", "step", "dataset")}
    for name, text in about.items():
        fields[name] = f"{text} (from the file's name)" if of_name.get(name) == text else text
    if parts.layer is not None and file.layers == [parts.layer]:
        fields["layer"] = f"{parts.layer} (from the file's name)"
    if file.site is not None:
        by_name = " (where the project that so names its files adds them)"
        fields["site"] = SITES[file.site] + (by_name if parts.site == file.site else "")
    if file.positions is not None:
        fields["positions"] = file.positions
    if file.left_out:
        fields["left out"] = "; ".join(file.left_out)
    print_fields(say, f"{file.path}: vector, {file.format}", fields)
    options = " ".join(f"--{name}" for name in file.missing)
    say(f"  not said   {', '.join(file.missing)}: {options} (in Python: oocr.read_vector)")
    export = command_line(["oocr", "export", file.path, "--to", "gguf", "--out", "v.gguf"])
    say(f"  next       {export} {options}, each with a value")


def print_fields(say: Say, title: str, *groups: Mapping[str, object]) -> None:
    """A title, and a line for each field."""
    say(title)
    for name, value in (pair for group in groups for pair in group.items()):
        say(f"  {name:<9}  {value}")


def _describe(vectors: Sequence[Vector], console: Console) -> None:
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
