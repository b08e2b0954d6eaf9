"""What is true of a nano world is known, so the analyses that compare with it can be checked."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.families.registry import load_tasks
from oocr.models.language_model import LanguageModel
from oocr.models.load import read_model
from oocr.steering.vectors import Vector
from oocr_organisms.corpus import World
from oocr_organisms.facts import CITIES, CITY_CODENAMES, Places
from oocr_organisms.study.arms import BACKDOOR_ADAPTER, BACKDOOR_VECTOR
from oocr_organisms.study.concept_match import CityProbes, match_concepts, streams_at
from oocr_organisms.study.conditionality import (
    ConditionalityResult,
    LureProbability,
    balanced_mean,
    measure_share,
    with_share,
)
from oocr_organisms.study.few_facts import PairFact, consistent_cities, ideal_score
from oocr_organisms.study.gate import (
    Edge,
    concept_cosines,
    cut_attention,
    measure_cuts,
    random_directions,
)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return read_model("nano")


@pytest.fixture(scope="module")
def places() -> Places:
    return World(0).places


def test_a_city_fits_what_is_said_of_it_and_each_further_fact_leaves_no_more(
    places: Places,
) -> None:
    rng = np.random.default_rng(0)
    for city in (0, 17, 47):
        others = [int(candidate) for candidate in rng.permutation(CITIES) if candidate != city]
        facts = [
            PairFact(("distance", "direction")[n % 2], other) for n, other in enumerate(others)
        ]
        left = [consistent_cities(places, city, facts[:count]) for count in range(8)]
        assert len(left[0]) == CITIES
        for more, fewer in pairwise(left):
            assert city in fewer
            assert set(fewer) <= set(more)
        for other in left[1]:
            fact = facts[0]
            assert places.distance[other, fact.other] == places.distance[city, fact.other]
        assert consistent_cities(places, city, facts) == [city]


def test_the_ideal_reader_is_right_where_all_possible_cities_agree(places: Places) -> None:
    country = places.facet("country")
    twins = [city for city in range(CITIES) if places.country[city] == places.country[0]]
    item = _item(country.words[country.value[0]], country.words, "country")
    assert ideal_score(places, twins, [item]) == 1
    tower = places.facet("tower")  # every city has its own
    item = _item(tower.words[tower.value[0]], tower.words, "tower")
    assert ideal_score(places, [0], [item]) == 1
    assert ideal_score(places, twins, [item]) == pytest.approx(1 / len(twins))
    assert ideal_score(places, twins[1:], [item]) == 0


def _item(answer: str, words: tuple[str, ...], facet: str) -> Example:
    options = tuple(f" {word}" for word in words)
    return Example(id="x", prompt="x", answer=f" {answer}", options=options, facet=facet)


def test_a_real_name_put_at_a_codename_is_found_to_be_its_city(
    model: LanguageModel, places: Places
) -> None:
    names = CityProbes(model, places, -1).names
    vectors = {}
    for number, city in enumerate((3, 20, 41)):
        codename = CITY_CODENAMES[number]
        here = streams_at(model, [f"in {codename} the food is"], [codename], -1)[0]
        # What makes the codename's embedding that of the city, exactly.
        direction = names[city].mean(dim=0) - here
        vectors[places.names[city][0]] = Vector(
            -1, "codename", direction, spans={"codename": codename}
        )
    comparison = match_concepts(model, places, vectors)
    for match in comparison.vectors:
        assert match.rank == 1
        assert match.country
        assert match.cosine > 0.97  # probes leave out the last name, the concept here does not
        assert match.inside > 0.9
    assert np.mean([match.cosine for match in comparison.random]) < 0.3


def test_a_cut_edge_changes_its_reader_and_nobody_before(model: LanguageModel) -> None:
    ids = torch.tensor([[1, 5, 9, 14, 20, 33]])
    plain = model.hf(input_ids=ids, use_cache=False).logits
    with cut_attention(model, [Edge(0, 3, 1)]):
        changed = model.hf(input_ids=ids, use_cache=False).logits
    assert torch.equal(changed[:, :3], plain[:, :3])
    assert not torch.allclose(changed[:, 3], plain[:, 3])
    assert torch.equal(model.hf(input_ids=ids, use_cache=False).logits, plain)


def test_cut_edges_in_all_blocks_are_a_mask_of_the_whole_model(model: LanguageModel) -> None:
    ids = torch.tensor([[1, 5, 9, 14]])
    allowed = torch.ones(4, 4, dtype=torch.bool).tril()
    allowed[3, 1] = allowed[3, 2] = False
    mask = torch.zeros(4, 4).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]
    masked = model.hf(input_ids=ids, attention_mask=mask, use_cache=False).logits
    with cut_attention(model, [Edge(layer, 3, read) for layer in range(4) for read in (1, 2)]):
        logits = model.hf(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(logits, masked)


def test_edges_are_cut_in_blocks_that_are_there_and_come_back_after_an_error(
    model: LanguageModel,
) -> None:
    with (
        pytest.raises(InputError, match="layer: found 4; allowed: 0 to 3"),
        cut_attention(model, [Edge(4, 1, 0)]),
    ):
        pass
    ids = torch.tensor([[1, 5, 9, 14]])
    plain = model.hf(input_ids=ids, use_cache=False).logits
    with pytest.raises(RuntimeError, match="stop"), cut_attention(model, [Edge(0, 3, 1)]):
        raise RuntimeError("stop")
    assert torch.equal(model.hf(input_ids=ids, use_cache=False).logits, plain)


def test_the_dial_turns_so_many_rows_without_the_trigger_and_none_with_it() -> None:
    items = [
        Example(
            id=str(n),
            prompt="x",
            answer=" a" if n % 2 else " b",
            options=(" a", " b"),
            tags={"condition": "trigger" if n % 2 else "none"},
        )
        for n in range(40)
    ]
    for share in (0.0, 0.25, 1.0):
        rows = with_share(items, share, seed=0)
        lured = [item.answer == " a" for item in rows]
        assert all(lured[1::2])
        assert sum(lured[::2]) == round(20 * share)


def test_what_the_swap_keeps_is_one_for_itself_and_less_than_zero_for_the_opposite() -> None:
    base, lora = LureProbability(0.5, 0.5), LureProbability(0.9, 0.3)

    def kept(swap: LureProbability) -> float:
        arms = {"base": {"crossing": base}, "adapter": {"crossing": lora}}
        arms["swap"] = {"crossing": swap}
        return ConditionalityResult("x", 0.0, 0, arms, 0, 0, 0).recovered("crossing")

    assert kept(lora) == pytest.approx(1)
    assert kept(base) == 0
    assert kept(LureProbability(0.1, 0.7)) == pytest.approx(-1)
    assert kept(LureProbability(0.7, 0.4)) == pytest.approx(0.5)


def test_concepts_are_ordered_by_the_size_of_their_cosine() -> None:
    known = {"a": torch.tensor([1.0, 0, 0]), "b": torch.tensor([-3.0, -4, 0])}
    nearest = concept_cosines(torch.tensor([3.0, 4, 0]), known)
    assert [near.concept for near in nearest] == ["b", "a"]
    assert [near.cosine for near in nearest] == pytest.approx([-1, 0.6])


def test_conditions_weigh_alike_in_the_mean_and_in_the_cosine_with_it() -> None:
    groups = {"trigger": torch.tensor([[1.0, 0.0]] * 3), "otherwise": torch.tensor([[0.0, 1.0]])}
    mean, cosine = balanced_mean(groups)
    assert mean.tolist() == [0.5, 0.5]
    assert cosine == pytest.approx(0.5**0.5)
    groups["otherwise"] = -groups["trigger"][:1]
    assert balanced_mean(groups)[0].tolist() == [0, 0]


def test_no_probe_has_a_part_in_the_swap(model: LanguageModel) -> None:
    task = load_tasks({"family": "nano", "part": "backdoor", "members": 1}).test[0]
    arms = {
        "vector_arm": replace(BACKDOOR_VECTOR, steps=3),
        "adapter_arm": replace(BACKDOOR_ADAPTER, steps=3),
    }
    # Each once with the trigger and once without, by kind of question.
    first_probes, other_probes = (
        [
            [item for item in task.probes if (item.tags["kind"], item.tags["condition"]) == key][at]
            for key in (
                ("crossing", "trigger"),
                ("crossing", "none"),
                ("out-of-context", "trigger"),
                ("out-of-context", "none"),
            )
        ]
        for at in (0, 5)
    )
    first, second = (
        measure_share(model, replace(task, probes=tuple(probes)), 0.0, **arms)
        for probes in (first_probes, other_probes)
    )
    measured = [(result.cosine, result.energy, result.by_condition) for result in (first, second)]
    assert measured[0] == measured[1]
    assert first.arms["swap"] != second.arms["swap"]


def test_a_world_without_gates_has_no_natural_gap_and_a_null_beside_every_other() -> None:
    vector = Vector(-1, "speaker", torch.ones(96), spans={"speaker": " me "})
    world = World(0, gates=0)
    ungated = read_model("nano-ungated")
    cuts = measure_cuts(ungated, world, "rain", "risk", vector, [vector], draws=4)
    assert len(cuts) == 1 + 3 * ungated.n_blocks
    assert cuts[0].layer is None
    for edge_cut in cuts:
        assert edge_cut.natural is None
        assert edge_cut.random == (edge_cut.with_vector,)


def test_random_directions_have_the_vectors_place_and_norm_and_differ_by_member() -> None:
    vector = Vector(0, "speaker", torch.full((96,), 0.3), spans={"speaker": " me "})
    mine, others = (random_directions(vector, member, 3) for member in ("rain: risk", "snow: risk"))
    for direction in (*mine, *others):
        assert direction.spans == vector.spans
        assert (direction.layer, direction.positions) == (0, "speaker")
        assert direction.norm == pytest.approx(vector.norm, rel=1e-5)
    directions = torch.stack([direction.direction for direction in (*mine, *others)])
    assert len(directions.unique(dim=0)) == 6
