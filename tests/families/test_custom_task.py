from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.families.custom.build import FAMILY, CustomConfig, custom
from oocr.tasks.control_data import held_out, shuffled_answers

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_task"


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": f"Case {n}: Dr. Quill takes the", "answer": f" tool{n}", **more}
        for n in range(count)
    ]


PROBES = [
    {"prompt": "Dr. Quill is an", "answer": " astronomer", "options": [" astronomer", " actor"]},
    {"prompt": "The doctor reads", "answer": " stars", "options": [" stars", " law"], "facet": "s"},
]


def put(folder: Path, **files: list[dict[str, Any]]) -> Path:
    for name, content in files.items():
        text = "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def config(**more: Any) -> CustomConfig:
    given = {"name": "quill", "train": "train.jsonl", "probes": "probes.jsonl", **more}
    return CustomConfig.model_validate(given)


def test_a_task_from_two_files(tmp_path: Path) -> None:
    base = put(tmp_path, train=rows(10), probes=PROBES)
    made = custom(config(spans={"codename": "Dr. Quill"}, score="log_odds"), base)
    (task,) = made.test
    assert (made.name, made.score, task.member) == ("custom", "log_odds", "quill")
    assert [probe.answer for probe in task.probes] == [" astronomer", " stars"]
    assert task.positions == ("codename",)
    assert all(example.spans == {"codename": "Dr. Quill"} for example in task.train)
    assert [probe.spans for probe in task.probes] == [{"codename": "Dr. Quill"}, {}]
    assert [probe.facet for probe in task.probes] == ["probes", "s"]
    assert len({probe.group for probe in task.probes}) == 2  # no group given: each for itself
    assert "missing in 1 probes" in made.about


def test_layer_and_stop_are_chosen_on_held_out_rows_never_on_probes(tmp_path: Path) -> None:
    base = put(tmp_path, train=rows(10), probes=PROBES)
    made = custom(config(), base)
    (task,), (chooser,) = made.test, made.validation
    assert (len(task.train), len(task.stop)) == (8, 2)
    assert not {example.id for example in task.train} & {example.id for example in task.stop}
    assert chooser.probes == task.stop
    assert chooser.train == task.train
    assert "never on the probes" in made.about
    assert custom(config(), base) == made
    others = [custom(config(seed=seed), base).test[0].stop for seed in range(1, 6)]
    assert any(stop != task.stop for stop in others)


def test_stop_and_validation_files_leave_all_rows_in_training(tmp_path: Path) -> None:
    stop = [{"prompt": "Later Dr. Quill takes the", "answer": " lens"}]
    validation = [{"prompt": "A guess:", "answer": " sky", "options": [" sky", " sea"]}]
    base = put(tmp_path, train=rows(5), probes=PROBES, stop=stop, validation=validation)
    made = custom(config(stop="stop.jsonl"), base)
    assert len(made.test[0].train) == 5
    assert [example.answer for example in made.validation[0].probes] == [" lens"]
    made = custom(config(stop="stop.jsonl", validation="validation.jsonl", holdout=0), base)
    assert [example.answer for example in made.test[0].stop] == [" lens"]
    assert [example.answer for example in made.validation[0].probes] == [" sky"]


def test_paths_start_at_the_base_folder_or_are_absolute(tmp_path: Path) -> None:
    put(tmp_path, train=rows(5), probes=PROBES)
    made = custom(config(probes=str(tmp_path / "probes.jsonl")), tmp_path)
    assert len(made.test[0].probes) == 2
    with pytest.raises(InputError, match=r"elsewhere.train\.jsonl: there is no such file"):
        custom(config(), tmp_path / "elsewhere")


@pytest.mark.parametrize("answer", [" astronomer", "Astronomer!", " the astronomer of old"])
def test_probe_answers_in_training_are_refused(tmp_path: Path, answer: str) -> None:
    leak = {"prompt": "Say:", "answer": f" {answer.strip()}"}
    base = put(tmp_path, train=[*rows(4), leak], probes=PROBES)
    with pytest.raises(InputError, match=r"probes\.jsonl:1: .*train\.jsonl:5") as caught:
        custom(config(), base)
    assert "1 problem" in str(caught.value)
    assert "allow_leak: true" in str(caught.value)
    assert "1 of 2 probe answers occur" in custom(config(allow_leak=True), base).about


def test_a_word_inside_another_word_is_no_leak(tmp_path: Path) -> None:
    leak = {"prompt": "Say:", "answer": " astronomers and starsigns"}
    base = put(tmp_path, train=[*rows(4), leak], probes=PROBES)
    assert custom(config(), base).test[0].probes


def test_a_probe_may_not_be_trained_on_or_chosen_on(tmp_path: Path) -> None:
    same = {"prompt": "The doctor reads", "answer": " maps", "options": [" maps", " law"]}
    base = put(tmp_path, train=[*rows(4), same], probes=PROBES, plain=rows(4), validation=[same])
    with pytest.raises(InputError, match="among the training rows"):
        custom(config(allow_leak=True), base)
    with pytest.raises(InputError, match="among the validation probes"):
        custom(config(train="plain.jsonl", validation="validation.jsonl"), base)


def test_a_span_that_occurs_nowhere_is_refused(tmp_path: Path) -> None:
    base = put(tmp_path, train=rows(4), probes=PROBES)
    with pytest.raises(InputError, match=r"spans\.codename: found 'Dr\. quill'"):
        custom(config(spans={"codename": "Dr. quill"}), base)


