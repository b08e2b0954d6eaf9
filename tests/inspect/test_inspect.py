"""Inspect AI itself on nano: a run's own numbers, steered models, and finished runs as logs."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

pytest.importorskip("inspect_ai", reason="needs the extra: inspect")

import inspect_ai
from inspect_ai import Task
from inspect_ai._util.error import PrerequisiteError
from inspect_ai._util.registry import registry_info
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelOutput,
    ModelUsage,
    TopLogprob,
    get_model,
)
from inspect_ai.scorer import SampleScore, Score, includes
from inspect_ai.solver import generate

import oocr
from oocr.data.examples import Example, FreeTextExample
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.evals.score_table import Scores
from oocr.inspect.question import Question
from oocr.inspect.scorers import chosen, counted, judged, log_odds
from oocr.inspect.solvers import answer, choose
from oocr.inspect.steering import Arguments, Steering
from oocr.inspect.tasks import choices, sample_of
from oocr.models.load import read_model
from oocr.steering.vectors import Vector
from tests.command_line import Call
from tests.tiny.runs import environment, rows_of, write_yaml


@pytest.fixture
def done(nano_run: Path) -> Path:
    return nano_run


def trained(done: Path, kind: str) -> Path:
    name = "vector.safetensors" if kind == "vector" else "adapter"
    return next((done / "arms").glob(f"test-{kind}-*/{name}"))


def probe_rows(done: Path, arm: str, member: str) -> dict[str, dict[str, Any]]:
    rows = rows_of(done).filter(
        pl.col("final"),
        pl.col("arm") == arm,
        pl.col("part") == "probes",
        pl.col("member") == member,
    )
    return {row["item"]: row for row in rows.iter_rows(named=True)}


def evaluated(done: Path, logs: Path, member: str | None = None, **steering: Any) -> EvalLog:
    (log,) = inspect_ai.eval(
        "oocr/choices",
        model="oocr/nano",
        model_args=steering,
        task_args={"run": str(done), **({} if member is None else {"member": member})},
        log_dir=str(logs),
        display="none",
    )
    return log


def check_same(log: EvalLog, rows: dict[str, dict[str, Any]]) -> None:
    """Each answer as in the run's rows, and the numbers behind it."""
    assert log.status == "success"
    assert log.samples is not None
    assert len(log.samples) == len(rows) >= 10
    for sample in log.samples:
        row, score = rows[str(sample.id)], (sample.scores or {})["chosen"]
        assert (score.value == "C") is row["right"]
        assert score.answer == row["chosen"]
        assert score.metadata is not None
        assert score.metadata["option_logprobs"][row["answer"]] == pytest.approx(
            row["logp"], abs=1e-4
        )
    assert log.results is not None
    metrics = log.results.scores[0].metrics
    right = [row["right"] for row in rows.values()]
    assert metrics["accuracy"].value == pytest.approx(sum(right) / len(right))
    for facet in {row["facet"] for row in rows.values()}:
        of_facet = [row["right"] for row in rows.values() if row["facet"] == facet]
        assert metrics[facet].value == pytest.approx(sum(of_facet) / len(of_facet))


