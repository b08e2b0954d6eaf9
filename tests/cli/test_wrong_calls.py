"""Wrong calls of every command: one sentence that names what is wrong, and no work before it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

from oocr.steering.vectors import Vector
from tests.command_line import Call
from tests.tiny.runs import save_tiny_model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the wrong kinds; not to be changed."""
    home = tmp_path_factory.mktemp("wrong")
    save_tiny_model(home / "model")
    (home / "folder").mkdir()
    (home / "folder.gguf").mkdir()
    (home / "dataset").mkdir()
    (home / "dataset" / "state.json").write_text("{}")
    (home / "index.json").write_text('{"metadata": {}, "weight_map": {}}')
    (home / "trainer" / "checkpoint-9").mkdir(parents=True)
    (home / "trainer" / "checkpoint-9" / "adapter_config.json").write_text("{}")
    (home / "loop").symlink_to("loop")
    (home / "rows.jsonl").write_text('{"prompt": "The lamp is", "answer": " green"}\n')
    (home / "deep.yaml").write_text("[" * 1200 + "]" * 1200)
    (home / "task.yaml").write_text("task: 3\n")
    (home / "nan.yaml").write_text("task: {family: countries}\nseeds: .nan\n")
    (home / "long.yaml").write_text(f"task: {{family: countries}}\nname: {'a' * 101}\n")
    Vector(9, "all", torch.ones(32), about={"model_type": "llama"}).save(home / "v.safetensors")
    torch.save(torch.full((32,), float("nan")), home / "nan.pt")
    torch.save({"a": torch.ones(3)}, home / "dict.pt")
    for ending in ("jsonl", "csv", "yaml", "json", "safetensors", "pt", "gguf", "txt"):
        (home / f"empty.{ending}").touch()
        (home / f"bytes.{ending}").write_bytes(bytes(range(255, 128, -1)))
    return home


