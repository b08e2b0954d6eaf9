"""Slurm: the request, the script, and (where submitit is installed) its local executor."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from oocr.cli.cluster import shared_work, slurm
from oocr.cli.cluster.place import SharedPlace
from oocr.cli.cluster.shared_work import SharedWork, Waiting
from oocr.cli.options import shared_words
from oocr.errors import InputError, RunError
from oocr.work.slurm import SlurmRequest, minutes_of, script
from tests.command_line import Call
from tests.tiny.runs import Tiny, claims_of, rows_of, write_yaml


def test_a_request_in_words() -> None:
    request = SlurmRequest.of("gpu:2, time=1d12h,workers=8,cpus=4,partition=long,exclusive")
    assert (request.gpus, request.minutes, request.workers, request.cpus) == (2, 36 * 60, 8, 4)
    assert request.options == {"partition": "long", "exclusive": ""}
    assert SlurmRequest.of("") == SlurmRequest()
    wrong = (
        "workers=none",
        "time=soon",
        "time=02:30",
        "GPU",
        "gpu:x",
        "cluster=mine",
        "partition=",
    )
    for text in wrong:
        with pytest.raises(InputError, match=f"--slurm: '{text}' is not understood; allowed: gpu"):
            SlurmRequest.of(text)
    for text in ("gpu:1,gpus=2", "time=1h,time=2h", "partition=a,partition=b"):
        with pytest.raises(InputError, match="found twice; allowed: once"):
            SlurmRequest.of(text)
    with pytest.raises(InputError, match="allowed: 1000 or fewer"):
        SlurmRequest.of("workers=1001")
    with pytest.raises(InputError, match="is not understood"):
        SlurmRequest.of("comment=a\nrm b")


def test_times_in_minutes() -> None:
    times = {
        "4h": 240,
        "90m": 90,
        "90min": 90,
        "90": 90,
        "02:30:00": 150,
        "1-00:00:00": 1440,
        "": 0,
    }
    assert {text: minutes_of(text) for text in times} == times
    assert minutes_of("4 hours") == minutes_of("02:30") == 0  # Slurm's are minutes and seconds


def test_the_script_is_bash_and_starts_an_array(tmp_path: Path) -> None:
    request = SlurmRequest.of("gpu:1,time=4h,workers=8,partition=long,comment=two words,exclusive")
    logs = tmp_path / "shared runs"
    text = script(request, ["work", "my run.yaml", "--out", "/shared runs"], logs)
    assert text.startswith("#!/bin/bash\n#SBATCH")
    for line in ("--array=0-7", "--gres=gpu:1", "--time=240", "--partition=long", "--requeue"):
        assert f"#SBATCH {line}\n" in text
    assert f"#SBATCH --output='{logs}/slurm-%A-%a.log'\n" in text
    assert "#SBATCH --comment='two words'\n#SBATCH --exclusive\n" in text
    assert f"#SBATCH --chdir={Path.cwd()}\n" in text, "paths in the command start from there"
    assert "-m oocr work 'my run.yaml' --out '/shared runs'\n" in text
    assert "gres" not in script(SlurmRequest(), ["work", "x"], tmp_path)
    if bash := shutil.which("bash"):
        assert subprocess.run([bash, "-n"], input=text, text=True, check=False).returncode == 0


def test_a_process_gets_the_words_without_the_engine(tmp_path: Path) -> None:
    words = ["a.yaml", "--slurm", "gpu:1", "--seeds", "5", "--out=x", "--sbatch=f", "--quick"]
    assert shared_words(["work"], words, tmp_path) == [
        *("work", "a.yaml", "--seeds", "5", "--quick", "--out", str(tmp_path)),
    ]


def test_a_script_is_written_and_nothing_else(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "job.sh"
    code, out, err = call(
        *("run", "countries", "--out", tmp_path / "o", "--slurm", "time=2h", "--sbatch", file)
    )
    assert (code, err) == (0, "")
    assert f"sbatch {file}" in out
    assert f"oocr work countries --out {tmp_path / 'o'}\n" in file.read_text()
    assert "is there already" in call("run", "countries", "--sbatch", file).err
    verbs: dict[tuple[object, ...], str] = {
        ("reproduce", "--quick"): "reproduce --quick --shared",
        ("audit", "a", "b"): "audit a b",
        ("organism", "study", "--model", "nano"): "organism study --model nano --shared",
    }
    for number, (given, process) in enumerate(verbs.items()):
        script_of = tmp_path / f"{number}.sh"
        code, _, err = call(*given, "--out", tmp_path / "o", "--sbatch", script_of)
        assert (code, err) == (0, "")
        assert f"oocr {process} --out {tmp_path / 'o'}\n" in script_of.read_text()
    one = call("audit", "a", "--sbatch", tmp_path / "n")
    assert (one.code, "--sbatch: found one fine-tune" in one.err) == (2, True)
    assert call("run", "countries", "--slurm", "what:ever").code == 2
    new = tmp_path / "new folder" / "job.sh"
    assert f"sbatch '{new}'" in call("run", "countries", "--out", tmp_path, "--sbatch", new).out
    assert new.is_file()
    here = call("run", "countries", "--slurm", "cluster=local", "--sbatch", tmp_path / "n")
    assert (here.code, "'cluster=local' starts processes here" in here.err) == (2, True)
    few = call("run", "countries", "--gpus-per-worker", 2, "--slurm", "gpu:1")
    assert (few.code, "--slurm: gpu:1; allowed: gpu:2 or more" in few.err) == (2, True)
    nowhere = call("run", "countries", "--out", file / "o", "--sbatch", tmp_path / "n")
    assert (nowhere.code, "is a file, not a folder" in nowhere.err) == (2, True)
    assert not (tmp_path / "n").exists()


@dataclass
class Submitted:
    """A submitted process, as submitit shows it; `problem` is its error, of one that has ended."""

    job_id: str
    result_pickle: Path
    problem: Exception | None = None

    @property
    def paths(self) -> Submitted:
        return self

    def exception(self) -> Exception | None:
        assert self.result_pickle.exists(), "submitit would wait for ever"
        return self.problem

    def stderr(self) -> str:
        return f"a log\n{self.problem or 'killed'}\n"

    def result(self) -> str:
        return f"what {self.job_id} gave"


def waiting_in(folder: Path) -> Waiting:
    return Waiting(SharedWork(SharedPlace(folder), [], list, print, lambda: 1), Console())


def test_processes_that_were_killed_are_seen_in_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slurm, "QUEUED", 0.0)
    monkeypatch.setattr(slurm, "POLL", 0.001)
    looks: list[int] = []
    none, there, later = (tmp_path / name for name in ("none", "there", "later"))
    there.touch()
    jobs = [Submitted("8_0", none), Submitted("8_1", none), Submitted("8_2", later)]

    def queued(_: object) -> set[str]:
        looks.append(len(looks))
        if len(looks) > 4:
            later.touch()
        return {"8_1", "8_2"} if len(looks) > 1 else {"8_1"}

    monkeypatch.setattr(slurm, "queued", queued)
    first_end = partial(slurm._first_end, waiting_in(tmp_path), folder=tmp_path, slurm=True)
    assert first_end(jobs) == "what 8_2 gave"
    assert capsys.readouterr().out == "a process ended (8_0): killed\n"
    monkeypatch.setattr(slurm, "queued", lambda _: set())
    lost = [Submitted("9_0", none), Submitted("9_1", there, ValueError("no such model"))]
    with pytest.raises(RunError, match="none of 2 processes came to the end: killed; what was"):
        first_end(lost)


def test_the_queue_is_asked_once_for_an_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    jobs = [Submitted(number, tmp_path) for number in ("8_0", "8_1")]
    squeue = tmp_path / "squeue"
    for answer, numbers in {
        'case "$*" in *--jobs=8) echo 8_1;; esac': {"8_1"},
        "echo Invalid job id specified >&2; exit 1": set[str](),
        "echo Unable to contact slurm controller >&2; exit 1": {"8_0", "8_1"},
    }.items():
        squeue.write_text(f"#!/bin/sh\n{answer}\n")
        squeue.chmod(0o755)
        assert slurm.queued(jobs) == numbers


def test_a_store_that_is_away_does_not_end_the_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> list[str]:
        raise RunError("the store cannot be reached")

    monkeypatch.setattr(shared_work, "lines_of_shared", away)
    monkeypatch.setattr(shared_work, "EVERY", 0.0)
    waiting_in(tmp_path).tick()


def test_what_sbatch_refuses_is_said(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="needs the extra: slurm")
    for name, text in {
        "srun": "",
        "sbatch": "echo sbatch: error: no such partition >&2; exit 1",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    code, _, err = call("run", "countries", "--out", tmp_path / "o", "--slurm", "partition=none")
    assert (code, err) == (2, "error: --slurm: not submitted: sbatch: error: no such partition\n")


def test_submitit_starts_processes_that_share_a_run(
    call: Call, tiny: Tiny, done: Path, tmp_path: Path
) -> None:
    pytest.importorskip("submitit", reason="needs the extra: slurm")
    source = write_yaml(tmp_path / "run.yaml", tiny.config().settings)
    words = ("run", source, "--out", tmp_path / "runs", "--slurm", "cluster=local,workers=2")
    code, out, err = call(*words)
    assert (code, err) == (0, ""), out
    assert "submitted 2 processes" in out
    assert "report:" in out
    (folder,) = (tmp_path / "runs").glob("tiny-*")
    assert rows_of(folder).equals(rows_of(done))
    assert claims_of(folder) == claims_of(done)
    assert list((tmp_path / "runs" / "slurm").glob("*_log.out"))
