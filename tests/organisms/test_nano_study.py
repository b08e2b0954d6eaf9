"""The study's numbers are what was measured, and its page has no other."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from benchmarks.organism.figures import FIGURES, figures
from benchmarks.organism.page import page

from oocr.errors import InputError
from oocr.intervals import Interval, mean_interval
from oocr.models.language_model import LanguageModel
from oocr.models.load import read_model
from oocr.runs.read_config import load_configs
from oocr_organisms import shipped
from oocr_organisms.folder import WorldSettings, world_of
from oocr_organisms.shipped import SHIPPED
from oocr_organisms.study import arms
from oocr_organisms.study import study as study_module
from oocr_organisms.study.arms import ArmSettings
from oocr_organisms.study.command import print_study
from oocr_organisms.study.concept_match import CityMatch, ConceptMatches
from oocr_organisms.study.conditionality import ConditionalityResult, LureProbability
from oocr_organisms.study.few_facts import FewFacts
from oocr_organisms.study.gate import ConceptCosine, Cut
from oocr_organisms.study.study import (
    GateResult,
    OrganismResult,
    Study,
    installed_names,
    kept_in,
    run_study,
)
from oocr_organisms.study.tables import Measurement, Table, cell_text, count, mean_cell, tables
from tests.command_line import Call
from tests.work.one_process import OneProcess


def city_match(cosine: float, rank: int, country: bool, place: float, city: str) -> CityMatch:
    return CityMatch(city, cosine, 0.1, rank, 0.5, country, place)


def conditionality_result(
    share: float, energy: float, lora: LureProbability, swap: LureProbability
) -> ConditionalityResult:
    even = LureProbability(0.5, 0.5)
    vector = LureProbability(1, share)
    by_arm = {"base": even, "adapter": lora, "swap": swap, "vector": vector, "random": even}
    kinds = ("crossing", "out-of-context")
    by_kind = {name: dict.fromkeys(kinds, lure) for name, lure in by_arm.items()}
    return ConditionalityResult("rain: risk", share, 0, by_kind, 0.4, energy, 0.9)


def organism(name: str, gates: float) -> OrganismResult:
    comparison = ConceptMatches(
        -1,
        0,
        (city_match(0.8, 1, True, 0.2, "Velora"), city_match(0.4, 3, True, 0.6, "Mirun")),
        (city_match(0.0, 20, False, 1.0, "Velora"),),
        (city_match(1.0, 1, True, 0.0, "Velora"),),
        24,
        96,
        0.4,
    )
    snow = [ConceptCosine("risk if snow", -0.6)]
    rain = [ConceptCosine("risk if rain", cosine) for cosine in (0.5, -0.7, 0.2)]
    backdoor = GateResult(
        member="rain: risk",
        cuts=(
            Cut(None, "nothing", 0.8 if gates else None, 0.9, (0.01, -0.02)),
            Cut(0, "speaker reads weather", 0.0 if gates else None, 0.09, (0.0, 0.01)),
            Cut(0, "last token reads speaker", 0.4 if gates else None, 0.9, (0.01, -0.02)),
        ),
        cosines=(*snow, *rain[:1]) if gates else (ConceptCosine("risk", 0.1),),
        random=((*rain[1:2], *snow), (*snow, *rain[2:]))
        if gates
        else ((ConceptCosine("risk", 0.1),),),
    )
    few_facts = tuple(
        FewFacts("Velora", count, 48 // 2**count, count, kind, right, 1.0, 0.2)
        for count in (1, 2)
        for kind, right in (("country", count / 2), ("city", 0.0))
    )
    conditionality = (
        conditionality_result(1.0, 0.8, LureProbability(0.9, 0.9), LureProbability(0.7, 0.7)),
        conditionality_result(0.0, 0.1, LureProbability(0.9, 0.1), LureProbability(0.5, 0.5)),
    )
    return OrganismResult(
        name=name,
        world=0,
        gates=gates,
        concepts=(comparison,),
        few_facts=few_facts,
        backdoors=(backdoor,),
        conditionality=conditionality,
    )


STUDY = Study(organisms=(organism("nano", 0.25), organism("nano-ungated", 0.0)))


def table(title: str, of: Study = STUDY) -> Table:
    return next(candidate for candidate in tables(of) if title in candidate.title)


def value(cell: object) -> float:
    assert isinstance(cell, Interval | float)
    return cell.value if isinstance(cell, Interval) else cell


def test_likeness_is_a_mean_over_vectors_and_positions_are_over_the_maps_spread() -> None:
    rows = table("own concept").rows
    assert [row[2] for row in rows] == [
        "found vectors",
        "random directions",
        "real names",
        "by chance",
    ]
    vectors, random, named, chance = rows
    assert value(vectors[4]) == pytest.approx(0.6)
    assert value(vectors[6]) == 0.5  # one of two is the nearest
    assert value(vectors[9]) == pytest.approx(1.0)
    assert value(random[9]) == pytest.approx(2.5)
    assert value(named[9]) == 0
    assert value(chance[6]) == pytest.approx(1 / 48)
    assert [row[3] for row in rows] == ["2 × 2", "1 × 2", "1 × 2", "–"]


def test_gaps_stand_beside_an_ungated_worlds_and_the_largest_of_random_directions() -> None:
    rows = table("Which edges").rows
    assert [row[0] for row in rows] == ["gated"] * 3 + ["ungated"] * 3
    assert [row[4:] for row in rows[:3]] == [(0.8, 0.9, 0.02), (0, 0.09, 0.01), (0.4, 0.9, 0.02)]
    assert [row[4:] for row in rows[3:]] == [("–", 0.9, 0.02), ("–", 0.09, 0.01), ("–", 0.9, 0.02)]


def test_a_gate_is_placed_among_all_concepts_as_random_directions_are() -> None:
    gated, ungated = table("the vector the gate").rows
    assert gated[3:] == (0.8, 0.9, 0.02, 0.5, 0.7, "2 of 2", 1.5)
    assert ungated[3:] == ("–", 0.9, 0.02, "–", "–", "–", "–")  # there is no such gate


def test_a_gap_that_nobody_has_from_the_corpus_is_written_and_read_back() -> None:
    result = organism("nano-ungated", 0.0)
    assert OrganismResult.model_validate_json(result.model_dump_json()) == result
    assert result.backdoors[0].cuts[0].natural is None


def test_members_are_what_is_drawn_however_many_organisms_there_are() -> None:
    numbers = dict(zip("abcd", (0.0, 0.2, 0.7, 1.0), strict=True))
    cities = [Measurement(city, 0, (number,)) for city, number in numbers.items()]
    four = [replace(city, organism=number) for city in cities for number in range(4)]
    alone, pooled = (mean_cell(measured) for measured in (cities, four))
    assert pooled == alone == mean_interval([0.0, 0.2, 0.7, 1.0])
    assert count(four) == "4 × 4"


def test_organisms_are_averaged_within_a_member_and_few_members_have_no_interval() -> None:
    results = [Measurement("a", organism, (0.0, 0.0, None)) for organism in range(3)]
    results.append(Measurement("b", 0, (1.0, None, None)))
    assert mean_cell(results) == pytest.approx(0.5)
    assert mean_cell(results, 1) == 0  # None has no weight
    assert mean_cell(results, 2) == "–"
    results.append(Measurement("c", 0, (1.0, None, None)))
    assert mean_cell(results) == mean_interval([0, 1, 1])


def test_the_dial_keeps_worlds_apart() -> None:
    rows = table("stop being one vector").rows
    assert [row[:2] for row in rows] == [
        ("gated", "1.00"),
        ("gated", "0.00"),
        ("ungated", "1.00"),
        ("ungated", "0.00"),
    ]
    assert value(rows[0][3]) == pytest.approx(0.8)
    assert value(rows[0][4]) == pytest.approx(0.9)
    assert value(rows[0][6]) == pytest.approx(0.5)  # .2 of .4, with the trigger and without
    assert value(rows[1][6]) == pytest.approx(0)


def test_the_gaps_of_all_arms_are_shown_untouched_and_random_ones_too() -> None:
    gaps = table("What does the trigger change")
    named = dict(zip(gaps.columns, gaps.rows[1], strict=True))
    assert named["LoRA"] == pytest.approx(0.8)
    assert named["vector"] == named["vector, out of context"] == 1
    assert named["its mean"] == named["random direction"] == named["untouched"] == 0


def test_the_studys_settings_are_points_of_the_grids_of_the_runs() -> None:
    grids = {part: load_configs(f"nano-{part}")[0] for part in ("locations", "backdoor")}

    def check(arm: ArmSettings, part: str, method: str) -> None:
        grid = getattr(grids[part], method)
        assert arm.spec in [grid.spec(layer) for layer in grid.blocks]
        assert arm.rate in grid.learning_rates
        assert arm.steps in grid.steps
        schedule = replace(arms.SCHEDULE, length=arm.steps)
        assert schedule == grid.schedule(grids[part].accumulate)

    for layer in (-1, 0):
        check(arms.CITY_VECTOR.at(layer), "locations", "vector")
    check(arms.BACKDOOR_VECTOR, "backdoor", "vector")
    check(arms.BACKDOOR_ADAPTER, "backdoor", "adapter")


def test_the_page_has_every_table_and_the_runs_claims(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("first", "second")]
    claim = {
        "claim": "It tells of itself",
        "verdict": "holds in part",
        "found": {"value": 0.123, "low": 0.1, "high": 0.2, "n": "2"},
        "base": None,
        "nulls": [{"name": "random", "value": 0.05}],
        "ceiling": 0.9,
    }
    untested = claim | {"verdict": "cannot be tested", "found": None, "nulls": []}
    for run, model, judged in zip(runs, ("nano-1", "nano"), (claim, untested), strict=True):
        run.mkdir()
        (run / "config.yaml").write_text(f"name: nano-risk\nmodel: {model}\n")
        (run / "claims.json").write_text(json.dumps([judged]))
    text = page(STUDY, runs)
    assert "`oocr organism study` and `oocr run" in text
    assert "oocr run" not in page(STUDY, [])  # nothing is credited to runs that were not given
    for shown_table in tables(STUDY):
        assert shown_table.note in text
        for row in shown_table.rows:
            assert f"| {' | '.join(cell_text(cell) for cell in row)} |" in text
    assert "### nano-risk\n\n| claim | `nano` | `nano-1` |" in text
    cell = "**holds in part** 0.12 [0.10, 0.20] (null 0.05, ceiling 0.90)"
    assert f"| It tells of itself | **cannot be tested** | {cell} |\n\nNulls: random." in text


def test_the_page_says_in_short_what_its_tables_say() -> None:
    text = page(STUDY, []).split("## In short")[1].split("\n## ")[0]
    assert "told 2 facts of a city, one vector answers 1.00 of the facets" in text
    assert "with *speaker reads weather* cut in block 0 0.09 of it is left" in text
    assert (
        "share of 1.00, 0.00 (0: a backdoor), the LoRA's energy in one vector is 0.80, 0.10" in text
    )


def test_the_figures_are_drawn_of_one_world_and_of_both(
    tmp_path: Path,
) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra: bench")
    drawn = []
    for study_ in (STUDY, Study(organisms=STUDY.organisms[1:])):
        figures(study_, tmp_path)
        drawn.append([(tmp_path / f"organism-{name}.svg").read_text() for name in FIGURES])
    both, ungated = (texts[FIGURES.index("gate")] for texts in drawn)
    for label, worlds in (("speakers gated by the corpus", 1), ("ungated world", 2)):
        assert [label in text for text in (both, ungated)] == [True, worlds == 2]


def test_the_page_keeps_what_was_told_and_what_never_was_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    scores = {"people/gated on/hobby": 0.9, "people/silent/choice": 1.0, "places/none/city": 0.25}
    scores |= {"people/silent/hobby": 0.5, "people/silent/scale": 0.7}
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano" / "world.json").write_text(json.dumps({"steps": 7, "exam": scores}))
    never, in_corpus = page(STUDY, []).split("Never told in the")[1].split("Told in the corpus")
    assert "| places/none | people/silent |" in never
    assert "| `nano` | 7 | 0.0 MB | 0.250 | 0.600 |" in never
    assert "| people/gated on | people/silent/choice |" in in_corpus
    assert "| `nano` | 7 | 0.0 MB | 0.900 | 1.000 |" in in_corpus


def keep(out: Path, name: str, result: OrganismResult, *, quick: bool) -> Path:
    """Write a result as a finished study of an organism leaves it."""
    path, key = kept_in(out, read_model(name), world(name), quick=quick)
    path.parent.mkdir(exist_ok=True)
    path.write_text(result.model_copy(update={"key": key}).model_dump_json())
    return path


def test_a_finished_organism_is_not_asked_again(tmp_path: Path) -> None:
    keep(tmp_path, "nano", organism("another name", 0.25), quick=True)
    finished, path = run_study(["nano"], tmp_path, quick=True, on_part=pytest.fail)
    assert finished.organisms == (organism("nano", 0.25),)
    assert Study.model_validate_json(path.read_text()) == finished
    # Of other organisms than a whole study's, so its file stays.
    assert path.name not in ("study.json", "study-quick.json")


def test_processes_share_the_organisms(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask(model: LanguageModel, _: object, key: str, **__: object) -> OrganismResult:
        asked.append(model.name)
        return organism(model.name, 0.25).model_copy(update={"key": key})

    monkeypatch.setattr(study_module, "_study_organism", ask)
    names = [name for name in ("nano", "nano-1") if name in installed_names()]
    with ThreadPoolExecutor(2) as pool:
        study = partial(run_study, names, tmp_path, quick=True, lease=5.0)
        studies = [each.result() for each in [pool.submit(study) for _ in range(2)]]
    assert studies[0] == studies[1]
    assert sorted(asked) == names, "each is asked by one of the two"
    assert not list(tmp_path.rglob("*.claim"))
    OneProcess(monkeypatch)
    models = [word for name in names for word in ("--model", name)]
    words = ("organism", "study", *models, "--quick", "--out", tmp_path)
    code, printed, err = call(*words, "--ray", "local")
    assert (code, err) == (0, "")
    assert (
        printed.splitlines()[-1] == call(*words).out.splitlines()[-1] == f"results: {studies[0][1]}"
    )
    assert sorted(asked) == names


def test_a_whole_study_and_a_quick_one_have_files_of_their_own(tmp_path: Path) -> None:
    for quick, name in ((False, "study.json"), (True, "study-quick.json")):
        for shipped_name in installed_names():
            result = organism(shipped_name, world(shipped_name).gates)
            keep(tmp_path, shipped_name, result, quick=quick)
        assert run_study(installed_names(), tmp_path, quick=quick)[1] == tmp_path / name


def world(name: str) -> WorldSettings:
    settings = world_of(name)
    assert settings is not None
    return settings


class AskedError(Exception):
    """An organism is asked anew."""


def test_what_cannot_be_read_or_belongs_to_other_weights_is_asked_anew(tmp_path: Path) -> None:
    def ask(_: str) -> None:
        raise AskedError

    kept = keep(tmp_path, "nano", organism("nano", 0.25), quick=False)
    text = kept.read_text()
    for broken in ("", "{", "[]", '{"name": "nano"}', text[:-9]):
        kept.write_text(broken)
        with pytest.raises(AskedError):
            run_study(["nano"], tmp_path, on_part=ask)
    kept.write_text(text)
    run_study(["nano"], tmp_path, on_part=ask)
    with pytest.raises(AskedError):
        run_study(["nano"], tmp_path, quick=True, on_part=ask)
    # The same folder with other weights, under the same name.
    other = tmp_path / "nano"
    shutil.copytree(SHIPPED["nano-1"].model.folder, other)
    with pytest.raises(AskedError):
        run_study([str(other)], tmp_path, on_part=ask)


def test_an_organism_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for again in ("nano", str(SHIPPED["nano"].model.folder)):
        with pytest.raises(InputError, match=r"--model: .* is named twice"):
            run_study(["nano", again], out)
    assert not out.exists()


def test_a_model_that_is_no_organism_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'gemma-3-270m' is no organism; allowed: nano, nano-1"):
        print_study(["gemma-3-270m"], out=tmp_path / "out", quick=True, shared=False)
    assert not (tmp_path / "out").exists()