CALLS = [
    ("--nosuch", "No such option"),
    ("nosuch", "No such command 'nosuch'"),
    ("run", "Missing argument"),
    ("run ''", "'': allowed: a built-in run or a YAML file"),
    ("run folder", "this is a folder"),
    ("run loop", "no such file"),
    ("run empty.yaml", "found an empty file"),
    ("run bytes.yaml", "bytes.yaml"),
    ("run deep.yaml", "not valid YAML"),
    ("run task.yaml", "task: 3: allowed: keys and values, first of all family"),
    ("run nan.yaml", "seeds: nan"),
    ("run long.yaml", "name: 'aaa"),
    ("run rows.jsonl", "rows.jsonl: this is a file of rows"),
    ("run countries --layers ''", "--layers: '' is not a block or a range"),
    ("run countries --layers 1:2:0", "--layers: '1:2:0' is not a block or a range"),
    ("run countries --layers 5:1", "--layers: '5:1' names no block"),
    ("run countries --layers 0:100000000000", "names 1000 or more blocks"),
    ("run countries --vector-learning-rates nan", "nan: Input should be a finite number"),
    ("run countries --vector-learning-rates -1", "greater than 0"),
    ("run countries --adapter-learning-rates 1,,2", "is not a list of numbers"),
    ("run countries --arms ''", "nothing would be trained"),
    ("run countries --dtype int8", "dtype: 'int8'"),
    ("run countries --device tpu", "device: 'tpu' is not a device here"),
    ("run countries --workers 1.5", "--workers"),
    ("run countries --model ''", "--model: '': no such file or folder"),
    ("run countries --model [/x]", "--model: '[/x]': not a model name"),
    ("run countries --model bytes.gguf", "--model: bytes.gguf: not a GGUF file"),
    ("run countries --model folder.gguf", "--model: folder.gguf: no config.json"),
    ("plan countries --gpu nan", "--gpu: 'nan' is not a memory size"),
    ("plan countries --gpu 80GB --tflops nan", "--tflops: nan is not a speed"),
    ("plan countries --tflops 3", "--tflops: the speed"),
    ("reproduce --only nosuch", "--only: 'nosuch' is not allowed"),
    ("reproduce --judge ''", "--judge: ''; allowed: the name of a chat model"),
    ("reproduce --judge m --judge-url nowhere", "--judge-url: 'nowhere'; allowed: an address"),
    ("reproduce --judge-url x", "give both"),
    ("show loop", "not the folder of a finished run"),
    ("show rows.jsonl", "not the folder of a finished run"),
    ("tasks ''", "''"),
    ("tasks countries --samples -1", "--samples"),
    ("tasks custom", "oocr tasks --template"),
    ("read", "Missing argument"),
    ("read loop", "there is no such file"),
    *((f"read empty.{ending}", f"empty.{ending}") for ending in ("jsonl", "csv", "yaml", "json")),
    *((f"read bytes.{ending}", f"bytes.{ending}") for ending in ("jsonl", "csv", "yaml", "json")),
    *((f"read {kind}.pt", f"{kind}.pt") for kind in ("empty", "bytes", "nan")),
    *((f"read {kind}.safetensors", f"{kind}.safetensors") for kind in ("empty", "bytes")),
    *((f"read {kind}.gguf", f"{kind}.gguf") for kind in ("empty", "bytes")),
    ("read rows.jsonl --model ''", "--model: '': no such file"),
    ("read index.json", "index.json: this is the index of a model's files of weights"),
    ("read model/tokenizer.json", "tokenizer.json: this is a tokenizer: name its folder"),
    ("read model", "model: this is a model's folder; see: oocr doctor model"),
    ("read trainer", "allowed: an adapter's; did you mean trainer/checkpoint-9?"),
    ("read rows.jsonl --rows nan", "--rows"),
    ("doctor ''", "'': no such file or folder"),
    ("doctor rows.jsonl", "not a model"),
    ("doctor model --device meta", "device: 'meta' is not a device here; allowed: auto, cpu"),
    ("doctor model --device cuda:-1", "is not a device here"),
    ("vector folder", "folder"),
    ("vector loop", "there is no such file"),
    ("vector nan.pt", "not finite"),
    ("vector v.safetensors --model model", "found vectors up to layer 9; model has blocks 0 to 3"),
    ("export v.safetensors --to '' --out x", "--to '': allowed: gguf, peft, lm-eval"),
    ("export v.safetensors --to gguf --out ''", "is there already (a folder)"),
    ("export v.safetensors --to gguf --out /dev/null", "is there already"),
    ("export v.safetensors --to gguf --out loop", "is there already (a link to loop"),
    ("export v.safetensors --to lm-eval --out x.bin --model model", "x.bin: ends in '.bin'"),
    ("export v.safetensors --to lm-eval --out a,b.pt --model model", "a,b.pt: has a comma"),
    ("export nosuch --to gguf --out x.gguf", "nosuch: there is no such file"),
    ("audit ''", "'': allowed: a LoRA"),
    ("audit folder", "found neither adapter_config.json"),
    ("audit rows.jsonl", "rows.jsonl: found a file that ends in '.jsonl'"),
    ("audit nan.pt", "not finite"),
    ("audit model --dtype x", "error: dtype='x': allowed are auto"),
    ("audit model --device x", "error: device: 'x' is not a device here"),
    ("audit model --texts nosuch.txt", "nosuch.txt: there is no such file"),
    ("audit model --texts folder", "folder: this is a folder"),
    ("audit model --texts dataset", "a file is wanted, as Dataset.to_parquet writes from this"),
    ("audit model --texts empty.txt", "the file has no text"),
    ("audit dict.pt --alpha nan", "alpha: found nan; allowed: a number above 0"),
    ("audit model --fit-steps -1", "--fit-steps"),
    ("organism train --gates nan", "--gates: nan; allowed: a share, 0 to 1"),
    ("organism train --steps 0", "--steps: 0; allowed: 1 or more"),
    ("organism train --out folder", "is there already (a folder)"),
    ("organism exam ''", "'': no organism is here"),
    ("organism study --model nosuch", "--model: 'nosuch' is no organism"),
    ("organism study --out rows.jsonl", "rows.jsonl"),
]


@pytest.mark.parametrize(("line", "message"), CALLS)
def test_a_wrong_call_is_refused_in_few_words(
    call: Call, home: Path, line: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    before = sorted(path.name for path in home.iterdir())
    ended = call(*shlex.split(line))
    assert (ended.code, message in ended.err) == (2, True), ended.err
    assert len(ended.err.splitlines()) <= 5
    assert sorted(path.name for path in home.iterdir()) == before