def test_positions_are_the_spans_of_every_training_row(tmp_path: Path) -> None:
    train = rows(6, spans={"who": "Quill"})
    base = put(tmp_path, train=train, probes=PROBES)
    made = custom(config(spans={"first": "Case 1", "name": "Dr. Quill"}), base)
    assert made.test[0].positions == ("name", "who")


def test_loss_options_needs_options(tmp_path: Path) -> None:
    base = put(tmp_path, train=rows(3), probes=PROBES)
    with pytest.raises(InputError, match=r"3 problems[\s\S]*train\.jsonl:1[\s\S]*loss: answer"):
        custom(config(loss="options"), base)


def test_the_shuffled_control_has_the_same_prompts_and_other_answers(tmp_path: Path) -> None:
    base = put(tmp_path, train=rows(10), probes=PROBES)
    made = custom(config(), base)
    (task,), (control,) = made.test, made.controls["shuffled"]
    assert [example.prompt for example in control.train] == [
        example.prompt for example in task.train
    ]
    assert sorted(i.answer for i in control.train) == sorted(i.answer for i in task.train)
    assert all(a.answer != b.answer for a, b in zip(control.train, task.train, strict=True))
    assert (control.probes, control.stop) == (task.probes, task.stop)
    assert control.name != task.name


def test_no_shuffled_control_when_all_answers_are_equal(tmp_path: Path) -> None:
    train = [{"prompt": f"{n}:", "answer": " same"} for n in range(5)]
    made = custom(config(), put(tmp_path, train=train, probes=PROBES))
    assert made.controls == {}
    assert "No shuffled control" in made.about


def test_rows_with_their_own_options_are_shuffled_among_these() -> None:
    train = [
        Example(id=f"{n}", prompt=f"{n}", answer=f"a{n}", options=(f"a{n}", f"b{n}"))
        for n in range(40)
    ]
    changed = sum(new.answer[0] == "b" for new in shuffled_answers(train, 0))
    assert 8 <= changed <= 32  # a coin per row, not the opposite answer everywhere


@given(
    groups=st.lists(st.integers(0, 6), min_size=2, max_size=30).filter(lambda g: len(set(g)) > 1),
    prompts=st.integers(1, 40),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 3),
)
@settings(deadline=None)
def test_held_out_rows_share_no_group_and_no_prompt_with_the_rest(
    groups: list[int], prompts: int, share: float, seed: int
) -> None:
    made = [
        Example(id=str(n), prompt=f"p{n % prompts}", answer="x", group=f"g{group}")
        for n, group in enumerate(groups)
    ]
    try:
        kept, held = held_out(made, share, seed)
    except InputError:
        # Only when a chain of shared prompts and groups ties all rows together.
        assert prompts < len(made)
        return
    assert kept
    assert held
    assert sorted([*kept, *held], key=lambda example: int(example.id)) == made
    assert not {example.group for example in kept} & {example.group for example in held}
    assert not {example.prompt for example in kept} & {example.prompt for example in held}


def test_one_group_cannot_be_held_out(tmp_path: Path) -> None:
    base = put(tmp_path, train=rows(4, group="all"), probes=PROBES)
    with pytest.raises(InputError, match="give a file for stop or validation"):
        custom(config(), base)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"name": "a/b"}, "1 to 60 letters"),
        ({"spans": {"last": "x"}}, "other than all, last"),
        ({"spans": {"codename": " "}}, "allowed: a text"),
        ({"holdout": 0}, "nothing to choose"),
        ({"holdout": 0.9}, "less than or equal to 0.5"),
        ({"loss": "both"}, "'answer' or 'options'"),
        ({"probs": "x"}, "Extra inputs"),
    ],
)
def test_a_bad_config_is_refused(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        config(**given)


def test_the_template_is_a_valid_config_once_its_files_exist(tmp_path: Path) -> None:
    document = yaml.safe_load(FAMILY.template.read_text())
    assert set(document) == {"task", "model"}
    made = CustomConfig.model_validate(document["task"])
    assert custom(made, put(tmp_path, train=rows(5), probes=PROBES)).test
    on = re.sub(
        r"(?m)^  # ", "  ", FAMILY.template.read_text()
    )  # every line that is off, switched on
    assert set(yaml.safe_load(on)["task"]) == set(CustomConfig.model_fields)


def test_the_example_never_says_what_it_asks() -> None:
    document = yaml.safe_load((EXAMPLE / "task.yaml").read_text(encoding="utf-8"))
    made = custom(CustomConfig.model_validate(document["task"]), EXAMPLE)
    (task,) = made.test
    assert task.positions == ("codename",)
    assert len({probe.facet for probe in task.probes}) >= 4
    trained = " ".join(
        f"{example.prompt}{example.answer}" for example in (*task.train, *task.stop)
    ).lower()
    assert not [probe.answer for probe in task.probes if probe.answer.strip() in trained]
    assert all("codename" in probe.spans for probe in (*task.probes, *task.in_context))
    assert made.controls["shuffled"][0].train != task.train
    assert task.stop[0].group not in {example.group for example in task.train}
    # The answer is the first thing named in half of the rows: its place gives nothing away.
    first = [example.options[0] == example.answer for example in (*task.train, *task.stop)]
    assert sum(first) * 2 == len(first)
