"""The data files that lie beside a family's code."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml


def package_text(package: str, name: str) -> str:
    """A text file of a package: `package_text("oocr.families.countries", "countries.csv")`."""
    return (resources.files(package) / name).read_text(encoding="utf-8")


def package_yaml(package: str, name: str) -> Any:
    """A YAML file of a package, parsed."""
    return yaml.safe_load(package_text(package, name))
