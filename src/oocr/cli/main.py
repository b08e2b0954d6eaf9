"""The command line: verbs only. Everything heavy is imported when a verb needs it."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from oocr.cli.options import (
    AdapterRates,
    Arms,
    Base,
    Device,
    Dtype,
    FineTune,
    JudgeModel,
    JudgeUrl,
    Layers,
    LoadDevice,
    LoadDtype,
    Model,
    Out,
    Positions,
    Processes,
    Quick,
    Seeds,
    Site,
    Source,
    Texts,
    VectorFile,
    VectorRates,
)
from oocr.plugins import load_group

app = typer.Typer(
    name="oocr",
    help="Is your fine-tune just a steering vector? Train, test, explain, report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_INTERRUPTED = 130


@app.command()
def run(
    source: Source,
    model: Model = None,
    layers: Layers = None,
    positions: Positions = None,
    site: Site = None,
    arms: Arms = None,
    seeds: Seeds = None,
    vector_learning_rates: VectorRates = None,
    adapter_learning_rates: AdapterRates = None,
    dtype: Dtype = None,
    device: Device = None,
    workers: Processes = None,
    out: Out = Path("runs"),
    quick: Quick = False,
) -> None:
    """Train the arms, test them, explain them, and write a report; resumes where it stopped."""
    from oocr.cli.run import Overrides, run_source

    run_source(
        source,
        Overrides(
            model=model,
            layers=layers,
            positions=positions,
            site=site,
            arms=arms,
            seeds=seeds,
            vector_learning_rates=vector_learning_rates,
            adapter_learning_rates=adapter_learning_rates,
            dtype=dtype,
            device=device,
            workers=workers,
        ),
        out=out,
        quick=quick,
        command=_command(),
    )


@app.command()
def plan(
    source: Source,
    model: Model = None,
    layers: Layers = None,
    positions: Positions = None,
    site: Site = None,
    arms: Arms = None,
    seeds: Seeds = None,
    vector_learning_rates: VectorRates = None,
    adapter_learning_rates: AdapterRates = None,
    dtype: Dtype = None,
    device: Device = None,
    workers: Processes = None,
    quick: Quick = False,
    gpu: Annotated[
        str | None, typer.Option(help="plan for one GPU that is not here, of this memory: 80GB")
    ] = None,
    tflops: Annotated[
        float | None, typer.Option(help="that GPU's bfloat16 peak; 312 (A100) if left out")
    ] = None,
) -> None:
    """Say what a run would compute, how long it takes and whether it fits, here or on a GPU."""
    from oocr.cli.plan import plan_source
    from oocr.cli.run import Overrides
    from oocr.errors import InputError
    from oocr.runs.time_estimate import gpu_of

    if tflops is not None and gpu is None:
        raise InputError("--tflops: it is the speed of the GPU that --gpu names; give both")
    plan_source(
        source,
        Overrides(
            model=model,
            layers=layers,
            positions=positions,
            site=site,
            arms=arms,
            seeds=seeds,
            vector_learning_rates=vector_learning_rates,
            adapter_learning_rates=adapter_learning_rates,
            dtype=dtype,
            device=device,
            workers=workers,
        ),
        quick=quick,
        gpu=None if gpu is None else gpu_of(gpu, tflops),
    )


@app.command()
def reproduce(
    model: Annotated[
        str | None,
        typer.Option(help="in place of the bundled ones; google/gemma-3-12b-it: the paper's runs"),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="a claim's id, as the page names it; may be repeated")
    ] = None,
    judge: JudgeModel = None,
    judge_url: JudgeUrl = None,
    workers: Processes = None,
    out: Out = Path("runs"),
    quick: Annotated[
        bool, typer.Option("--quick", help="fewer tasks, members and seeds: 10 minutes, not 40")
    ] = False,
) -> None:
    """Redo the paper's claims in order, each with a verdict, on one page; resumes as runs do."""
    from oocr.cli.reproduce import reproduce
    from oocr.errors import InputError
    from oocr.explain.judge import Judge

    if judge_url is not None and judge is None:
        raise InputError("--judge-url: it is where the model of --judge answers; give both")
    reproduce(
        model=model,
        quick=quick,
        only=only or (),
        out=out,
        workers=workers,
        command=_command(),
        judge=None if judge is None else Judge(judge, judge_url),
    )


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="a run's folder, e.g. runs/countries-1a2b3c4d")],
) -> None:
    """Print a finished run's verdicts and write its report again."""
    from oocr.cli.run import show_run

    show_run(folder)


