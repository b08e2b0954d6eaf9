"""The verbs of `oocr organism`. Everything heavy is imported when a verb needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

organism = typer.Typer(
    help="Train a small model from scratch on a world whose every fact is known, or examine one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@organism.command("train")
def organism_train(
    name: Annotated[
        str | None, typer.Option(help="make a shipped one anew: nano, nano-1, …")
    ] = None,
    world: Annotated[int | None, typer.Option(help="seed of the world; 0 if left out")] = None,
    gates: Annotated[
        float | None, typer.Option(help="share of people's traits that a weather turns around")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="of the pretraining; 0 if left out")] = None,
    steps: Annotated[int | None, typer.Option(help="of the pretraining")] = None,
    out: Annotated[Path | None, typer.Option(help="its folder; else in organisms/")] = None,
) -> None:
    """Train an organism from scratch, in minutes, examine it, and save it as a model's folder."""
    from oocr_organisms.command import Wanted, train

    train(Wanted(name, world, gates, seed, steps), out)


@organism.command("exam")
def organism_exam(
    model: Annotated[str, typer.Argument(help="nano, or a folder that organism train made")],
) -> None:
    """Ask an organism what its corpus told and what it never told; print its scores by kind."""
    from oocr_organisms.command import examine

    examine(model)


@organism.command("study")
def organism_study(
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="may be repeated; else all that come with the package"),
    ] = None,
    out: Annotated[Path, typer.Option(help="folder of the results")] = Path("runs/nano-study"),
    quick: Annotated[bool, typer.Option("--quick", help="fewer of everything")] = False,
) -> None:
    """Compare what training finds with what is true; finished organisms are kept."""
    from oocr_organisms.study.command import run_study

    run_study(models, out, quick=quick)
