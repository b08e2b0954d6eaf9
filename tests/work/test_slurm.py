"""Slurm: the request, the script, and (where submitit is installed) its local executor."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from oocr.cli.options import shared_words
from oocr.errors import InputError
from oocr.work.slurm import SlurmRequest, minutes_of, script
from tests.command_line import Call
from tests.tiny_run import Tiny, claims_of, rows_of, write_yaml


def test_a_request_in_words() -> None:
    request = SlurmRequest.of("gpu:2, time=1d12h,workers=8,cpus=4,partition=long,exclusive")
    assert (request.gpus, request.minutes, request.workers, request.cpus) == (2, 36 * 60, 8, 4)
    assert request.options == {"partition": "long", "exclusive": ""}
    assert SlurmRequest.of("") == SlurmRequest()
    for text in ("workers=none", "time=soon", "GPU", "gpu:x", "cluster=mine", "partition="):
        with pytest.raises(InputError, match=f"--slurm: '{text}' is not understood; allowed: gpu"):
            SlurmRequest.of(text)


def test_times_in_minutes() -> None:
    times = {"4h": 240, "90m": 90, "90min": 90, "02:30:00": 150, "1-00:00:00": 1440, "": 0}
    assert {text: minutes_of(text) for text in times} == times
    assert minutes_of("4 hours") == 0


def test_the_script_is_bash_and_starts_an_array(tmp_path: Path) -> None:
    request = SlurmRequest.of("gpu:1,time=4h,workers=8,partition=long")
    text = script(request, ["work", "my run.yaml", "--out", "/shared runs"], tmp_path)
    assert text.startswith("#!/bin/bash\n#SBATCH")
    for line in ("--array=0-7", "--gres=gpu:1", "--time=240", "--partition=long", "--requeue"):
        assert f"#SBATCH {line}\n" in text
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
