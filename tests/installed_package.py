"""A package as a tool for installing packages leaves it, and Python beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.tiny.runs import environment

ROOT = Path(__file__).parents[1]


def install(folder: Path, name: str, points: Mapping[str, Mapping[str, str]]) -> Path:
    """What pip writes about a package; `points`: group -> name -> value of each entry point."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines: list[str] = []
    for group, values in points.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in values.items())]
    (info / "entry_points.txt").write_text("\n".join([*lines, ""]))
    return folder


def python(*words: object, path: tuple[Path, ...]) -> subprocess.CompletedProcess[str]:
    """Python with these folders and this repository's sources on its path."""
    folders = os.pathsep.join(map(str, (*path, ROOT / "src")))
    env = {**environment(), "PYTHONPATH": folders, "COLUMNS": "160"}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)
