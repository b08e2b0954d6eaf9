"""The documentation's site: `make docs` (Sphinx, MyST-NB, furo). Its source folder is the root.

So a link from page to page, to a notebook or to a file of code is the same here and on GitHub. A
link that leads nowhere, and a page that no list of contents names, fail the build.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))  # docstrings.py

project = "oocr"
author = "the authors of oocr"
copyright = "the authors of oocr, Apache-2.0"
root_doc = "README"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "docstrings",
]

PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "examples")
include_patterns = [name if name.endswith(".md") else f"{name}/**" for name in PAGES]
others = sorted(path.name for path in ROOT.iterdir() if path.name not in PAGES)
exclude_patterns = ["examples/toy_family/oocr_animals", *others]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"  # tests run them; what they show is kept in them
nb_merge_streams = True
highlight_language = "none"
suppress_warnings = ["ref.python"]  # two classes with fields of one name

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autodoc_default_options = {"exclude-members": "model_config"}
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "oocr"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path = ["_templates"]
html_additional_pages = {"index": "to_first_page.html"}

CONTENTS = {
    "Tutorials": """
        examples/notebooks/1-first-vector
        examples/notebooks/2-your-own-data
        examples/notebooks/3-audit-an-adapter
        examples/notebooks/4-the-nano-world
    """,
    "How to": """
        docs/how-to/is-it-a-vector
        docs/how-to/audit-an-adapter
        docs/how-to/your-own-data
        docs/how-to/run-on-a-cluster
        docs/how-to/add-a-task
        docs/how-to/add-an-analysis
        docs/how-to/add-a-paper
        docs/how-to/add-an-export
        docs/how-to/add-models
    """,
    "Using it": """
        docs/command-line
        docs/python
        docs/play
        docs/with-other-tools
        docs/models
        docs/concepts
    """,
    "Results": """
        docs/results
        docs/papers
        docs/organism
        docs/benchmarks
    """,
    "Reference": """
        docs/api/index
        docs/paper-runs
        docs/many-machines
        docs/architectures
        examples/own_task/README
        examples/toy_family/README
    """,
    "Project": """
        CONTRIBUTING
        CHANGELOG
    """,
}


def with_contents(app: Sphinx, page: str, text: list[str]) -> None:
    """The README is the first page; its list of contents is the site's side bar."""
    if page == root_doc:
        for caption, pages in CONTENTS.items():
            listed = "\n".join(pages.split())
            text[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", with_contents)
