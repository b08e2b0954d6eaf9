"""The library on GPUs that are not there: see `tests.devices.pretend`.

A backend, once registered, stays: each file of tests runs in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("gpu_*.py")))
def test_in_a_process_of_its_own(name: str) -> None:
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(FOLDER / f"{name}.py")],
        cwd=FOLDER.parents[1],
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
