"""The verbs of `oocr` and their options; slow modules are imported inside the verbs."""

from __future__ import annotations

import typer

from oocr.cli import models
from oocr.cli.verbs import files, runs
from oocr.plugins import load_group

app = typer.Typer(
    name="oocr",
    help="Is your fine-tune just a steering vector? Train, test, explain, report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(runs.verbs)
app.add_typer(files.verbs)
app.add_typer(models.verbs, name="models")


def load_app() -> typer.Typer:
    """The command line, with the verbs of installed plug-ins."""
    for name, verbs in load_group("oocr.commands", typer.Typer).items():
        if name not in {group.name for group in app.registered_groups}:
            app.add_typer(verbs, name=name)
    return app