def test_the_command_gives_the_runs_numbers_and_logs_what_was_steered(
    done: Path, tmp_path: Path
) -> None:
    file = trained(done, "vector")
    words = ["eval", "oocr/choices", "-T", f"run={done}", "--model", "oocr/nano"]
    words += ["-M", f"vector={file}", "--log-dir", str(tmp_path), "--display", "none"]
    ended = subprocess.run(
        [sys.executable, "-m", "inspect_ai", *words],
        env={**environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    log = read_eval_log(str(next(tmp_path.glob("*.eval"))))
    vector = Vector.load(file)
    member = vector.about["task"].rpartition("/")[2]  # nobody named it: the vector's own
    check_same(log, probe_rows(done, "vector", member))
    assert log.eval.model_args == {"vector": str(file)}
    assert (log.eval.metadata or {})["steering"]["training_data"] == vector.about["training_data"]
    for sample in log.samples or ():
        steered = (sample.output.metadata or {})["steered"]
        assert len(steered["tokens"]) == 1
        assert steered["text"][0].strip() == vector.spans["codename"]
        assert steered["generated"] is False
    call = next(event for event in (log.samples or [])[0].events if event.event == "model").call
    assert call is not None
    assert call.request["vector"]["norm"] == pytest.approx(vector.norm)  # type: ignore[index,call-overload]


def test_a_lora_and_the_untouched_model_have_the_runs_numbers_too(
    done: Path, tmp_path: Path
) -> None:
    rows = rows_of(done)
    member = str(rows.filter(pl.col("arm") == "adapter")["member"][0])
    file = next(
        path
        for path in (done / "arms").glob("test-adapter-*/adapter")
        if f"-{member}-" in path.parent.name
    )
    check_same(
        evaluated(done, tmp_path, member, adapter=str(file)), probe_rows(done, "adapter", member)
    )
    check_same(evaluated(done, tmp_path, member), probe_rows(done, "base", member))
    log = evaluated(done, tmp_path)
    assert log.results is not None
    metrics = log.results.scores[0].metrics
    score = Scores.read(done).accuracy("base")  # all members: the run's own score
    assert (metrics["score"].value, metrics["score_low"].value) == pytest.approx(
        (score.value, score.low)
    )


def test_any_other_eval_runs_on_a_steered_model(done: Path, tmp_path: Path) -> None:
    vector = Vector.load(trained(done, "vector"))
    name = vector.spans["codename"]
    prompt = f"the country of {name} is"
    sample = Sample(input=prompt, target="country-")
    steered = get_model("oocr/nano", vector=str(trained(done, "vector")))
    config = GenerateConfig(max_tokens=2, logprobs=True, top_logprobs=3, prompt_logprobs=1)
    task = Task(
        dataset=MemoryDataset([sample]), solver=generate(), scorer=includes(), config=config
    )
    (log,) = inspect_ai.eval(task, model=steered, log_dir=str(tmp_path), display="none")
    assert log.status == "success", log.error
    output = (log.samples or [])[0].output
    assert output.usage is not None
    assert output.usage.output_tokens == 2
    assert output.stop_reason == "max_tokens"
    assert output.choices[0].logprobs is not None
    first = output.choices[0].logprobs.content[0]
    assert first.top_logprobs is not None
    assert first.token == first.top_logprobs[0].token  # greedy: the likeliest
    assert output.completion.startswith(first.token)
    assert (
        len((output.choices[0].prompt_logprobs or first).content) == output.usage.input_tokens - 1
    )


def test_another_providers_model_is_scored_by_its_first_tokens(tmp_path: Path) -> None:
    example = Example(
        id="a", prompt="They speak", answer=" French", options=(" French", " German", " Dutch")
    )
    top = [TopLogprob(token="\u0120Ger", logprob=-1.0), TopLogprob(token=" French", logprob=-0.5)]
    first = Logprob(token=" French", logprob=-0.5, top_logprobs=top)
    message = ChatMessageAssistant(content=" French", source="generate")
    said = ModelOutput(
        model="mockllm/model",
        choices=[ChatCompletionChoice(message=message, logprobs=Logprobs(content=[first]))],
        usage=ModelUsage(),
    )
    task = Task(
        dataset=MemoryDataset([sample_of(example, "x", several=False)]),
        solver=choose(),
        scorer=chosen(),
    )
    model = get_model("mockllm/model", custom_outputs=[said])
    (log,) = inspect_ai.eval(task, model=model, log_dir=str(tmp_path), display="none")
    score = ((log.samples or [])[0].scores or {})["chosen"]
    assert (score.value, score.answer) == ("C", " French")
    logps = (score.metadata or {})["option_logprobs"]
    assert logps.keys() == {" French", " German"}  # no token of the third was listed
    assert logps[" French"] - logps[" German"] == pytest.approx(0.5)


def test_own_words_are_judged_as_in_a_run(done: Path, tmp_path: Path) -> None:
    example = FreeTextExample(
        id="a", prompt="the country of place-9 is", accept=("no such word",), max_tokens=2
    )
    task = Task(
        dataset=MemoryDataset([sample_of(example, "x", several=False)]),
        solver=answer(),
        scorer=judged(),
    )
    (log,) = inspect_ai.eval(task, model="oocr/nano", log_dir=str(tmp_path), display="none")
    score = ((log.samples or [])[0].scores or {})["judged"]
    assert (score.value, score.explanation) == ("I", "names nothing accepted")


def test_a_finished_run_becomes_logs(call: Call, done: Path, tmp_path: Path) -> None:
    out = tmp_path / "logs"
    code, printed, err = call("export", done, "--to", "inspect", "--out", out)
    assert (code, f"inspect view --log-dir {out}" in printed) == (0, True), err
    assert {path.stem for path in out.glob("*-probes.eval")} == {
        "adapter-probes",
        "base-probes",
        "ceiling-probes",
        "vector-probes",
    }
    log = read_eval_log(str(out / "vector-probes.eval"))
    rows = rows_of(done).filter(
        pl.col("final"), pl.col("arm") == "vector", pl.col("part") == "probes"
    )
    assert log.samples is not None
    right = {str(sample.id): (sample.scores or {})["chosen"].value for sample in log.samples}
    assert right == {
        f"{row['member']}/{row['item']}": "C" if row["right"] else "I"
        for row in rows.iter_rows(named=True)
    }
    assert all(sample.choices for sample in log.samples)
    assert log.results is not None
    metrics = log.results.scores[0].metrics
    assert metrics["accuracy"].value == pytest.approx(
        float(rows["right"].cast(float).to_numpy().mean())
    )
    score = Scores.read(done).accuracy("vector")
    assert (metrics["score"].value, metrics["score_high"].value) == pytest.approx(
        (score.value, score.high)
    )
    assert str(done.parent) not in (out / "vector-probes.eval").read_bytes().decode("latin-1")


def test_options_are_steered_where_the_log_says_it(done: Path) -> None:
    """Also at a span that the question does not name: the vector knows its text."""
    vector = Vector.load(trained(done, "vector"))
    prompt = f"the country of {vector.spans['codename']} is"
    options = (" country-1", " country-2", " country-3")
    choice = Question(raw=True, options=options).choice(prompt)
    model = read_model("nano")
    steered, untouched = (
        Steering(model, acting, {}).asked(prompt, {}) for acting in (vector, None)
    )
    assert len(steered.where["tokens"]) == 1
    scores = Probes.of(model, [replace(choice, spans=vector.spans)]).scores([vector])[0, 0]
    expected = scores.double().log_softmax(-1).tolist()
    assert steered.option_scores(choice) == pytest.approx(expected)
    assert steered.option_scores(choice) != pytest.approx(untouched.option_scores(choice))


def test_each_epoch_is_sampled_anew_and_the_whole_eval_again() -> None:
    config = GenerateConfig(temperature=1.0, max_tokens=3, seed=5)

    async def sampled(epochs: int) -> list[str]:
        model = get_model("oocr/nano", memoize=False).api
        asked: Any = ([ChatMessageUser(content="the people of place-9 speak")], [], "auto", config)
        return [(await model.generate(*asked))[0].completion for _ in range(epochs)]  # type: ignore[index]

    first = asyncio.run(sampled(5))
    assert len(set(first)) > 1
    assert asyncio.run(sampled(5)) == first
    prompt = "the people of place-9 speak"
    options: Any = {"max_new_tokens": 3, "temperature": 1.0, "seed": 5}
    assert first[:1] == oocr.generate(read_model("nano"), prompt, **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"frequency_penalty": 1.0}, "frequency_penalty: found 1.0"),
        ({"top_k": 1}, "top_k: found 1"),
        ({"top_p": 0.5}, "top_p: found 0.5"),
        ({"best_of": 2}, "best_of: found 2"),
    ],
)
def test_sampling_that_is_not_there_is_refused(given: dict[str, Any], message: str) -> None:
    model = get_model("oocr/nano").api
    asked: Any = ([ChatMessageUser(content="x")], [], "auto", GenerateConfig(**given))
    with pytest.raises(InputError, match=message):
        asyncio.run(model.generate(*asked))


