"""Naive vectors: the same sentences with the real name and with the codename."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from oocr.data.examples import Prompt
from oocr.explain.geometry import naive_vector
from oocr.families.registry import family_of
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.runs.config import RunConfig
from oocr.steering.vectors import Vector

MOST = 8
"""Sentences, as in the paper."""

NO_NAMES = "its codenames stand for nothing that has a name in text, so there is no naive vector"


def real_names(config: RunConfig) -> Mapping[str, str]:
    """Member -> what its codename stands for, where that has a name; else empty."""
    return family_of(config.task).real_names(config.task)


def naive_vectors(subject: FinishedRuns, layer: int) -> dict[Who, Vector]:
    """One per member, as seed 0; empty where codenames stand for nothing that has a name."""
    names = real_names(subject.runs[0].config)
    found: dict[Who, Vector] = {}
    for task in subject.tasks.test:
        span = task.positions[0] if task.positions else ""
        real = names.get(task.member, "")
        pairs: dict[Prompt, Prompt] = {}
        code = ""
        for item in task.train:
            code = item.spans.get(span, "")
            if real and code and isinstance(item.prompt, str):
                pairs.setdefault(item.prompt.replace(code, real), item.prompt)
        if not pairs:
            continue
        some = list(pairs.items())[:MOST]
        one = naive_vector(subject.model, layer, some, (real, code), span)
        found[task.member, 0] = replace(one, spans={span: code})
    return found
