"""Models, and a verb, of another package work by name, without a change to this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.installed_package import install, python
from tests.tiny.runs import save_tiny_model

PACKAGE = """
from pathlib import Path

import typer
from oocr.models.sources.bundled import ModelSource, NamedModel, NeutralSource

FOLDER = Path(__file__).parent / "weights"
NAMES = ("toy", "toy-large")


class Toys(ModelSource):
    kind, about, dtype = "toy", "a toy, which knows two families only", "float32"
    families = ("countries", "risk")

    def models(self):
        return {n: NamedModel(n, FOLDER / n, "MIT", f"get-toys {n}") for n in NAMES}

    def recognizes(self, folder):
        return (folder / "toy.txt").is_file()

    def neutral_texts(self, folder):
        return [NeutralSource("The city of the", (1, 3), "toys")]


TOYS = Toys()
verbs = typer.Typer()


@verbs.command()
def hello() -> None:
    print("hello from a toy")


@verbs.command()
def bye() -> None: ...
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    (site / "toys.py").write_text(PACKAGE)
    (save_tiny_model(site / "weights" / "toy") / "toy.txt").touch()
    points = {"oocr.models": {"toys": "toys:TOYS"}, "oocr.commands": {"toy": "toys:verbs"}}
    return install(site, "toys", points)


def test_they_are_listed_and_those_without_files_say_how_to_get_them(site: Path) -> None:
    done = python("-m", "oocr", "models", path=(site,))
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.split()}
    assert (rows["toy"][1], rows["toy"][-1]) == ("toy", "MIT"), done.stderr
    assert rows["toy-large"] == ["toy-large", "toy", "MIT"]  # no sizes of what is not here
    assert rows["toy:"][1:] == [str(site / "weights" / "toy")]
    assert "to get:\n  toy-large: get-toys toy-large\n" in done.stdout
    done = python("-m", "oocr", "doctor", "toy-large", path=(site,))
    assert done.returncode == 2
    assert "Get it with: get-toys toy-large" in done.stderr
    assert (
        "Did you mean 'toy-large'?"
        in python("-m", "oocr", "doctor", "toy-larg", path=(site,)).stderr
    )


def test_they_load_by_name_and_folder_and_read_their_own_neutral_texts(site: Path) -> None:
    code = (
        "from oocr import load_model; from oocr.explain.neutral import neutral_places\n"
        f"for name in ('toy', {str(site / 'weights' / 'toy')!r}):\n"
        "    model = load_model(name)\n"
        "    print(model.dtype, model.source.get('license'), *neutral_places(model))"
    )
    lines = python("-c", code, path=(site,)).stdout.splitlines()
    texts = "['The city of the'] [[1, 3]]"
    assert lines == [f"torch.float32 MIT {texts}", f"torch.float32 None {texts}"]


def test_a_task_that_they_know_nothing_of_is_refused(site: Path) -> None:
    done = python("-m", "oocr", "run", "persona", "--model", "toy", path=(site,))
    assert done.returncode == 2
    assert "toy is a toy, which knows two families only; allowed: countries, risk" in done.stderr


def test_their_verbs_are_verbs_of_the_command_line(site: Path) -> None:
    assert python("-m", "oocr", "toy", "hello", path=(site,)).stdout == "hello from a toy\n"
    listed = python("-m", "oocr", "--help", path=(site,)).stdout.splitlines()
    assert "toy" in [line.split()[0] for line in listed if line.split()]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (("oocr.models", "toys", "toys:MISSING"), "plug-in 'toys' of oocr.models (toys:MISSING)"),
        (
            ("oocr.models", "toys", "json:dumps"),
            "found function; allowed: an object of ModelSource",
        ),
        (("oocr.commands", "organism", "toys:verbs"), "two packages have one of this name"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_named(
    point: tuple[str, str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "toys.py").write_text(PACKAGE)
    group, name, value = point
    site = install(tmp_path, "toys", {group: {name: value}})
    done = python("-m", "oocr", "models", path=(site,))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
