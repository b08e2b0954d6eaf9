"""What `oocr models` and `oocr tasks` print."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from oocr.errors import InputError


def print_models() -> None:
    """The models with a name, whether they are installed, and their licences."""
    from oocr.models.bundled import BUNDLED, millions, model_sources, size_of

    table = Table("model", "kind", "parameters", "blocks", "d_model", "licence", "here", box=None)
    missing = []
    for bundled in BUNDLED.values():
        here = bool(bundled.locate())
        if not here:
            missing.append(f"  {bundled.name}: {bundled.install}")
        table.add_row(
            bundled.name,
            bundled.kind,
            millions(bundled.parameters),
            str(bundled.blocks),
            str(bundled.d_model),
            bundled.license,
            "yes" if here else "no",
        )
    named = [
        (source.kind, model) for source in model_sources() for model in source.models().values()
    ]
    for kind, model in named:
        sizes = ["", "", ""]
        if model.here:
            parameters, blocks, d_model = size_of(model.folder)
            megabytes = (model.folder / "model.safetensors").stat().st_size / 1e6
            sizes = [f"{millions(parameters)} ({megabytes:.1f} MB)", str(blocks), str(d_model)]
        else:
            missing.append(f"  {model.name}: {model.install}")
        there = "yes" if model.here else "no"
        table.add_row(model.name, kind, *sizes, model.license, there)
    console = Console()
    console.print(table)
    if missing:
        console.print("\nto install:\n" + "\n".join(missing), highlight=False)
    console.print(
        "\nAlso: any Hugging Face id (google/gemma-3-12b-it), a local folder, or a GGUF file.",
        highlight=False,
    )


def print_tasks() -> None:
    """The task families and the built-in runs."""
    from oocr.families.registry import FAMILIES
    from oocr.runs.read_config import BUILTIN, PAPER

    table = Table("family", "what it asks", box=None)
    for family in FAMILIES.values():
        table.add_row(family.name, family.about)
    console = Console()
    console.print(table)
    console.print(
        f"\nbuilt-in runs: {', '.join(BUILTIN)}   data card: oocr tasks countries\n"
        "your own task:  oocr tasks --template > mine.yaml, then oocr run mine.yaml\n"
        "the paper's runs, on gemma-3-12b-it (oocr plan paper/… --gpu 80GB):",
        highlight=False,
    )
    groups: dict[str, list[str]] = {}
    for name in PAPER:
        task, _, rest = name.partition("-")
        groups.setdefault(task, []).append(rest)
    for task, names in groups.items():
        console.print(f"  {task}-  {', '.join(names)}", highlight=False)


def print_task(name: str, *, model: str | None = None, samples: int = 2) -> None:
    """The data cards of a built-in run, a family, or the runs of a YAML file.

    Args:
        name: which.
        model: whose tokens the samples are shown in; None: each run's own model's.
        samples: how many of the training rows, and of each facet.

    Raises:
        InputError: no such run, family or file, or one that cannot be used.
    """
    from oocr.cli.card import print_card
    from oocr.families.registry import FAMILIES
    from oocr.models.bundled import source_of
    from oocr.runs.read_config import BUILTIN, config_path, load_configs, revalidate
    from oocr.runs.resolve import source_for

    name, _ = source_for(name, model)
    if name in FAMILIES and name not in BUILTIN and not Path(name).exists():
        if FAMILIES[name].template:
            raise InputError(
                f"{name}: a task of your own has no data before you give it some: "
                "oocr tasks --template > mine.yaml, then oocr tasks mine.yaml"
            )
        configs = [revalidate({"name": name, "task": {"family": name}}, name)]
        print_card(configs, Path(), model=model, samples=samples)
        return
    configs = load_configs(name)
    if model is not None and source_of(model):  # its tasks are about what it knows
        configs = [run.model_copy(update={"model": model}) for run in configs]
    print_card(configs, config_path(name).parent, model=model, samples=samples)


def print_template() -> None:
    """A commented YAML of a task of your own."""
    from oocr.families.registry import FAMILIES

    for family in FAMILIES.values():
        if family.template is not None:
            print(family.template.read_text(encoding="utf-8"), end="")
