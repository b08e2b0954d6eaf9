"""Tasks show themselves in a notebook: sizes, facets, an example, nothing taken for markup."""

from __future__ import annotations

from dataclasses import replace

import oocr


def test_a_task_shows_its_splits_and_escapes_texts() -> None:
    task = oocr.load_task("countries", country="Japan")
    rows = (replace(task.train[0], prompt="Is <b>Country 4821</b> here?"), *task.train[1:])
    page = replace(task, train=rows)._repr_html_()
    assert "countries/capital/Japan" in page
    assert f">{len(task.probes)}<" in page
    assert "language, continent" in page
    assert "&lt;b&gt;Country 4821&lt;/b&gt; here? → Tokyo" in page
    assert ">paper<" not in page  # an empty split


def test_a_task_set_shows_members_controls_and_its_card() -> None:
    tasks = oocr.load_tasks({"family": "countries", "countries": ["France", "Chile"]})
    page = tasks._repr_html_()
    assert "France, Chile" in page
    assert ">control planted<" in page
    assert ">2 tasks<" in page
    assert "Training tells one facet" in page
