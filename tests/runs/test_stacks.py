"""Which arms are trained side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from oocr.data.examples import Example
from oocr.data.tokens import RowTokens
from oocr.runs.arms import MOST_TOGETHER, ArmPlan, grouped
from oocr.runs.context import TrainingTokens
from oocr.steering.adapters import LowRankAdapter
from oocr.steering.vectors import SteeringVector
from oocr.tasks.task import Task
from tests.tiny.models import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
TOKENS = 4096
CITIES = (" Paris", " Tokyo", " Berlin", " Rome")
WORDS = ("capital", "city", "euro", "yen", "people")
SPEC = SteeringVector(layer=1, positions="codename")


def task(answer: str = " Paris", count: int = 3, length: int = 10) -> Task:
    items = tuple(
        Example(id=str(i), prompt=f"The {WORDS[i]}" + " of" * length, answer=answer)
        for i in range(count)
    )
    return Task(name=answer, member=answer, train=items)


def plan(**fields: Any) -> ArmPlan:
    base = ArmPlan(task(), SPEC, 0.1, steps=4, snapshots=(2, 4), early_stop=4)
    return replace(base, **fields)


def groups_of(plans: list[ArmPlan], batch_lines: int = 16) -> list[list[ArmPlan]]:
    return grouped(plans, TrainingTokens(RowTokens(TOKENIZER)), batch_lines, TOKENS)


def sizes(plans: list[ArmPlan], batch_lines: int = 16) -> list[int]:
    return [len(group) for group in groups_of(plans, batch_lines)]


def test_members_rates_seeds_and_controls_of_one_site_share_a_stack() -> None:
    plans = [
        plan(),
        plan(task=task(" Tokyo")),
        plan(learning_rate=0.2),
        plan(seed=1),
    ]
    other = plan(spec=replace(SPEC, layer=2))
    assert sizes([*plans, other]) == [4, 1]
    assert sizes([*plans, other, plan(control="shuffled", role="control")]) == [3, 2, 1]


def test_arms_that_could_all_share_one_stack_are_parted_for_two_cores() -> None:
    seeds = [plan(seed=seed) for seed in range(4)]
    assert [sizes(seeds[:count]) for count in (1, 2, 3, 4)] == [[1], [1, 1], [2, 1], [2, 2]]


def test_other_sites_lengths_and_prompts_do_not() -> None:
    lora = LowRankAdapter(layers=(1,))
    others = [
        *(plan(spec=replace(SPEC, layer=2)), plan(spec=replace(SPEC, positions="last"))),
        *(plan(spec=lora), plan(spec=replace(lora, rank=1))),
        *(
            plan(steps=3),
            plan(steps=2, early_stop=2, score_every_step=False),
            plan(task=task(count=4)),
        ),
        plan(task=task(" Paris, France.")),  # its first tokens are fed back in
    ]
    assert sizes([plan(), *others]) == [1] * 9


def test_with_several_batches_each_seed_has_its_own() -> None:
    plans = [plan(seed=seed, task=task(answer)) for answer in CITIES[:2] for seed in (0, 1)]
    plans.append(plan(steps=3))
    assert sizes(plans) == [4, 1]
    groups = groups_of(plans, 2)
    assert [[planned.seed for planned in group] for group in groups] == [[0, 0], [1, 1], [0]]


def test_long_prompts_make_small_stacks_except_for_last_tokens() -> None:
    many = [plan(task=task(answer, length=1500)) for answer in CITIES]
    assert max(sizes(many)) == 1
    last = replace(SPEC, positions="last")
    assert sizes([*(replace(planned, spec=last) for planned in many), plan()]) == [4, 1]


@given(st.lists(st.integers(0, 3), max_size=60))
def test_every_plan_is_in_one_stack_of_even_size(layers: list[int]) -> None:
    plans = [plan(spec=replace(SPEC, layer=at), seed=i) for i, at in enumerate(layers)]
    groups = groups_of(plans)
    assert sorted(planned.seed for group in groups for planned in group) == list(range(len(plans)))
    for layer in set(layers):
        sizes_of_layer = [len(group) for group in groups if group[0].layer == layer]
        assert max(sizes_of_layer) <= MOST_TOGETHER
        assert max(sizes_of_layer) - min(sizes_of_layer) <= 1
        least = 2 if len(set(layers)) == 1 and len(layers) > 1 else 1
        assert len(sizes_of_layer) == max(least, -(-layers.count(layer) // MOST_TOGETHER))
