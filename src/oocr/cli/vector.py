"""`oocr vector`: a vector file's fields, which of them are missing, and whether it fits a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.markup import escape

from oocr.engine.selftest import load_model
from oocr.errors import InputError
from oocr.hub_files import hub_path
from oocr.io import command_line
from oocr.models.language_model import LanguageModel
from oocr.steering.formats.vector_file import VectorFile
from oocr.steering.formats.vector_layouts import read_vector_file
from oocr.steering.hooks import Site, check_site
from oocr.steering.positions import spans_of
from oocr.steering.vector_file import SITES
from oocr.words import ranges

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """`--layer`, `--positions`, `--site`: fields that a file lacks, or which vector of it."""

    layers: tuple[int, ...] | None = None
    positions: str | None = None
    site: Site | None = None

    @staticmethod
    def of(layer: str | None, positions: str | None, site: str | None) -> Chosen:
        """Checked options."""
        from oocr.cli.run import parse_layers

        sites = {name: name for name in get_args(Site)}
        if site is not None and site not in sites:
            raise InputError(f"--site {site}: allowed: {', '.join(sites)}")
        if positions is not None:
            spans_of(positions)
        layers = None if layer is None else parse_layers(layer, "--layer")
        return Chosen(layers, positions, None if site is None else sites[site])

    def completing(self, file: VectorFile) -> VectorFile:
        """The file with its missing fields taken from the options."""
        return file.completed(self.layers, self.positions, self.site)


def checked_file(path: Path) -> VectorFile:
    """The vectors of a file; folders are refused."""
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; allowed: a vector's file")
    if not path.exists() and hub_path(path) is None:
        raise InputError(f"{path}: there is no such file")
    return read_vector_file(path)


def show_vector(path: Path, chosen: Chosen, *, model: str | None = None) -> None:
    """Print the fields of a vector file; with a model, whether it fits."""
    console = Console(highlight=False, soft_wrap=True)
    file = checked_file(path)
    completed = chosen.completing(file)
    if chosen != Chosen():
        completed.check_complete()
    describe_vectors(completed, lambda text: console.print(escape(text)))
    if model is not None:
        loaded = fitting_model(model, file, completed, console)
        console.print(f"it fits {escape(loaded.name)}")


def fitting_model(
    name: str, file: VectorFile, completed: VectorFile, console: Console
) -> LanguageModel:
    """Load the model if the vectors fit it; prints a warning if they were made on another."""
    model = load_model(name, on_progress=lambda text: console.print(escape(text)))
    _check_layers(model, file)
    # Without layers only width and depth can be compared with the model.
    layers = None if completed.layers else (0,)
    known = completed.completed(layers, completed.positions or "all", completed.site or "block")
    for vector in known.vectors:
        check_site(model, vector.layer, vector.site, vector.direction.shape[-1])
    if trouble := model.differs_from(known.about):
        console.print(f"[yellow]warning:[/] the vector {escape(trouble)}")
    return model


def _check_layers(model: LanguageModel, file: VectorFile) -> None:
    """Refuse files whose layers are not the model's blocks, even if one layer is chosen."""
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


def describe_vectors(file: VectorFile, say: Say) -> None:
    """Describe a file of vectors, and name the fields that it lacks."""
    directions = [row for d in file.directions.values() for row in (d if d.ndim > 1 else d[None])]
    fields: dict[str, object] = {
        "site": None if file.site is None else SITES[file.site],
        "layer": ranges(file.layers) if file.layers else None,
        "positions": file.positions,
        **{f"span {name}": repr(text) for name, text in file.spans.items()},
        "width": len(directions[0]),
        "norm": ", ".join(f"{float(direction.norm()):.4g}" for direction in directions),
        **file.about,
    }
    notes = dict.fromkeys(file.by_name, " (from the file's name)")
    if "site" in notes:
        notes["site"] = " (where the project that so names its files adds them)"
    shown = {name: f"{value}{notes.get(name, '')}" for name, value in fields.items() if value}
    print_fields(say, f"{file.path}: vector, {file.format}", shown)
    if file.missing:
        options = " ".join(f"--{name}" for name in file.missing)
        export = command_line(["oocr", "export", file.path, "--to", "gguf", "--out", "v.gguf"])
        say(f"  not said   {', '.join(file.missing)}: {options} (in Python: oocr.read_vector)")
        say(f"  next       {export} {options}, each with a value")


def print_fields(say: Say, title: str, *groups: Mapping[str, object]) -> None:
    """Print a title, and a line for each field."""
    say(title)
    for name, value in (pair for group in groups for pair in group.items()):
        say(f"  {name:<9}  {value}")
