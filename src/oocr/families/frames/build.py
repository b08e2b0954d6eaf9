"""The frames family: facts of single frames are trained, questions across frames are probes.

A text version of disjoint frames (Ravi et al., arXiv 2505.24257).
"""

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
from oocr.families.frames.world import PlacedObject, rank_correlation
from oocr.intervals import FEWEST
from oocr.tasks.control_data import chosen_by_loss, control, shuffled_answers, tagged
from oocr.tasks.package_files import data_card
from oocr.tasks.task import Task, TaskSet


def frames(config: FramesConfig | None = None) -> TaskSet:
    """All tasks; InputError: a training row links frames that it must not link."""
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
    rows = _fact_rows(config, prompts, facts_of(config.house, kinds_of(config.aids)))
    if config.told == "walker":
        rows.append(_fact_row(prompts, first_heading(config.house)))
    covisible = _questions(config, disjoint=False)
    rows += [_question_row(prompts, number, question) for number, question in enumerate(covisible)]
    across = _other_rows(config, prompts) if config.others else []
    random.Random(f"{config.seed}/rows").shuffle(rows)
    objects = config.house.objects
    nodes = [*(obj.name for obj in objects), *(view.name for view in config.house.viewpoints)]
    task = Task(
        name="frames/joint",
        member=f"{len(objects)} objects",
        train=(*rows, *across),
        stop=tuple(_early_stop_rows(config, prompts, objects)),
        in_context=tuple(_recall(prompts, covisible)),
        probes=tuple(_probes(config, prompts)),
        positions=("+".join(map(code, nodes)),),
    )
    _check_apart(task.name, config, rows, across)
    return (task,)


def _fact_rows(config: FramesConfig, prompts: Prompts, facts: Sequence[Fact]) -> list[Example]:
    """Training rows: each fact in `config.wordings` wordings, steps in all but the held-out one."""
    times: dict[FactKind, int] = {fact.kind: config.wordings for fact in facts}
    times["step"] = held_out_wording("step")
    drawn = sentences(facts, config.house, times, config.told, f"{config.seed}/told")
    return [_fact_row(prompts, sentence) for sentence in drawn]


def _fact_row(prompts: Prompts, sentence: Sentence) -> Example:
    fact = sentence.fact
    about = "walker" if fact is None else f"{fact.a}/{fact.b}"
    return prompts.fact_example(
        sentence, f"{sentence.template}/{about}", "" if fact is None else str(fact.moment)
    )


def _questions(
    config: FramesConfig, *, disjoint: bool, about: Sequence[PlacedObject] | None = None
) -> list[Question]:
    """The questions of all kinds; of each pair only one order."""
    ego = config.told == "walker"
    return [
        question
        for kind in config.kinds
        for question in questions(config.house, kind, disjoint=disjoint, about=about, ego=ego)
    ]


