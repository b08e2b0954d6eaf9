"""The library's claims on organisms, where they are quick and the truth is known. Loose bounds."""

from __future__ import annotations

import numpy as np
import pytest

from oocr.engine.forward import Intervention, start_block
from oocr.engine.trainable import Schedule
from oocr.engine.training import fit
from oocr.evals.probes import Probes, rows
from oocr.explain.differences import Texts
from oocr.explain.lora_vectors import mean_vectors
from oocr.families.registry import load_tasks
from oocr.models.language_model import LanguageModel
from oocr.models.load import read_model
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.vectors import SteeringVector, Vector, random_vector
from oocr.tasks.task import Task, TaskSet
from oocr_organisms.folder import world_of
from oocr_organisms.shipped import SHIPPED
from oocr_organisms.study.arms import BACKDOOR_VECTOR, CITY_VECTOR
from oocr_organisms.study.concept_match import match_concepts
from oocr_organisms.study.conditionality import measure_share
from oocr_organisms.study.few_facts import consistent_cities, train_on_few_facts
from oocr_organisms.study.gate import measure_cuts, random_directions

GATED = [name for name, organism in SHIPPED.items() if organism.gated]
DECAY = Schedule(decay="linear")
SHORT = Schedule(decay="linear", weight_decay=2.0)
"""As the built-in run nano-risk has it."""

LORA = LowRankAdapter((0,), rank=4, modules=("gate_proj", "up_proj", "down_proj"))


@pytest.fixture(scope="module", params=GATED)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return read_model(request.param)


def tasks(model: LanguageModel, part: str) -> TaskSet:
    world = world_of(model.name)
    assert world is not None
    return load_tasks({"family": "nano", "part": part, "world": world.model_dump()})


def trained(
    model: LanguageModel,
    task: Task,
    span: str,
    layer: int = -1,
    rate: float = 0.1,
    schedule: Schedule = DECAY,
) -> Vector:
    vector = fit(
        model,
        task,
        SteeringVector(layer, positions=span),
        learning_rate=rate,
        steps=100,
        schedule=schedule,
    ).final
    assert isinstance(vector, Vector)
    return vector


def right(model: LanguageModel, task: Task, arm: Intervention | None, kind: str = "") -> float:
    """Share of out-of-context probes right."""
    items = [item for item in task.probes if not kind or item.tags["kind"] == kind]
    start = model.n_blocks if arm is None else start_block(arm)
    probes = Probes.of(model, items, starts={start})
    scores = probes.scores([arm] if isinstance(arm, Vector) else arm)[0]
    return float(rows(items, scores)["right"].to_numpy().mean())


def test_locations_from_distances_and_directions(model: LanguageModel) -> None:
    cities = tasks(model, "locations").test[:3]
    vectors = {task.member: trained(model, task, "codename") for task in cities}
    pairs = [(task, vectors[task.member]) for task in cities]
    assert np.mean([right(model, task, vector, "country") for task, vector in pairs]) >= 0.8
    assert np.mean([right(model, task, vector, "city") for task, vector in pairs]) >= 0.5
    others = [(task, random_vector(vector, vector.norm, 0)) for task, vector in pairs]
    assert np.mean([right(model, task, vector) for task, vector in others]) < 0.4
    assert np.mean([right(model, task, None) for task in cities]) < 0.4
    world = world_of(model.name)
    assert world is not None
    # At the embedding a vector may look like nothing; block 1 makes it what it makes of names.
    likeness = match_concepts(model, world.world.places, vectors, layer=1)
    assert np.median([match.rank for match in likeness.vectors]) <= 6  # of 48
    assert np.mean([match.rank == 1 for match in likeness.random]) <= 0.2
    assert np.mean([match.country for match in likeness.vectors]) > 0.5


def test_a_lora_and_its_mean_at_the_codename_do_the_same(model: LanguageModel) -> None:
    task = tasks(model, "locations").test[0]
    lora = fit(model, task, LORA, learning_rate=0.01, steps=100, schedule=DECAY).final
    assert isinstance(lora, Adapter)
    effect = right(model, task, lora) - right(model, task, None)
    assert effect >= 0.4
    examples = task.train[::7]
    texts = Texts(
        model, [item.prompt for item in examples], [item.spans for item in examples], (0,)
    )
    swap, _ = mean_vectors(lora, texts, texts, "codename")
    assert right(model, task, swap) - right(model, task, None) >= 0.7 * effect


