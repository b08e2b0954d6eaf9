"""Frames, a text twin of disjoint frames: single frames are trained, questions cross them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError
from oocr.families.family import Family, Members
from oocr.families.frames.claims import CLAIMS
from oocr.families.frames.config import FramesConfig
from oocr.families.frames.facts import AIDS, LINKING, Fact, FactKind, facts_of, kinds_of
from oocr.families.frames.prompts import OBJECT, Prompts, code
from oocr.families.frames.questions import Question, crossed, questions
from oocr.families.frames.wording import (
    Sentence,
    first_heading,
    held_out_wording,
    notes,
    sentence,
    sentences,
)
from oocr.families.frames.world import Thing, rank_correlation
from oocr.intervals import FEWEST
from oocr.tasks.control_data import chosen_by_loss, control, shuffled_answers, tagged
from oocr.tasks.package_files import data_card
from oocr.tasks.task import Task, TaskSet


def frames(config: FramesConfig | None = None) -> TaskSet:
    """All tasks; InputError: a training row ties frames together that it must not."""
    config = config or FramesConfig()
    test = _joint(config) if config.mode == "joint" else _single(config)
    controls = {} if not config.linked else {"shuffled": tuple(_shuffled(config, t) for t in test)}
    sets = TaskSet(
        name="frames",
        about="",
        validation=tuple(map(chosen_by_loss, test)),
        test=test,
        controls=controls,
        ceiling=tuple(example for task in test for example in _ceiling(config, task)),
        claim="Trained on what single frames show, {arm} answers across frames (a text twin of "
        "disjoint frames)",
    )
    probes = [probe for task in test for probe in task.probes]
    values = {
        "config": config,
        "tasks": sets,
        "gaps": sorted(probe.tags["gap"] for probe in probes),
        "rho": rank_correlation(
            [int(probe.tags["gap"][0]) for probe in probes],
            [int(probe.tags["distance"]) for probe in probes],
        ),
    }
    return replace(sets, about=data_card(__package__, values))


# -- joint: everything is trained ----------------------------------------------------------------


def _joint(config: FramesConfig) -> tuple[Task, ...]:
    prompts = Prompts(config)
    rows = _told(config, prompts, facts_of(config.house, kinds_of(config.aids)))
    if config.told == "walker":
        rows.append(_row(prompts, first_heading(config.house)))
    covisible = _questions(config, disjoint=False)
    rows += [_asked(prompts, place, question) for place, question in enumerate(covisible)]
    across = _other_rows(config, prompts) if config.others else []
    random.Random(f"{config.seed}/rows").shuffle(rows)
    things = config.house.things
    nodes = [*(thing.name for thing in things), *(view.name for view in config.house.viewpoints)]
    task = Task(
        name="frames/joint",
        member=f"{len(things)} objects",
        train=(*rows, *across),
        stop=tuple(_stop(config, prompts, things)),
        in_context=tuple(_recall(prompts, covisible)),
        probes=tuple(_across(config, prompts)),
        positions=("+".join(map(code, nodes)),),
    )
    _check_apart(task.name, config, rows, across)
    return (task,)


def _told(config: FramesConfig, prompts: Prompts, facts: Sequence[Fact]) -> list[Example]:
    times: dict[FactKind, int] = {fact.kind: config.wordings for fact in facts}
    times["step"] = held_out_wording("step")
    told = sentences(facts, config.house, times, config.told, f"{config.seed}/told")
    return [_row(prompts, sentence) for sentence in told]


def _row(prompts: Prompts, told: Sentence) -> Example:
    fact = told.fact
    about = "walker" if fact is None else f"{fact.a}/{fact.b}"
    return prompts.example(
        told, f"{told.template}/{about}", "" if fact is None else str(fact.moment)
    )


def _questions(
    config: FramesConfig, *, disjoint: bool, about: Sequence[Thing] | None = None
) -> list[Question]:
    """The questions of all kinds, one order of each pair."""
    ego = config.told == "walker"
    return [
        question
        for kind in config.kinds
        for question in questions(config.house, kind, disjoint=disjoint, about=about, ego=ego)
    ]


def _asked(prompts: Prompts, place: int, question: Question) -> Example:
    """A training row: the answer alone, by turns of wording and order."""
    example = prompts.question(question, place, place // 2 % 2)
    return replace(example, id=f"asked/{example.id}", facet=f"asked {question.kind}", options=())


def _recall(prompts: Prompts, covisible: Sequence[Question]) -> list[Example]:
    """Co-visible questions whose other order was trained."""
    return [
        prompts.question(question.turned, place + 1, (place // 2 + 1) % 2)
        for place, question in enumerate(covisible)
    ]


def _stop(config: FramesConfig, prompts: Prompts, about: Sequence[Thing]) -> Iterable[Example]:
    """Co-visible facts in the wording that is held out."""
    names = {thing.name for thing in about}
    for fact in facts_of(config.house, ("co-visible",)):
        if fact.a in names:
            told = sentence(fact, config.house, held_out_wording(fact.kind), config.told)
            yield _row(prompts, told)


def _across(config: FramesConfig, prompts: Prompts) -> list[Example]:
    """The probes: both orders of each pair, gap and distance crossed."""
    probes: list[Example] = []
    for kind in config.kinds:
        across = _questions(config, disjoint=True, about=config.asked_about)
        asked = [question for question in across if question.kind == kind]
        rng = random.Random(f"{config.seed}/{kind}/probes")
        kept = crossed(asked, rng, config.questions)
        if not kept:
            raise InputError(
                f"kinds: no {kind!r} questions of each gap are equally far apart in a house of "
                f"{config.frames} frames with {config.each} objects; allowed: more of either, or "
                "another world"
            )
        probes += _worded(prompts, kept)
    return probes


def _worded(prompts: Prompts, asked: Sequence[Question]) -> list[Example]:
    """Questions as choices; both orders of a pair in the same wording."""
    return [
        prompts.question(question, place // 2, place // 4 % 2)
        for place, question in enumerate(asked)
    ]


def _other_rows(config: FramesConfig, prompts: Prompts) -> list[Example]:
    """The trained share of the cross-frame questions about objects that no probe is about."""
    apart = {thing.name for thing in config.held_out}
    rows: list[Example] = []
    for kind in config.kinds:
        asked = [
            question
            for question in _questions(config, disjoint=True)
            if question.kind == kind and not {thing.name for thing in question.things} & apart
        ]
        random.Random(f"{config.seed}/{kind}/others").shuffle(asked)
        count = round(config.others * len(asked))
        both = [order for question in asked[:count] for order in (question, question.turned)]
        rows += [_asked(prompts, place, question) for place, question in enumerate(both)]
    return rows


# -- single: one object is trained, the others are in the prompt ----------------------------------


def _single(config: FramesConfig) -> tuple[Task, ...]:
    names = config.objects or tuple(thing.name for thing in config.held_out)
    things = {thing.name: thing for thing in config.house.things}
    return tuple(_task_of(config, things[name]) for name in names)


def _task_of(config: FramesConfig, thing: Thing) -> Task:
    kinds = kinds_of(config.aids)
    context = notes(config.house, kinds, config.told, without=[thing.name], filler=config.filler)
    prompts = Prompts(config, context, thing.name)
    facts = [fact for fact in facts_of(config.house, ("co-visible",)) if fact.a == thing.name]
    near = _questions(config, disjoint=False, about=(thing,))
    rows = _told(config, prompts, facts)
    rows += [_asked(prompts, place, question) for place, question in enumerate(near)]
    probes: list[Example] = []
    for kind in config.kinds:
        asked = [q for q in _questions(config, disjoint=True, about=(thing,)) if q.kind == kind]
        random.Random(f"{config.seed}/{thing.name}/{kind}").shuffle(asked)
        both = [order for question in _few(asked, config) for order in (question, question.turned)]
        probes += _worded(prompts, both)
    return Task(
        name=f"frames/single/{thing.name}",
        member=thing.name,
        train=tuple(rows),
        stop=tuple(_stop(config, prompts, (thing,))),
        in_context=tuple(_recall(prompts, near)),
        probes=tuple(probes),
        positions=(OBJECT,),
    )


def _few(asked: Sequence[Question], config: FramesConfig) -> list[Question]:
    """Of each bin of the gap at most as many as are wanted."""
    bins: dict[str, list[Question]] = {}
    for question in asked:
        bins.setdefault(question.gap_bin, []).append(question)
    return [question for of_bin in bins.values() for question in of_bin[: config.questions]]


# -- control and ceiling -------------------------------------------------------------------------


def _shuffled(config: FramesConfig, task: Task) -> Task:
    """The same rows; what ties frames together is said of the wrong moments or objects.

    In mode "single", whose walk is in the prompt: the rows of the object with each other's answers.
    """
    if config.mode == "single":
        facets = dict.fromkeys(row.facet for row in task.train)
        mixed = [
            row
            for facet in facets
            for row in shuffled_answers(
                [row for row in task.train if row.facet == facet], config.seed
            )
        ]
        return control(task, "shuffled", mixed)
    facts = shuffled_links(facts_of(config.house, kinds_of(config.aids)), config.seed)
    told = {row.id: row for row in _told(config, Prompts(config), facts)}
    return control(task, "shuffled", [told.get(row.id, row) for row in task.train])


def shuffled_links(facts: Sequence[Fact], seed: int) -> list[Fact]:
    """The facts, where those of each kind that links frames have each other's offsets."""
    changed = list(facts)
    for kind in (AIDS[aid] for aid in LINKING):
        places = [place for place, fact in enumerate(facts) if fact.kind == kind]
        random.Random(f"{seed}/{kind}/shuffled").shuffle(places)
        for place, donor in zip(places, places[1:] + places[:1], strict=True):
            changed[place] = replace(facts[place], dx=facts[donor].dx, dy=facts[donor].dy)
    return changed


