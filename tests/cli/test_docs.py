"""Pages: links lead somewhere, every page and public name is listed, code names what is there."""

from __future__ import annotations

import ast
import re
import textwrap
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

import oocr
from tests.cli.test_packaging import EXTRAS, PROJECT, ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
API = "\n".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/api/*.rst"))


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def links(text: str) -> list[str]:
    """Targets of links and images, of code's look-alikes left out."""
    plain = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", plain)


@cache
def anchors(page: Path) -> set[str]:
    """Headings as GitHub writes them in addresses."""
    plain = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    titles = re.findall(r"(?m)^#+ (.+?)\s*$", plain)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    wrong = []
    for link in links(text_of(page)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if (
            not target.is_file()
            or ROOT not in target.parents
            or (anchor and anchor not in anchors(target))
        ):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    assert not broken(page)


def test_a_broken_link_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("# A `b`: c\n[x](#a-b-c) [x](page.md#no) [x](none.md) [x](..) `[x](code.md)`\n")
    assert broken(page) == ["page.md#no", "none.md", ".."]


def test_notebooks_link_to_pages_that_exist() -> None:
    for notebook in ROOT.glob("examples/notebooks/*.ipynb"):
        for link in re.findall(r"\]\((\.\.[^)#\s]+)", text_of(notebook)):
            assert (notebook.parent / link).is_file(), link


def contents() -> set[str]:
    """The site's list of contents, from docs/conf.py."""
    for node in ast.parse(text_of(ROOT / "docs" / "conf.py")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CONTENTS":
            return set(" ".join(ast.literal_eval(node.value).values()).split())
    raise AssertionError("docs/conf.py has no CONTENTS")


def test_the_list_of_contents_has_every_page_once() -> None:
    notebooks = [str(path.relative_to(ROOT)) for path in ROOT.glob("examples/notebooks/*.ipynb")]
    pages = {str(Path(name).with_suffix("")) for name in [*NAMES, *notebooks]}
    assert contents() == pages - {"README"} | {"docs/api/index"}


def test_every_public_name_has_its_place_in_the_api() -> None:
    described = set(re.findall(r":: (?:oocr\.(?:\w+\.)*)?(\w+)", API))
    assert set(oocr.__all__) - described <= {"exports"}
    modules = {path.stem for path in (ROOT / "src" / "oocr" / "explain").glob("[a-z]*.py")}
    assert modules <= described
    assert set(oocr.exports.__all__) <= described


def blocks() -> list[Any]:
    block = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
    return [
        pytest.param(textwrap.dedent(match[2]), id=f"{name}-{number}")
        for page, name in zip(PAGES, NAMES, strict=True)
        for number, match in enumerate(block.finditer(text_of(page)))
    ]


@pytest.mark.parametrize("code", blocks())
def test_python_in_pages_is_python_and_names_what_exists(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            chain = ast.unparse(node).split(".")
            if chain[0] == "oocr" and all(map(str.isidentifier, chain)):
                attrgetter(".".join(chain[1:]))(oocr)


def test_the_readme_is_short_and_names_every_extra() -> None:
    readme = text_of(ROOT / "README.md")
    assert readme.count("\n") < 180
    table = readme.partition("## Extras")[2].partition("\n## ")[0]
    first = "".join(re.findall(r"(?m)^\| ([^|]*) \|", table))
    assert set(re.findall(r"`(\w+)`", first)) == EXTRAS.keys() - {"dev", "bench", "docs"}


def test_the_citation_has_the_packages_version_and_licence() -> None:
    cited = yaml.safe_load(text_of(ROOT / "CITATION.cff"))
    assert cited["version"] == PROJECT["project"]["version"]
    assert cited["license"] == PROJECT["project"]["license"]
    assert cited["references"][0]["url"] in text_of(ROOT / "README.md")
    assert "## Unreleased" in text_of(ROOT / "CHANGELOG.md")


def test_the_workflow_runs_the_tests_with_no_rights_but_reading() -> None:
    workflow = yaml.safe_load(text_of(ROOT / ".github" / "workflows" / "test.yml"))
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos"}
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert oldest in matrix["python"]
    assert any("make test" in step.get("run", "") for step in workflow["jobs"]["test"]["steps"])


@pytest.mark.parametrize("form", sorted(ROOT.glob(".github/ISSUE_TEMPLATE/[!c]*.yml")))
def test_a_form_has_what_github_asks_of_one(form: Path) -> None:
    read = yaml.safe_load(text_of(form))
    assert read["name"]
    assert read["description"]
    ids = [part["id"] for part in read["body"]]
    assert len(set(ids)) == len(ids)
    for part in read["body"]:
        assert part["type"] in {"textarea", "input", "dropdown"}
        assert part["attributes"]["label"]