@app.command()
def models() -> None:
    """List the models that need no download hub, with their licences."""
    from oocr.cli.listing import print_models

    print_models()


@app.command()
def tasks(
    name: Annotated[
        str | None, typer.Argument(help="a built-in run, family or YAML file: its data card")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="show the samples in this model's tokens, not the run's")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="how many of the training rows, and of each facet")
    ] = 2,
    template: Annotated[
        bool, typer.Option("--template", help="print a commented YAML for a task of your own")
    ] = False,
) -> None:
    """List the tasks, or print one's data card, or a template for your own."""
    from oocr.cli.listing import print_task, print_tasks, print_template

    if template:
        print_template()
    elif name is None:
        print_tasks()
    else:
        print_task(name, model=model, samples=samples)


@app.command()
def read(
    files: Annotated[list[Path], typer.Argument(help="data, vectors, LoRAs: anyone's files")],
    model: Annotated[
        str | None, typer.Option(help="show the samples in this model's tokens, by role")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="samples of each file")] = 2,
) -> None:
    """Say what files hold, what was mended in them, and show samples."""
    from oocr.cli.read import print_files

    print_files(files, model=model, rows=rows)


@app.command()
def doctor(
    model: Annotated[str, typer.Argument(help="bundled name, Hugging Face id, folder or GGUF")],
    dtype: LoadDtype = "auto",
    device: LoadDevice = "auto",
) -> None:
    """Steer a model at every block and show whether it moves exactly as it should."""
    from oocr.cli.doctor import examine

    examine(model, dtype=dtype, device=device)


@app.command()
def vector(
    file: VectorFile,
    model: Annotated[str | None, typer.Option(help="check that it belongs on this model")] = None,
) -> None:
    """Print what a vector's file holds: where it acts, its norm, where it came from."""
    from oocr.cli.export import describe

    describe(file, model=model)


@app.command()
def export(
    file: VectorFile,
    to: Annotated[str, typer.Option(help="gguf (llama.cpp, repeng), peft, or lm-eval")],
    out: Annotated[Path, typer.Option(help="the file or, for peft, folder to write")],
    model: Annotated[str | None, typer.Option(help="the vector's model; gguf needs none")] = None,
    everywhere: Annotated[
        bool,
        typer.Option("--everywhere", help="a vector at some tokens, though it will act at all"),
    ] = False,
) -> None:
    """Write a vector as another tool reads it; refuse what that tool cannot express."""
    from oocr.cli.export import export

    export(file, to, out, model=model, everywhere=everywhere)


@app.command()
def audit(
    adapter: FineTune,
    model: Base = None,
    texts: Texts = None,
    out: Annotated[Path, typer.Option(help="folder of all audits")] = Path("audits"),
    checkpoint: Annotated[
        bool, typer.Option("--checkpoint", help="it is a whole model, not an adapter")
    ] = False,
    alpha: Annotated[
        float | None, typer.Option(help="of a .pt adapter, which does not say it; else 32")
    ] = None,
    fit_steps: Annotated[
        int, typer.Option(min=0, help="of training the best single vector; 0: none")
    ] = 20,
    dtype: LoadDtype = "auto",
    device: LoadDevice = "auto",
) -> None:
    """Ask whether somebody's fine-tune is a constant vector, and write that vector."""
    from oocr.cli.audit import AuditOptions, audit_source

    audit_source(
        adapter,
        AuditOptions(model, texts, checkpoint, alpha, fit_steps, dtype, device),
        out=out,
        command=_command(),
    )


def _add_plugins() -> None:
    known = {group.name for group in app.registered_groups}
    for name, verbs in load_group("oocr.commands", typer.Typer).items():
        if name not in known:
            app.add_typer(verbs, name=name)


def _command() -> str:
    """How this process was called, to be shown with the results."""
    return shlex.join(["oocr", *sys.argv[1:]])


def main() -> None:
    """Run the command line; errors that users can mend are one clear message."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore", FutureWarning)  # between libraries, none of it the user's
    from oocr.errors import InputError, RunError

    try:
        _add_plugins()
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except RunError as error:
        print(f"stopped: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_stopped())
    except SystemExit as end:  # Typer makes this of Ctrl-C, without a word
        if end.code == _INTERRUPTED:
            _stopped()
        raise


def _stopped() -> int:
    print(
        "\nstopped by you; what was computed stays, and the same command goes on from there",
        file=sys.stderr,
    )
    return _INTERRUPTED
