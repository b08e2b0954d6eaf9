"""Verbs on tasks, data, models, vectors and fine-tunes: tasks, read, doctor, vector, …, play."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from oocr.cli import options
from oocr.cli.options import Engine, Text, this_command, with_options
from oocr.errors import InputError

verbs = typer.Typer()

HERE = Engine()
"""No engine: the work is done in this process."""


@verbs.command()
def tasks(
    name: Annotated[
        Text, Argument(help="a built-in run, a family or a YAML file: show its data card")
    ] = None,
    model: Annotated[
        Text, Option(help="show samples in the tokens of this model; default: the run's")
    ] = None,
    samples: Annotated[
        int, Option(min=0, help="number of samples of the training rows and of each facet")
    ] = 2,
    template: Annotated[
        bool, Option("--template", help="print a YAML file with comments, for your own task")
    ] = False,
) -> None:
    """List the tasks, or show the data card of one."""
    from oocr.cli.listing import print_tasks, print_template

    if template:
        print_template()
    elif name is None:
        print_tasks()
    else:
        from oocr.cli.card import print_task

        print_task(name, model=model, samples=samples)


@verbs.command()
def read(
    files: Annotated[list[Path], Argument(help="data files, vectors or LoRAs of any project")],
    model: Annotated[Text, Option(help="show samples in the tokens of this model")] = None,
    rows: Annotated[int, Option(min=0, help="number of samples of each file")] = 2,
) -> None:
    """Show what data files, vectors and LoRAs contain.

    Also corrections made while reading, and samples.
    """
    from oocr.cli.read import print_files

    print_files(files, model=model, rows=rows)


@verbs.command()
def doctor(
    model: Annotated[str, Argument(help="bundled name, Hugging Face id, folder or GGUF")],
    dtype: options.LoadDtype = "auto",
    device: options.LoadDevice = "auto",
) -> None:
    """Steer a model at every block and check that it is exact."""
    from oocr.cli.listing import examine

    examine(model, dtype=dtype, device=device)


@verbs.command()
def vector(
    file: options.VectorFile,
    model: Annotated[Text, Option(help="check that the vector fits this model")] = None,
    layer: options.VectorLayer = None,
    positions: options.VectorPositions = None,
    site: options.VectorSite = None,
) -> None:
    """Show what the file of a vector contains."""
    from oocr.cli.vector import Chosen, show_vector

    show_vector(file, Chosen.of(layer, positions, site), model=model)


@verbs.command()
def export(
    file: options.Exported,
    to: Annotated[
        str,
        Option(
            help="a vector: gguf (llama.cpp, repeng), peft, lm-eval, vllm-lens, easysteer, "
            "neuronpedia; a run: inspect, lm-eval-task, tensorboard, wandb, trackio, mlflow"
        ),
    ],
    out: Annotated[Path, Option(help="the file to write; for peft and runs a folder")],
    model: Annotated[Text, Option(help="the vector's model; peft and lm-eval need it")] = None,
    everywhere: Annotated[
        bool, Option("--everywhere", help="write it although the other tool adds it to all tokens")
    ] = False,
    layer: options.VectorLayer = None,
    positions: options.VectorPositions = None,
    site: options.VectorSite = None,
) -> None:
    """Write a vector, or a run, in the format of another tool.

    What the other tool cannot express is refused.
    """
    from oocr.cli.exports.export import export
    from oocr.cli.vector import Chosen

    chosen = Chosen.of(layer, positions, site)
    export(file, to, out, chosen, model=model, everywhere=everywhere)


@verbs.command()
def publish(
    file: Annotated[Path, Argument(help="a vector, a LoRA's folder, or the folder of a run")],
    repository: Annotated[str, Argument(help="where to on Hugging Face: someone/name")],
    public: Annotated[bool, Option("--public", help="visible to everybody; default: private")] = (
        False
    ),
    dry_run: Annotated[
        bool, Option("--dry-run", help="show the files and the card, upload nothing")
    ] = False,
    base: Annotated[
        Text, Option(help="the base model's id, if the file names none or a path")
    ] = None,
    license: Annotated[
        Text, Option(help="the base model's licence, as the Hub calls it; default: what is known")
    ] = None,
    out: Annotated[Path | None, Option(help="with --dry-run: a new folder for the files")] = None,
) -> None:
    """Upload a vector, a LoRA or a run to the Hugging Face Hub.

    One commit with a model card; private by default.
    """
    from oocr.cli.exports.publish import publish

    publish(
        file,
        repository,
        public=public,
        dry_run=dry_run,
        base=base,
        license=license,
        out=out,
    )


@verbs.command()
@with_options(engine=Engine)
def audit(
    adapters: options.FineTunes = None,
    listed: Annotated[
        Path | None, Option("--list", help="a file with a fine-tune on each line")
    ] = None,
    model: options.Base = None,
    texts: options.Texts = None,
    engine: Engine = HERE,
    out: Annotated[Path, Option(file_okay=False, help="folder of all audits")] = Path("audits"),
    checkpoint: Annotated[
        bool, Option("--checkpoint", help="the fine-tune is a whole model, not an adapter")
    ] = False,
    alpha: Annotated[
        float | None,
        Option(help="LoRA alpha of a .pt adapter, which does not store it; default: 32"),
    ] = None,
    fit_steps: Annotated[
        int, Option(min=0, help="training steps of the best single vector; 0: none")
    ] = 20,
    dtype: options.LoadDtype = "auto",
    device: options.LoadDevice = "auto",
) -> None:
    """Test whether a fine-tune is a constant vector; write it.

    Of several, also how similar their vectors are; finished audits are kept.
    """
    from oocr.cli.audit import AuditOptions, audit_source
    from oocr.cli.audits import audit_several, read_list, shared_audits

    names = [*(adapters or ()), *(read_list(listed) if listed else ())]
    if not names:
        raise InputError("audit: no fine-tune is named; give one or more, or --list FILE")
    load = {"dtype": dtype, "device": device}
    asked = AuditOptions(model, texts, checkpoint, alpha, fit_steps, load, out, this_command())
    if engine.named:
        from oocr.cli.cluster.launch import launch

        launch(engine, shared_audits(engine, names, asked, sys.argv[2:]))
    elif len(names) == 1:
        audit_source(names[0], asked)
    else:
        audit_several(names, asked)


@verbs.command()
def play(
    words: Annotated[
        list[str],
        Argument(
            metavar="MODEL [VECTOR|ADAPTER|RUN]...",
            help="a model, then what steers it; or a run, whose model is taken; or a saved page",
        ),
    ],
    port: Annotated[
        int | None, Option(min=0, max=65535, help="default: 7860, or a free one")
    ] = None,
    opens: Annotated[bool, Option("--open", help="open the page in the browser")] = False,
    layer: options.VectorLayer = None,
    positions: options.VectorPositions = None,
    site: options.VectorSite = None,
    dtype: options.LoadDtype = "auto",
    device: options.LoadDevice = "auto",
) -> None:
    """Try vectors and LoRAs on a page: steered text beside unsteered text, live.

    The page is for this machine's browser; nothing is sent elsewhere.
    """
    from oocr.cli.play import play_words
    from oocr.cli.vector import Chosen

    chosen = Chosen.of(layer, positions, site)
    load = {"dtype": dtype, "device": device}
    play_words(words, chosen=chosen, port=port, load=load, opens=opens)
