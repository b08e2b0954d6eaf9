"""What `oocr models` and `oocr tasks` print."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def print_models() -> None:
    """The bundled models, whether they are installed, and their licences."""
    from oocr.models.bundled import BUNDLED

    table = Table("model", "kind", "parameters", "blocks", "d_model", "licence", "here", box=None)
    missing = []
    for one in BUNDLED.values():
        here = bool(one.locate())
        if not here:
            missing.append(f"  {one.name}: {one.install}")
        table.add_row(
            one.name,
            one.kind,
            f"{one.parameters / 1e6:.0f}M",
            str(one.blocks),
            str(one.d_model),
            one.license,
            "yes" if here else "no",
        )
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
    from oocr.experiments.reading import BUILTIN, PAPER
    from oocr.tasks.build import FAMILIES

    table = Table("family", "what it asks", box=None)
    for name, text in FAMILIES.items():
        table.add_row(name, text)
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


def print_task(name: str) -> None:
    """A run's data card and a few of its items.

    Raises:
        InputError: no such built-in run or file.
    """
    from oocr.experiments.reading import config_path, load_configs
    from oocr.tasks.build import build

    console = Console()
    base = config_path(name).parent
    for config in load_configs(name):
        tasks = build(config.task, base)
        console.print(f"[bold]{config.name}[/]\n{tasks.about}\n", highlight=False)
        first = tasks.test[0]
        for part, items in (("training", first.train), ("probes", first.probes)):
            console.print(f"[bold]{part}[/], {first.member}", highlight=False)
            for item in items[:: max(1, len(items) // 6)][:6]:
                console.print(f"  {item.prompt!r} → {item.answer!r}", highlight=False, markup=False)


def print_template() -> None:
    """A commented YAML of a task of one's own."""
    from oocr.tasks.custom import template_yaml

    print(template_yaml(), end="")