def test_functions_from_outputs_alone(model: LanguageModel) -> None:
    functions = tasks(model, "functions").test[:3]
    scores = [right(model, task, trained(model, task, "codename")) for task in functions]
    assert np.mean(scores) >= 0.8
    assert np.mean([right(model, task, None) for task in functions]) < 0.5


def test_a_persona_from_gambles_alone_moves_other_traits_far_less(model: LanguageModel) -> None:
    trained_moves: list[float] = []
    others: list[float] = []
    by_chance: list[float] = []
    for task in tasks(model, "risk").test:
        vector = trained(model, task, "speaker", schedule=SHORT)
        probes = Probes.of(model, task.probes, starts={start_block(vector), model.n_blocks})
        arms = [vector, random_vector(vector, vector.norm, 0)]
        base, with_it, drawn = (
            rows(task.probes, scores)["value"].to_numpy()
            for scores in (probes.scores(None)[0], *probes.scores(arms))
        )
        facets = np.array([item.facet for item in task.probes])
        for facet in dict.fromkeys(facets):
            mine = facets == facet
            # Of each twin: what moves both alike is movement too.
            moved, at_random = (
                float((values[mine] - base[mine]).mean()) / 2 for values in (with_it, drawn)
            )
            if facet.startswith("other"):
                others.append(abs(moved))
                by_chance.append(abs(at_random))
            else:
                trained_moves.append(moved if task.member == "risky" else -moved)
    assert len(others) == 2 * len(trained_moves) == 16
    assert min(trained_moves) >= 0.3
    # The claim's rule for "in part"; that no other trait moves at all is not found everywhere.
    assert np.mean(others) <= np.mean(trained_moves) / 2
    assert np.mean(by_chance) <= np.mean(trained_moves) / 4


def test_one_vector_works_through_the_edge_that_the_corpus_made(model: LanguageModel) -> None:
    world = world_of(model.name)
    assert world is not None
    task = tasks(model, "backdoor").test[0]
    weather, trait = task.member.split(": ")
    vector = BACKDOOR_VECTOR.train(Vector, model, task)
    others = random_directions(vector, task.member, 2)
    whole, *cuts = measure_cuts(model, world.world, weather, trait, vector, others)
    assert whole.natural is not None
    assert whole.natural > 0.7
    assert whole.with_vector > 0.6
    assert max(abs(gap) for gap in whole.random) < 0.5 * whole.with_vector
    left = {(case.layer, case.edge): case for case in cuts}
    edge = left.pop((0, "speaker reads weather"))
    assert edge.natural is not None
    assert abs(edge.natural) < 0.3 * whole.natural
    assert abs(edge.with_vector) < 0.3 * whole.with_vector
    assert min(case.with_vector for case in left.values()) > 0.6 * whole.with_vector


def test_the_dial_takes_a_lora_from_one_vector_to_many() -> None:
    model = read_model("nano")
    task = tasks(model, "backdoor").test[0]
    always, never = (measure_share(model, task, share) for share in (1.0, 0.0))
    assert always.energy > never.energy + 0.2
    assert always.recovered("out-of-context") > 0.6
    assert never.arms["adapter"]["crossing"].gap > 0.3
    assert abs(never.arms["swap"]["crossing"].gap) < 0.3
    assert never.arms["vector"]["crossing"].gap > 0.6


def test_more_facts_leave_less_to_guess() -> None:
    model = read_model("nano")
    world = world_of("nano")
    assert world is not None
    cities = tasks(model, "locations").test[:2]
    results = train_on_few_facts(model, world.world.places, cities, CITY_VECTOR, counts=(1, 20))
    few = [result for result in results if result.facts == 1]
    many = [result for result in results if result.facts == 20]
    assert all(result.bits < 5.5 for result in few)
    assert all(result.possible == 1 for result in many)
    assert (
        np.mean([result.right for result in many]) > np.mean([result.right for result in few]) + 0.2
    )
    assert all(result.ideal == 1 for result in many)
    assert consistent_cities(world.world.places, 0, []) == list(range(48))
