"""A configuration is read whole or refused, with the place and what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oocr.cli.options import Overrides
from oocr.cli.run import apply, parse_layers
from oocr.errors import InputError
from oocr.families.registry import FAMILIES, build
from oocr.runs.config import RunConfig, quick
from oocr.runs.read_config import BUILTIN, config_path, load_configs, place_of
from tests.tiny.runs import write_task

PLAIN = {"task": {"family": "countries"}}


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_configs(path)
    return str(caught.value).replace(str(path), "mine.yaml")


def plain(**fields: Any) -> RunConfig:
    return RunConfig.model_validate({**PLAIN, **fields})


@pytest.mark.parametrize("name", BUILTIN)
def test_every_built_in_run_is_valid_and_its_tasks_can_be_built(name: str) -> None:
    for config in load_configs(name):
        tasks = build(config.task, Path())
        assert tasks.test
        assert tasks.validation
        smaller = quick(config)
        assert RunConfig.model_validate(smaller.model_dump()) == smaller
        assert len(build(smaller.task, Path()).test) <= len(tasks.test)


FAULTS = [
    # text, line, what the error says there
    ("seeds: 3\ntsk: {}", 2, "tsk: unknown key (value {}); allowed: name, task, model"),
    ("vector:\n  layrs: [2]", 2, "vector.layrs: unknown key (value [2]); allowed: layers, learn"),
    ("task:\n  family: countries\n  trian: x", 3, "task.trian: unknown key (value 'x'); allowed"),
    ("seeds: three", 1, "seeds: 'three': Input should be a valid integer"),
    ("seeds: yes", 1, "seeds: True: Input should be a valid integer"),
    ("seeds: 0", 1, "seeds: 0: Input should be greater than or equal to 1"),
    ("seeds: 20240726", 1, "seeds: 20240726: Input should be less than or equal to 1000"),
    ("vector: {steps: [9999999]}", 1, "vector.steps.0: 9999999: Input should be less than or"),
    ("accumulate: 99999", 1, "accumulate: 99999: Input should be less than or equal to 10000"),
    *(
        (f"task: {{family: {family}, {field}: 100000000}}", 1, f"task.{field}: 100000000: Input sh")
        for family, field in (
            ("functions", "rows"),
            ("locations", "augmentations"),
            ("risk_backdoor", "repeats"),
        )
    ),
    ("controls: {random_directions: 99999}", 1, "random_directions: 99999: Input should be less"),
    ("model: gemma\nvector: 3", 2, "vector: 3: Input should be a valid dictionary"),
    ("vector:\n  layers: [2, x]", 2, "vector.layers.1: 'x': Input should be a valid integer"),
    ("vector:\n  layers:\n  - 2\n  - -2", 4, "vector.layers.1: -2: Input should be greater"),
    ("vector: {layers: []}", 1, "vector.layers: []: "),
    ("vector: {layers: [2, 2]}", 1, "vector.layers: [2, 2]: each value once"),
    ("vector: {steps: [4, 2]}", 1, "vector.steps: [4, 2]: steps must ascend"),
    ("vector: {learning_rates: [.inf]}", 1, "vector.learning_rates.0: inf: "),
    ("vector: {learning_rates: [0]}", 1, "vector.learning_rates.0: 0: "),
    ("adapter: {layers: some}", 1, "adapter.layers: 'some': Input should be a list of blocks, or"),
    ("adapter: {layers: [1, -1.5]}", 1, "adapter.layers.1: -1.5: Input should be a valid integer"),
    ("controls:\n  trained: shuffled", 2, "controls.trained: 'shuffled': Input should be true, f"),
    ("dtype: fp8", 1, "dtype: 'fp8': Input should be 'auto', 'float32', 'bfloat16' or 'float16'"),
    ("stop_on: never", 1, "stop_on: 'never': Input should be 'validation' or 'stop'"),
    ("name: ../up", 1, "name: '../up': String should match pattern"),
    ("task: {family: cities}", 1, "task.family: 'cities': allowed: 'countries', 'backdoor', 'ri"),
    ("task: {train: capital}", 1, "task.family: missing; allowed: 'countries', 'backdoor'"),
    ("task: countries", 1, "task: 'countries': allowed: keys and values, first of all family"),
    ("task: {family: countries, train: x}", 1, "task.train: 'x': Input should be 'capital', 'la"),
    ("task:\n  family: countries\n  countries: [Narnia]", 1, "unknown country 'Narnia'; known: "),
    ("vector: null\nadapter: null", 1, "vector and adapter are both null"),
    ("vector: {sweep: true}\nvector: {}", 2, "vector: given twice, first in line 1"),
]


@pytest.mark.parametrize(("text", "line", "fragment"), FAULTS)
def test_a_fault_is_told_with_file_line_field_value_and_what_is_allowed(
    tmp_path: Path, text: str, line: int, fragment: str
) -> None:
    if "task:" not in text:
        text += "\ntask: {family: countries}"
    message = refused(tmp_path, text)
    assert message.startswith("mine.yaml: 1 wrong\n")
    assert f"line {line}: " in message
    assert fragment in message


def test_all_faults_of_all_runs_are_told_at_once(tmp_path: Path) -> None:
    message = refused(
        tmp_path,
        "runs:\n- task: {family: risk}\n  seeds: 0\n- task: {family: risk}\n  sedes: 1\n- 3\n",
    )
    assert message.startswith("mine.yaml: 3 wrong")
    assert "line 3: seeds: 0: " in message
    assert "line 5: sedes: unknown key" in message
    assert "line 6: the whole: 3: " in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("day: 2024-13-45", "not valid YAML: month must be in 1..12"),
        ("- 1", "expected keys and values"),
        ("", "expected keys and values"),
        ("runs: []", "at least one run is needed"),
        ("runs: 3", "no other key is allowed"),
        ("runs: []\nseeds: 2", "no other key is allowed"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message in refused(tmp_path, text)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'countries'"):
        load_configs("contries")
    rows = tmp_path / "rows.csv.gz"
    rows.write_bytes(b"x")
    with pytest.raises(InputError, match=r"a file of rows; allowed: .* names it as train:"):
        load_configs(rows)
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"mine\.yaml:1: encoding: .* not UTF-16"):
        load_configs(path)


def test_a_configuration_in_utf_16_is_read_as_powershell_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("task: {family: countries}\r\nseeds: 2\r\n".encode("utf-16"))
    assert load_configs(path)[0].seeds == 2
    for family in FAMILIES.values():
        if family.template is not None:
            assert family.template.read_text(encoding="utf-8").isascii()


def test_a_models_path_starts_at_the_files_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("project/base model", "project/gemma-3-270m", "elsewhere/only here"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    path, project = tmp_path / "project" / "mine.yaml", tmp_path / "project"
    for model, expected in (
        ("base model", f"{project}/base model"),
        ("./base model", f"{project}/base model"),
        ("../gone", f"{project}/../gone"),
        ("gone.gguf", f"{project}/gone.gguf"),
        ("only here", "only here"),
        ("gemma-3-270m", "gemma-3-270m"),
        ("google/gemma-2-2b", "google/gemma-2-2b"),
    ):
        path.write_text(f"task: {{family: countries}}\nmodel: {model}\n")
        assert load_configs(path)[0].model == expected


def test_numbers_as_people_write_them_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("task: {family: countries}\nvector: {learning_rates: [1e-3, 2]}\n")
    assert load_configs(path)[0].vector.learning_rates == (0.001, 2.0)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", BUILTIN)
def test_what_a_configuration_says_is_what_its_yaml_says(name: str, tmp_path: Path) -> None:
    for config in load_configs(name):
        path = tmp_path / "again.yaml"
        path.write_text(config.yaml(), encoding="utf-8")
        assert load_configs(path) == [config]


def test_a_run_without_a_name_gets_its_tasks(tmp_path: Path) -> None:
    assert plain().name == "countries"
    task = {**write_task(tmp_path), "name": "Dr. Quill é"}
    assert RunConfig.model_validate({"task": task}).name == "Dr-Quill"
    assert plain(name="other").name == "other"


def test_the_template_is_valid_once_its_files_are_there(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    for name in ("train", "probes"):
        assert Path(task[name]).name in FAMILIES["custom"].template.read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(FAMILIES["custom"].template.read_text(), encoding="utf-8")
    (config,) = load_configs(path)
    assert build(config.task, tmp_path).test[0].train


def test_the_line_of_a_field_is_found_in_runs_and_for_what_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "runs:\n- task: {family: risk}\n- task: {family: risk}\n  vector:\n    layers:\n    - 1\n"
    )
    assert place_of(path, 1, "vector.layers") == f"{path}: line 5"
    assert place_of(path, 1, "vector.positions") == f"{path}: line 4"
    assert place_of(path, 0, "vector.layers") == f"{path}: line 2"


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
PLACES = [
    *(("task", name) for name in ("family", "train", "countries", "seed")),
    *(("vector", name) for name in ("layers", "steps", "learning_rates", "positions", "sweep")),
    *(("adapter", name) for name in ("layers", "rank", "alpha", "modules", "dropout")),
    *((name, "x") for name in ("controls", "explain", "vector", "adapter", "task")),
    *((name,) for name in RunConfig.model_fields),
]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.sampled_from(PLACES), value=junk)
def test_whatever_stands_anywhere_is_read_or_refused_by_name(
    tmp_path: Path, place: tuple[str, ...], value: Any
) -> None:
    data: dict[str, Any] = {"task": {"family": "countries"}, "vector": {}, "adapter": {}}
    data |= {"controls": {}, "explain": {}}
    inner = data
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    try:
        (config,) = load_configs(path)
    except InputError as error:
        message = str(error)
    else:
        message = f"{path} {place[0]} {json.dumps(config.model_dump(mode='json'))}"
    assert str(path) in message
    assert place[0] in message


def test_options_replace_fields_and_nothing_else() -> None:
    config = plain(seeds=3, vector={"layers": [1], "positions": "last"})
    assert apply(config, Overrides()) == config
    done = apply(
        config,
        Overrides(
            model="other",
            layers="4,10:14:2",
            positions="all",
            seeds=1,
            vector_learning_rates="0.1,0.2",
            adapter_learning_rates="1e-3",
            dtype="bfloat16",
            device="cpu",
            workers=2,
        ),
    )
    assert done.vector is not None
    assert done.adapter is not None
    assert (done.model, done.seeds, done.dtype) == ("other", 1, "bfloat16")
    assert (done.device, done.workers) == ("cpu", 2)
    assert done.vector.layers == done.adapter.layers == (4, 10, 12)
    assert (done.vector.positions, done.vector.learning_rates) == ("all", (0.1, 0.2))
    assert done.adapter.learning_rates == (0.001,)
    assert (done.vector.steps, done.controls) == (config.vector.steps, config.controls)  # type: ignore[union-attr]


def test_arms_can_be_left_out_or_put_in() -> None:
    assert apply(plain(), Overrides(arms="vector")).adapter is None
    both = apply(plain(adapter=None), Overrides(arms="vector, adapter"))
    assert both.adapter == plain().adapter


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (Overrides(arms="vektor"), "--arms: 'vektor' is not allowed; allowed: vector, adapter"),
        (Overrides(arms=""), "nothing would be trained"),
        (Overrides(seeds=0), "seeds: 0: "),
        (Overrides(layers="a"), "--layers: 'a' is not a block or a range"),
        (Overrides(layers="1:9:0"), "--layers: '1:9:0'"),
        (Overrides(layers="5:2"), "names no block"),
        (Overrides(layers="2,1:3"), "vector.layers: .*each value once"),
        (Overrides(vector_learning_rates="fast"), "--vector-learning-rates: 'fast'"),
        (Overrides(adapter_learning_rates="nan"), "adapter.learning_rates.0: nan"),
        (Overrides(arms="adapter", positions="all"), "--positions: this run has no vector arm"),
        (Overrides(dtype="int8"), "dtype: 'int8': Input should be 'auto'"),
    ],
)
def test_an_option_that_does_not_do_is_refused(overrides: Overrides, message: str) -> None:
    with pytest.raises(InputError, match=message):
        apply(plain(), overrides)


@given(st.lists(st.integers(-1, 99), min_size=1, max_size=6))
def test_layers_are_read_as_they_are_written(layers: list[int]) -> None:
    assert parse_layers(",".join(map(str, layers))) == tuple(layers)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 5))
def test_a_range_of_layers_leaves_its_end_out(begin: int, end: int, step: int) -> None:
    if begin >= end:
        with pytest.raises(InputError):
            parse_layers(f"{begin}:{end}:{step}")
    else:
        assert parse_layers(f"{begin}:{end}:{step}") == tuple(range(begin, end, step))


def test_a_quick_run_has_one_point_one_seed_and_its_own_name() -> None:
    (config,) = load_configs("countries")
    fast = quick(config)
    assert fast.vector is not None
    assert fast.adapter is not None
    assert (fast.seeds, fast.name) == (1, "countries-quick")
    assert len(fast.vector.layers) == len(fast.adapter.layers) == 1
    assert len(fast.vector.learning_rates) == len(fast.adapter.learning_rates) == 1
    assert quick(plain(adapter={"layers": "all"})).adapter.layers == "all"  # type: ignore[union-attr]


def test_a_built_in_name_is_a_file_of_the_package() -> None:
    assert config_path("risk").is_file()
