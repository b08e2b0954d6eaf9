"""One environment takes every extra, in the pinned versions: pip falls back silently otherwise."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cli.test_packaging import EXTRAS, PROJECT, ROOT, is_installed, pins

ALL = [*PROJECT["project"]["dependencies"], *(one for extra in EXTRAS.values() for one in extra)]


@pytest.mark.parametrize("requirement", sorted(set(ALL)))
def test_every_requirement_has_a_floor(requirement: str) -> None:
    """Without one pip takes a version of years ago where a pin is in the way of today's."""
    operators = {spec.operator for spec in Requirement(requirement).specifier}
    assert operators & {">=", "=="}


def test_the_pins_agree_with_each_other() -> None:
    """What each pinned package asks of the others, as far as it is installed here."""
    versions, wrong = pins(), []
    for name in filter(is_installed, versions):
        for line in importlib.metadata.requires(name) or ():
            needed = Requirement(line)
            if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
                continue
            pin = versions.get(canonicalize_name(needed.name))
            if pin is not None and not needed.specifier.contains(pin, prereleases=True):
                wrong.append(f"{name} needs {line}; constraints.txt has {pin}")
    assert not wrong


def pip(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_pip_finds_one_environment_for_all_extras(tmp_path: Path) -> None:
    """A dry run on top of what is installed: pip asks the index for what is missing alone."""
    once = ("--timeout", "3", "--retries", "0")
    if pip("index", "versions", "python-dateutil", *once).returncode:
        pytest.skip("needs a package index, which cannot be reached")
    file, report = tmp_path / "requirements.txt", tmp_path / "report.json"
    file.write_text("\n".join(sorted(set(ALL))), encoding="utf-8")
    tried = ("install", "--dry-run", "--quiet", "--constraint", "constraints.txt")
    ended = pip(*tried, "--requirement", str(file), "--report", str(report))
    assert ended.returncode == 0, ended.stderr[-2000:]
    new = json.loads(report.read_text(encoding="utf-8"))["install"]
    unpinned = [
        name
        for name in (canonicalize_name(package["metadata"]["name"]) for package in new)
        if name not in pins() and not re.match(r"(nvidia|cuda)-|triton$", name)
    ]
    assert not unpinned
