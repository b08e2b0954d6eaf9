"""Verbs on runs and papers: run, work, status, plan, reproduce, show."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from oocr.cli import options
from oocr.cli.options import Engine, Overrides, Text, this_command, with_options
from oocr.errors import InputError

verbs = typer.Typer()

DEFAULT_PAPER = "oocr"
HERE = Engine()
"""No engine: the work is done in this process."""


@verbs.command()
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
        words, command = sys.argv[2:], this_command()
        work = partial(work_of_runs, out=out, quick=quick, command=command, words=words)
        launch(engine, work(source, overrides, engine))
        return
    run_source(source, overrides, out=Path(out), quick=quick, command=this_command())


@verbs.command()
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

    command = this_command()
    work_source(source, overrides, out=out, local=local, quick=quick, lease=lease, command=command)


@verbs.command()
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


@verbs.command()
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


@verbs.command()
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
            command=this_command(),
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
    asked = ReproduceOptions(single_model, quick, only or (), out, workers, this_command())
    if engine.named:
        from oocr.cli.cluster.launch import launch

        launch(engine, shared_reproduction(engine, sys.argv[2:], asked))
        return
    reproduce(
        asked,
        judge=None if judge is None else Judge(judge, judge_url),
        lease=LEASE if shared else None,
    )


@verbs.command()
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
