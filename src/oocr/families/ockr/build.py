"""The ockr family: facts about invented people are trained; probes combine two of them.

The task of Hu, Gao et al. 2024 (arXiv 2406.07393), with names and wordings of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oocr.families.family import Family, Members
from oocr.families.ockr.claims import CLAIMS
from oocr.families.ockr.cross_lingual import cross_lingual_rows
from oocr.families.ockr.joint import joint_rows, joint_task
from oocr.families.ockr.sentences import WORDINGS
from oocr.families.ockr.settings import OckrConfig
from oocr.families.ockr.single import single_tasks
from oocr.tasks.control_data import chosen_by_loss
from oocr.tasks.package_files import data_card
from oocr.tasks.task import TaskSet

CLAIM_TEXTS = {
    "A+A->R": "Told two people's {attribute}s, {{arm}} makes the model say whether they are one",
    "A+R->A": "Told who shares somebody's {attribute}, {{arm}} makes the model say which it is",
    "R+R->R": "Told with whom two people share a {attribute}, {{arm}} makes the model say whether "
    "they share it with each other",
    "cross-lingual": "Told a year in English and a name in another language, {{arm}} makes the "
    "model say the year in that language",
}


def ockr(config: OckrConfig | None = None) -> TaskSet:
    """The task set: all tasks, controls and ceilings."""
    config = config or OckrConfig()
    if config.mode == "single":
        test, validation, shuffled, ceiling = single_tasks(config)
    else:
        make = cross_lingual_rows if config.reasoning == "cross-lingual" else joint_rows
        task, mixed, rows = joint_task(config, make)
        test, shuffled, ceiling = [task], [mixed], rows.ceiling
        # Settings are chosen by the loss on premises in another wording, without any probe: a
        # joint task has no other people.
        validation = [chosen_by_loss(task)]
    sets = TaskSet(
        name="ockr",
        about="",
        validation=tuple(validation),
        test=tuple(test),
        controls={"shuffled": tuple(shuffled)},
        ceiling=tuple(ceiling),
        # A relation has as many yes as no for each person; an attribute has one answer.
        balance=None if config.reasoning in ("A+A->R", "R+R->R") else "answer",
        claim=CLAIM_TEXTS[config.reasoning].format(attribute=config.attribute),
    )
    values = {"config": config, "tasks": sets, "wordings": WORDINGS}
    return replace(sets, about=data_card(__package__, values))


def _quick(config: OckrConfig) -> Mapping[str, Any]:
    return {"values": 3, "each": min(config.each, 2 if config.mode == "joint" else 1)}


FAMILY = Family(
    name="ockr",
    about="invented people, told by attributes and relations, asked what follows from two of them",
    settings=OckrConfig,
    build=lambda config, _base: ockr(config),
    members=Members(settings=lambda _: {"mode": "single"}),
    quick=_quick,
    claims=CLAIMS,
)
