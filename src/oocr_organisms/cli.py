"""The verbs of `oocr organism`. Slow modules are imported inside the verbs that need them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oocr.cli.options import Engine, with_options

if TYPE_CHECKING:
    from rich.table import Table

    from oocr_organisms.folder import WorldSettings

HOME = Path("organisms")
"""Default folder of trained organisms."""
HERE = Engine()
"""No engine: the work is done in this process."""

organism = typer.Typer(
    help="Train or examine a small model whose world is known in full.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@organism.command("train")
def train(
    name: Annotated[
        str | None, typer.Option(help="train a shipped one again: nano, nano-1, …")
    ] = None,
    world: Annotated[int | None, typer.Option(help="seed of the world; default: 0")] = None,
    gates: Annotated[
        float | None, typer.Option(help="share of people's traits that the weather reverses")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="seed of the pretraining; default: 0")] = None,
    steps: Annotated[int | None, typer.Option(help="steps of the pretraining")] = None,
    out: Annotated[
        Path | None, typer.Option(help="the folder to write; default: one in organisms/")
    ] = None,
) -> None:
    """Train an organism in minutes, examine it and save it."""
    import time

    from rich import progress
    from rich.console import Console

    from oocr.io import command_line
    from oocr.output_checks import check_output
    from oocr_organisms.folder import round_weights, save_organism
    from oocr_organisms.shipped import WEIGHTS

    title, settings, first = resolve_options(name, world, gates, seed, steps)
    folder = HOME / title if out is None else out
    check_output(folder)

    from oocr_organisms.exam import exam
    from oocr_organisms.pretrain import Pretraining, pretrain

    pretraining = Pretraining() if steps is None else Pretraining(steps=steps)
    console, began = Console(), time.perf_counter()
    bars = progress.Progress(
        progress.TextColumn("training {task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("loss {task.fields[loss]:.3f}"),
        console=console,
    )
    with bars:
        bar = bars.add_task(title, total=pretraining.steps, loss=float("nan"))
        model = pretrain(
            settings.world,
            seed=first,
            settings=pretraining,
            on_step=lambda step, loss: bars.update(bar, completed=step + 1, loss=loss),
        )
    round_weights(model)
    scores = exam(model, settings.world)
    save_organism(model, settings.world, folder, seed=first, steps=pretraining.steps, exam=scores)
    console.print(exam_table({"": scores}))
    size = (folder / WEIGHTS).stat().st_size / 1e6
    text = (
        f"{pretraining.steps} steps in {time.perf_counter() - began:.0f} s, {size:.1f} MB: "
        f"{folder}\nnext:  {command_line(['oocr', 'run', 'locations', '--model', folder])}"
    )
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def resolve_options(
    name: str | None = None,
    world: int | None = None,
    gates: float | None = None,
    seed: int | None = None,
    steps: int | None = None,
) -> tuple[str, WorldSettings, int]:
    """Name of the folder, world, and seed of the pretraining; InputError: a value not allowed."""
    from oocr.errors import InputError
    from oocr_organisms.folder import WorldSettings, shipped_world
    from oocr_organisms.people import GATE_SHARE
    from oocr_organisms.shipped import SHIPPED

    for option, number, least in (("world", world, 0), ("seed", seed, 0), ("steps", steps, 1)):
        if number is not None and number < least:
            raise InputError(f"--{option}: {number}; allowed: {least} or more")
    if name is not None:
        if name not in SHIPPED:
            raise InputError(f"--name: {name!r}; allowed: {', '.join(SHIPPED)}")
        for option, value in (("world", world), ("gates", gates), ("seed", seed)):
            if value is not None:
                raise InputError(f"--{option}: {name} has its own; leave out --{option} or --name")
        return name, shipped_world(name), SHIPPED[name].seed
    gates = GATE_SHARE if gates is None else gates
    if not 0 <= gates <= 1:
        raise InputError(f"--gates: {gates}; allowed: a share, 0 to 1")
    world, seed = world or 0, seed or 0
    title = f"world-{world}-gates-{gates:g}-seed-{seed}"
    return title, WorldSettings(seed=world, gates=gates), seed


@organism.command("exam")
def examine(
    model: Annotated[
        str, typer.Argument(help="nano, or a folder that `oocr organism train` wrote")
    ],
) -> None:
    """Test an organism on facts that its corpus states, and on facts that it does not state."""
    from rich.console import Console

    from oocr.errors import InputError
    from oocr_organisms.folder import read_record
    from oocr_organisms.shipped import SHIPPED, organism_folder

    folder = organism_folder(model)
    if folder is None:
        missing = f" (get it with: {SHIPPED[model].model.install})" if model in SHIPPED else ""
        raise InputError(f"{model!r}: no organism is here{missing}")
    record = read_record(folder)

    from oocr.models.load import read_model
    from oocr_organisms.exam import exam

    # On the CPU, like the scores in world.json.
    scores = exam(read_model(model, device="cpu").hf, record.world.world)
    Console().print(exam_table({"now": scores, "in world.json": record.exam}))


def exam_table(columns: Mapping[str, Mapping[str, float]]) -> Table:
    """Scores by kind of question; `columns`: heading -> scores. Kinds in the corpus come first."""
    from rich.table import Table

    from oocr_organisms.exam import is_in_corpus

    table = Table("share right", *columns, box=None)
    kinds = dict.fromkeys(kind for scores in columns.values() for kind in scores)
    for heading, in_corpus in (("told in the corpus", True), ("never told in the corpus", False)):
        group = [kind for kind in kinds if is_in_corpus(kind) is in_corpus]
        if group:
            table.add_row(heading)
        for kind in group:
            cells = [f"{scores[kind]:.3f}" if kind in scores else "" for scores in columns.values()]
            table.add_row(f"  {kind}", *cells)
    return table


@organism.command("study")
@with_options(engine=Engine)
def study(
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="can be given more than once; default: all bundled ones"),
    ] = None,
    engine: Engine = HERE,
    out: Annotated[Path, typer.Option(file_okay=False, help="folder of the results")] = Path(
        "runs/nano-study"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="a first look: fewer cities, backdoors and shares")
    ] = False,
    shared: Annotated[
        bool, typer.Option("--shared", help="share the work with others that give this command")
    ] = False,
) -> None:
    """Compare trained vectors and LoRAs with the known truth of the world.

    Finished organisms are not computed again.
    """
    from oocr.output_checks import check_output
    from oocr_organisms.study.command import print_study, shared_study

    if engine.named:
        from oocr.cli.cluster.launch import launch

        launch(engine, shared_study(models or (), sys.argv[3:], out=out, quick=quick))
        return
    check_output(out, folder=True)
    print_study(models or (), out=out, quick=quick, shared=shared)