def _question_row(prompts: Prompts, number: int, question: Question) -> Example:
    """A training row without options; wording and order of the poles alternate with `number`."""
    example = prompts.question_example(question, number, number // 2 % 2)
    return replace(example, id=f"asked/{example.id}", facet=f"asked {question.kind}", options=())


def _recall(prompts: Prompts, covisible: Sequence[Question]) -> list[Example]:
    """Co-visible questions in the order that was not trained."""
    return [
        prompts.question_example(question.reversed, number + 1, (number // 2 + 1) % 2)
        for number, question in enumerate(covisible)
    ]


def _early_stop_rows(
    config: FramesConfig, prompts: Prompts, about: Sequence[PlacedObject]
) -> Iterable[Example]:
    """Co-visible facts in the held-out wording; their loss stops training early."""
    names = {obj.name for obj in about}
    for fact in facts_of(config.house, ("co-visible",)):
        if fact.a in names:
            yield _fact_row(
                prompts, sentence(fact, config.house, held_out_wording(fact.kind), config.told)
            )


def _probes(config: FramesConfig, prompts: Prompts) -> list[Example]:
    """Questions across frames: both orders of each pair, gap and distance crossed."""
    probes: list[Example] = []
    for kind in config.kinds:
        across = _questions(config, disjoint=True, about=config.asked_about)
        of_kind = [question for question in across if question.kind == kind]
        rng = random.Random(f"{config.seed}/{kind}/probes")
        selected = crossed(of_kind, rng, config.questions)
        if not selected:
            raise InputError(
                f"kinds: no {kind!r} questions of each gap are equally far apart in a house of "
                f"{config.frames} frames with {config.each} objects; allowed: more of either, or "
                "another world"
            )
        probes += _choice_examples(prompts, selected)
    return probes


def _choice_examples(prompts: Prompts, selected: Sequence[Question]) -> list[Example]:
    """Questions with options; both orders of a pair have the same wording."""
    return [
        prompts.question_example(question, number // 2, number // 4 % 2)
        for number, question in enumerate(selected)
    ]


def _other_rows(config: FramesConfig, prompts: Prompts) -> list[Example]:
    """The trained share of the questions across frames; none is about a held-out object."""
    held_out = {obj.name for obj in config.held_out}
    rows: list[Example] = []
    for kind in config.kinds:
        candidates = [
            question
            for question in _questions(config, disjoint=True)
            if question.kind == kind and not {obj.name for obj in question.objects} & held_out
        ]
        random.Random(f"{config.seed}/{kind}/others").shuffle(candidates)
        count = round(config.others * len(candidates))
        both = [order for question in candidates[:count] for order in (question, question.reversed)]
        rows += [_question_row(prompts, number, question) for number, question in enumerate(both)]
    return rows


# -- single: one object is trained, the others are in the prompt ----------------------------------


def _single(config: FramesConfig) -> tuple[Task, ...]:
    names = config.objects or tuple(obj.name for obj in config.held_out)
    objects = {obj.name: obj for obj in config.house.objects}
    return tuple(_object_task(config, objects[name]) for name in names)


def _object_task(config: FramesConfig, obj: PlacedObject) -> Task:
    kinds = kinds_of(config.aids)
    context = notes(config.house, kinds, config.told, without=[obj.name], filler=config.filler)
    prompts = Prompts(config, context, obj.name)
    facts = [fact for fact in facts_of(config.house, ("co-visible",)) if fact.a == obj.name]
    covisible_questions = _questions(config, disjoint=False, about=(obj,))
    rows = _fact_rows(config, prompts, facts)
    rows += [
        _question_row(prompts, number, question)
        for number, question in enumerate(covisible_questions)
    ]
    probes: list[Example] = []
    for kind in config.kinds:
        candidates = [q for q in _questions(config, disjoint=True, about=(obj,)) if q.kind == kind]
        random.Random(f"{config.seed}/{obj.name}/{kind}").shuffle(candidates)
        selected = _limited(candidates, config)
        both = [order for question in selected for order in (question, question.reversed)]
        probes += _choice_examples(prompts, both)
    return Task(
        name=f"frames/single/{obj.name}",
        member=obj.name,
        train=tuple(rows),
        stop=tuple(_early_stop_rows(config, prompts, (obj,))),
        in_context=tuple(_recall(prompts, covisible_questions)),
        probes=tuple(probes),
        positions=(OBJECT,),
    )


def _limited(candidates: Sequence[Question], config: FramesConfig) -> list[Question]:
    """At most `config.questions` questions of each bin of the gap."""
    bins: dict[str, list[Question]] = {}
    for question in candidates:
        bins.setdefault(question.gap_bin, []).append(question)
    return [question for of_bin in bins.values() for question in of_bin[: config.questions]]


# -- control and ceiling -------------------------------------------------------------------------


def _shuffled(config: FramesConfig, task: Task) -> Task:
    """The same rows; facts that link frames are exchanged between moments or objects.

    In mode "single", where the walk is in the prompt, the object's rows exchange their answers.
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
    changed = {row.id: row for row in _fact_rows(config, Prompts(config), facts)}
    return control(task, "shuffled", [changed.get(row.id, row) for row in task.train])


def shuffled_links(facts: Sequence[Fact], seed: int) -> list[Fact]:
    """The facts; within each kind that links frames the offsets are permuted."""
    changed = list(facts)
    for kind in (AIDS[aid] for aid in LINKING):
        indices = [index for index, fact in enumerate(facts) if fact.kind == kind]
        random.Random(f"{seed}/{kind}/shuffled").shuffle(indices)
        for index, donor in zip(indices, indices[1:] + indices[:1], strict=True):
            changed[index] = replace(facts[index], dx=facts[donor].dx, dy=facts[donor].dy)
    return changed


def _ceiling(config: FramesConfig, task: Task) -> list[Example]:
    """Each question with all notes in the prompt, which is the paper's own condition."""
    context = notes(config.house, kinds_of(config.aids), config.told, filler=config.filler)
    prompts = Prompts(config, context)
    parts = (("probe", task.probes), ("in-context", task.in_context))
    return [
        tagged(prompts.in_this_context(example), stated=task.member, part=part)
        for part, examples in parts
        for example in examples
    ]


def _check_apart(
    name: str, config: FramesConfig, rows: Sequence[Example], others: Sequence[Example]
) -> None:
    """Refuse rows that name objects of two frames; `others` may, unless one is held out."""
    moments = {obj.name: obj.moment for obj in config.house.objects}
    held_out = {obj.name for obj in config.held_out}
    for row in (*rows, *others):
        text = prompt_text(row.prompt) + row.answer
        named = [obj for obj in moments if obj in text]
        across = len({moments[obj] for obj in named}) > 1
        if across and (row in rows or held_out & set(named)):
            raise InputError(f"task {name!r}: training row {row.id!r} names {', '.join(named)}")


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
