"""Calls of `oocr` and of others' clients against a Hub whose address is in HF_ENDPOINT.

A process of its own, because huggingface_hub reads that address when it is imported:
`python -m tests.publish.hub_client FOLDER`. It writes what came out to FOLDER/results.json.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, hf_hub_download

import oocr
from oocr.audit.source import fine_tune_of
from oocr.cli import main as cli
from oocr.errors import InputError
from oocr.hub_files import HUB_FILE
from oocr.play.sources import read_word
from oocr.runs.read_config import load_configs
from oocr.runs.resolve import resolve
from tests.publish.hub_stand_in import TOKEN


def call(*words: object) -> tuple[int, str, str]:
    """`oocr …`: its exit code, output and errors."""
    sys.argv = ["oocr", *map(str, words)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


def refused(work: Any) -> str:
    """What an InputError says; "" if there was none."""
    try:
        work()
    except InputError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    run = next(folder.glob("runs/*/run.json")).parent
    vector = next((run / "arms").glob("test-vector-*/vector.safetensors"))
    adapter = next((run / "arms").glob("test-adapter-*/adapter"))
    results: dict[str, Any] = {}
    results["dry"] = call("publish", vector, "me/japan", "--dry-run", "--out", folder / "kept")
    os.environ["HF_TOKEN"] = "hf_wrong"
    results["wrong token"] = call("publish", vector, "me/japan")
    os.environ["HF_TOKEN"] = TOKEN
    results["vector"] = call("publish", vector, "me/japan")
    results["made public"] = call("publish", vector, "me/japan", "--public")
    results["lora"] = call("publish", adapter, "me/lora", "--public")
    results["run"] = call("publish", run, "me/whole", "--public")
    every = oocr.Vector.load(vector).at("all").about | {"model_type": "llama"}
    whole = oocr.Vector(2, "all", oocr.Vector.load(vector).direction, about=every)
    file = whole.save(folder / "everywhere.safetensors")
    results["of a base"] = call("publish", file, "me/everywhere", "--base", "me/base")
    results["read vector"] = call("vector", "me/japan")
    results["read lora"] = call("read", "me/lora")
    results["read file"] = call("read", "hf://me/japan/vector.safetensors")
    results["read rows"] = call("read", "hf://datasets/me/rows/train.jsonl")
    results["read config"] = call("read", "hf://me/lora/adapter_config.json")
    exported = ("export", "me/japan", "--everywhere", "--out")
    results["exported"] = call(*exported, folder / "v.json", "--to", "vllm-lens")
    inside = next(name for name in hub_names("me/whole") if name.startswith("vectors/"))
    results["inside"] = call("vector", f"hf://me/whole@main/{inside}")

    words = ("me/japan", "me/lora", f"hf://me/whole@main/{inside}")
    results["to play with"] = [type(read_word(word)).__name__ for word in words]

    loaded = oocr.Vector.load("me/japan@main")
    results["same vector"] = loaded.cosine(oocr.Vector.load(vector))
    results["recorded"] = loaded.about[HUB_FILE]
    lora = oocr.read_adapter("me/lora")
    results["lora recorded"] = lora.about[HUB_FILE]
    card = ModelCard.load("me/japan")
    results["card"] = card.data.to_dict()
    results["file"] = Path(hf_hub_download("me/japan", "vector.safetensors")).read_bytes().hex()
    results["loaded by"] = with_others()
    inside = next(name for name in hub_names("me/whole") if name.startswith("adapters/"))
    folder_of_lora = f"hf://me/whole/{inside.rpartition('/')[0]}"
    results["audited"] = fine_tune_of(folder_of_lora, checkpoint=False, alpha=None).what

    settings = {
        "task": {
            **{"family": "custom", "name": "rows", "probes": "probes.jsonl"},
            "train": "hf://datasets/me/rows/train.jsonl",
        },
        "model": "nano",
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (config,) = load_configs(folder / "mine.yaml")
    resolved = resolve(config, folder)
    results["rows"] = [example.prompt for example in resolved.tasks.test[0].train]
    results["resolved"] = yaml.safe_load(resolved.config.yaml())["task"]["train"]
    if importlib.util.find_spec("datasets"):
        from datasets import load_dataset

        table = load_dataset("me/rows", data_files="train.jsonl", split="train")
        results["datasets"] = len(table)

    results["refused"] = {
        "none": refused(lambda: oocr.Vector.load("me/none")),
        "revision": refused(lambda: oocr.Vector.load("me/japan@v9")),
        "file": refused(lambda: oocr.read_vector("hf://me/japan/other.safetensors")),
        "several": refused(lambda: oocr.read_vector("me/whole")),
        "lora": refused(lambda: oocr.read_adapter("me/japan")),
        "rows": refused(lambda: oocr.read_items("hf://datasets/me/none/x.jsonl", kind="train")),
        "address": refused(lambda: oocr.read_vector("hf://me")),
    }
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")


def hub_names(id: str) -> list[str]:
    from huggingface_hub import HfApi

    return list(HfApi().list_repo_files(id))


def with_others() -> dict[str, bool]:
    """PEFT, and transformers alone, load the LoRA from the Hub: it acts as it does here."""
    import torch
    from peft import PeftModel

    model, again = oocr.load_model("nano"), oocr.load_model("nano")
    ids = torch.tensor([[1, 5, 9, 12]])
    untouched = model.hf(input_ids=ids).logits
    with oocr.read_adapter("me/lora").on(model):
        here = model.hf(input_ids=ids).logits
    again.hf.load_adapter("me/lora")
    loaded = {"peft": PeftModel.from_pretrained(model.hf, "me/lora"), "transformers": again.hf}
    return {"differs from the untouched model": not torch.allclose(untouched, here, atol=1e-5)} | {
        name: torch.allclose(client(input_ids=ids).logits, here, atol=1e-5)
        for name, client in loaded.items()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
