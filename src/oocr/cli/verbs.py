"""The verbs and their options. Everything heavy is imported when a verb needs it."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from oocr.cli import models, options
from oocr.cli.options import Engine, Overrides, Text, with_options
from oocr.errors import InputError
from oocr.io import command_line
from oocr.plugins import load_group

app = typer.Typer(
    name="oocr",
    help="Is your fine-tune just a steering vector? Train, test, explain, report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

DEFAULT_PAPER = "oocr"
HERE = Engine()

app.add_typer(models.verbs, name="models")


@app.command()
@with_options(overrides=Overrides, engine=Engine)
def run(
    source: options.Source,
    overrides: Overrides,
    engine: Engine,
    out: options.OutOrUrl = "runs",
    quick: options.Quick = False,
) -> None:
    """Train, test and explain the arms of a run, and write a report.

    A run that was stopped continues.
    """
    from oocr.cli.run import run_source

    if engine.named:
        from oocr.cli.cluster.launch import launch
        from oocr.cli.cluster.work import work_of_runs

        if engine.ray is not None and overrides.devices is not None:
            raise InputError("--devices: Ray gives each process its GPUs; leave it out")
        words, command = sys.argv[2:], _command()
        work = partial(work_of_runs, out=out, quick=quick, command=command, words=words)
        launch(engine, work(source, overrides, engine))
        return
    run_source(source, overrides, out=Path(out), quick=quick, command=_command())


@app.command()
@with_options(overrides=Overrides)
def work(
    source: Annotated[
        str,
        Argument(
            help="a run's folder or address, or as for `oocr run`: a built-in run or a YAML file"
        ),
    ],
    overrides: Overrides,
    out: options.OutOrUrl = "runs",
    local: options.Local = None,
    quick: options.Quick = False,
    lease: Annotated[
        float,
        Option(
            min=1,
            help="seconds without a sign of life after which others take over a process's job",
        ),
    ] = 60.0,
) -> None:
    """Share a run among processes, on machines that share a folder or a bucket.

    Call it any number of times. Each process takes jobs that no other process has taken, until the
    run is finished.
    """
    from oocr.cli.cluster.work import work_source

    command = _command()
    work_source(source, overrides, out=out, local=local, quick=quick, lease=lease, command=command)


@app.command()
def status(
    folder: Annotated[
        str, Argument(help="the folder of a run, or its address: runs/countries-1a2b3c4d")
    ],
) -> None:
    """Show the progress of a run: finished jobs, the job of each process, and failures.

    On any machine that can read the folder or the address.
    """
    from oocr.cli.cluster.status import print_status

    print_status(folder)


@app.command()
@with_options(overrides=Overrides)
def plan(
    source: options.Source,
    overrides: Overrides,
    quick: options.Quick = False,
    gpu: Annotated[Text, Option(help="plan for one GPU with this much memory: 80GB")] = None,
    tflops: Annotated[
        float | None, Option(help="that GPU's bfloat16 peak; default: 312 (A100)")
    ] = None,
    gpus: Annotated[
        int | None, Option(min=1, help="also estimate the time of so many GPUs together")
    ] = None,
    nodes: Annotated[
        int | None, Option(min=1, help="also estimate the time of so many machines like this one")
    ] = None,
) -> None:
    """Estimate the work, time and memory of a run.

    Nothing is trained; --gpu plans for a GPU that this machine does not have.
    """
    from oocr.cli.plan import plan_source
    from oocr.runs.estimates.time_estimate import gpu_of

    if tflops is not None and gpu is None:
        raise InputError("--tflops: the speed of the GPU that --gpu names; give both")
    if nodes is not None and (gpu is not None or gpus is not None):
        raise InputError("--nodes: counts machines like this one; with --gpu give --gpus")
    named = None if gpu is None else gpu_of(gpu, tflops)
    plan_source(source, overrides, quick=quick, gpu=named, gpus=gpus, nodes=nodes)


@app.command()
@with_options(engine=Engine)
def reproduce(
    paper: Annotated[
        str, Option(help="oocr, or a sister paper: ocr, ockr, frames, places")
    ] = DEFAULT_PAPER,
    model: Annotated[
        list[str] | None,
        Option(
            help="default: bundled ones; google/gemma-3-12b-it: the paper's runs; "
            "of a sister paper several can be given"
        ),
    ] = None,
    only: Annotated[
        list[str] | None, Option(help="a claim's id, as on the page; can be given more than once")
    ] = None,
    judge: options.JudgeModel = None,
    judge_url: options.JudgeUrl = None,
    workers: options.Processes = None,
    engine: Engine = HERE,
    out: options.Out = Path("runs"),
    quick: Annotated[
        bool,
        Option(
            "--quick", help="fewer tasks, members and seeds: 10 minutes, not 40 (a sister paper: 3)"
        ),
    ] = False,
    shared: Annotated[
        bool,
        Option("--shared", help="share the work with other processes that run the same command"),
    ] = False,
) -> None:
    """Test a paper's claims and write one page with the verdicts.

    A call that was stopped continues.
    """
    from oocr.explain.llm_judge import Judge

    if judge_url is not None and judge is None:
        raise InputError("--judge-url: the address of the model that --judge names; give both")
    if paper != DEFAULT_PAPER:
        from oocr.cli.papers import reproduce_paper

        if shared or engine.named:
            option = engine.named or "--shared"
            raise InputError(f"{option}: not of --paper {paper}; allowed: --paper oocr")
        if judge is not None:
            raise InputError(f"--judge: --paper {paper} asks no judge; allowed: --paper oocr")
        reproduce_paper(
            paper,
            models=model or (),
            quick=quick,
            only=only or (),
            out=out,
            workers=workers,
            command=_command(),
        )
        return
    from oocr.cli.reproduce import ReproduceOptions, reproduce, shared_reproduction
    from oocr.leases import LEASE

    if judge is not None and (shared or engine.named):
        option = engine.named or "--shared"
        raise InputError(f"--judge: it keeps its replies in one file; leave out {option}")
    if model is not None and len(model) > 1:
        raise InputError(f"--model: {', '.join(model)}; --paper oocr takes one model")
    single_model = model[0] if model else None
    asked = ReproduceOptions(single_model, quick, only or (), out, workers, _command())
    if engine.named:
        from oocr.cli.cluster.launch import launch

        launch(engine, shared_reproduction(engine, sys.argv[2:], asked))
        return
    reproduce(
        asked,
        judge=None if judge is None else Judge(judge, judge_url),
        lease=LEASE if shared else None,
    )


@app.command()
def show(
    folder: Annotated[
        str, Argument(help="the folder of a run, or its address: runs/countries-1a2b3c4d")
    ],
    local: options.Local = None,
) -> None:
    """Show the verdicts of a finished run and write its report again.

    A run at an address is downloaded.
    """
    from oocr.cli.cluster.place import fetched
    from oocr.cli.run import show_run

    show_run(fetched(folder, local))


@app.command()
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


@app.command()
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


@app.command()
def doctor(
    model: Annotated[str, Argument(help="bundled name, Hugging Face id, folder or GGUF")],
    dtype: options.LoadDtype = "auto",
    device: options.LoadDevice = "auto",
) -> None:
    """Steer a model at every block and check that it is exact."""
    from oocr.cli.listing import examine

    examine(model, dtype=dtype, device=device)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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
    asked = AuditOptions(model, texts, checkpoint, alpha, fit_steps, load, out, _command())
    if engine.named:
        from oocr.cli.cluster.launch import launch

        launch(engine, shared_audits(engine, names, asked, sys.argv[2:]))
    elif len(names) == 1:
        audit_source(names[0], asked)
    else:
        audit_several(names, asked)


@app.command()
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


def load_app() -> typer.Typer:
    """The command line, with the verbs of installed plug-ins."""
    for name, verbs in load_group("oocr.commands", typer.Typer).items():
        if name not in {group.name for group in app.registered_groups}:
            app.add_typer(verbs, name=name)
    return app


def _command() -> str:
    """How this process was called, to be shown with the results."""
    return command_line(["oocr", *sys.argv[1:]])