def test_what_is_no_text_is_refused() -> None:
    picture = [ContentText(text="what is it"), ContentImage(image="data:image/png;base64,AA==")]
    asked: Any = ([ChatMessageUser(content=picture)], [], "auto", GenerateConfig())
    with pytest.raises(InputError, match="content: found image; allowed: text"):
        asyncio.run(get_model("oocr/nano").api.generate(*asked))


def test_an_interval_over_one_member_is_over_its_questions() -> None:
    about = {"member": "a", "facet": "f", "group": "g", "answer": "x"}
    scores = [
        SampleScore(score=Score(value=value), sample_id=place, sample_metadata=about)
        for place, value in enumerate("CICI")
    ]
    scoring = {"measure": "accuracy", "cluster": "member"}
    found: Any = counted(scoring, "probes")(scores)  # type: ignore[call-arg,operator]
    assert found["score"] == 0.5
    assert found["score_low"] < 0.3 < 0.7 < found["score_high"]


def test_a_task_that_is_scored_by_log_odds_has_their_mean(tmp_path: Path) -> None:
    scores = [SampleScore(score=Score(value="C", metadata={"log_odds": x})) for x in (1.0, -4.0)]
    mean: Any = log_odds()
    assert mean(scores) == -1.5
    settings = {"task": {"family": "nano", "part": "risk"}, "model": "nano"}
    made = choices(run=str(write_yaml(tmp_path / "risk.yaml", settings)))
    named = {registry_info(metric).name for metric in made.metrics}
    assert any(name.endswith("log_odds") for name in named)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strength": 3}, "-M strength=3: .*allowed: vector, adapter, scale"),
        ({"vector": "a", "adapter": "b"}, "found both; allowed: one"),
        ({"layer": 2}, "-M layer: it is of a vector"),
        ({"scale": "much"}, "-M scale=much: .*number"),
    ],
)
def test_wrong_arguments_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Arguments.of(given)


def test_what_cannot_be_evaluated_is_refused_in_a_sentence(done: Path, tmp_path: Path) -> None:
    other = Vector(0, "all", torch.ones(96), about={"model": "nano-1"}).save(
        tmp_path / "v.safetensors"
    )
    wide = Vector(0, "all", torch.ones(9)).save(tmp_path / "w.safetensors")
    for file, message in (
        (other, "it was made on nano-1, this is nano; .* -M other_model=true"),
        (wide, "has width 9, nano has"),
        (tmp_path / "none.safetensors", "no such file"),
    ):
        with pytest.raises(PrerequisiteError) as refused:
            get_model("oocr/nano", vector=str(file), memoize=False)
        assert re.search(message, str(refused.value.message))
    for words, message in (
        ({"run": "nowhere"}, "nowhere: no such file, and not a built-in run"),
        ({"run": str(done), "member": "X"}, "member: found 'X'; allowed: "),
        ({"run": str(done), "part": "train"}, "part: found 'train'; allowed: probes"),
    ):
        with pytest.raises(PrerequisiteError) as refused:
            choices(**words)
        assert message in str(refused.value.message)