def _ceiling(config: FramesConfig, task: Task) -> list[Example]:
    """Every question with all notes in the prompt: the paper's own condition."""
    context = notes(config.house, kinds_of(config.aids), config.told, filler=config.filler)
    prompts = Prompts(config, context)
    asked = (("probe", task.probes), ("in-context", task.in_context))
    return [
        tagged(prompts.asked_here(example), stated=task.member, part=part)
        for part, examples in asked
        for example in examples
    ]


def _check_apart(
    name: str, config: FramesConfig, rows: Sequence[Example], others: Sequence[Example]
) -> None:
    """Refuse rows that name objects of two frames; `others` may, but no object that is asked."""
    moments = {thing.name: thing.moment for thing in config.house.things}
    held_out = {thing.name for thing in config.held_out}
    for row in (*rows, *others):
        text = prompt_text(row.prompt) + row.answer
        there = [thing for thing in moments if thing in text]
        across = len({moments[thing] for thing in there}) > 1
        if across and (row in rows or held_out & set(there)):
            raise InputError(f"task {name!r}: training row {row.id!r} names {', '.join(there)}")


FAMILY = Family(
    name="frames",
    about="a text twin of disjoint frames: objects of single frames, asked across frames",
    settings=FramesConfig,
    build=lambda config, _base: frames(config),
    members=Members(settings=lambda name: {"mode": "single", "objects": (name,)}),
    quick=lambda config: {
        "questions": 2,
        "objects": config.objects and config.objects[:FEWEST],
    },
    claims=CLAIMS,
)
