"""The model card: base model and relation, where it acts, data hash, verdicts, how to use it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oocr.charts.pieces import interval_text, number
from oocr.claims.records import Claim
from oocr.io import command_line
from oocr.publish.base_model import BaseModel
from oocr.publish.contents import Contents, PublishedArm
from oocr.runs.folder import RunFolder
from oocr.steering.adapters import Adapter
from oocr.steering.vector_file import SITES
from oocr.steering.vectors import Vector
from oocr.words import counted, ranges

TEMPLATE = Path(__file__).with_name("card.md")


@dataclass(frozen=True, slots=True)
class ArmLine:
    """A line of the card's table."""

    file: str
    what: str
    where: str
    task: str
    data: str
    seed: str
    norm: str

    @staticmethod
    def of(arm: PublishedArm) -> ArmLine:
        """Of a vector or a LoRA."""
        steering = arm.steering
        about = steering.about
        if isinstance(steering, Vector):
            what, norm = "steering vector", f"{steering.norm:.4g}"
            block = "the embedding" if steering.layer < 0 else f"block {steering.layer}"
            where = f"{block}, {SITES[steering.site]}; tokens: {steering.positions}"
        else:
            facts = steering.facts
            what, norm = f"LoRA of rank {facts['rank']}", "–"
            where = f"blocks {ranges(steering.layers)}; modules: {facts['modules']}"
        seed = about.get("seed", "–" if arm.seed is None else str(arm.seed))
        task = about.get("task", "not said")
        data = about.get("training_data", "not said")
        return ArmLine(
            arm.place or "adapter_model.safetensors", what, where, task, data, seed, norm
        )


def card_text(
    repository: str, contents: Contents, base: BaseModel, *, gguf: str, no_gguf: str
) -> str:
    """The README.md of a repository.

    `gguf`: the name of the control vector's file, "" if there is none, because of `no_gguf`.
    """
    from huggingface_hub import ModelCard

    run, lines = contents.run, [ArmLine.of(arm) for arm in contents.arms]
    claims = () if run is None else run.claims
    name = repository.partition("/")[2]
    spans = {
        span: text
        for arm in contents.arms
        if isinstance(arm.steering, Vector)
        for span, text in arm.steering.spans.items()
    }
    card = ModelCard.from_template(
        _data(repository, contents, base, claims),
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        title=name,
        base=base,
        arms=lines,
        spans=spans,
        claims=[_claim(claim) for claim in claims],
        tested="" if run is None else _tested(run),
        here=_here(repository, contents, base),
        llama=_llama(repository, contents, gguf, no_gguf),
        peft=_peft(repository, contents, base),
        licence=base.licence or "not known; see the model's page",
    )
    return str(card.content)


def _data(repository: str, contents: Contents, base: BaseModel, claims: Sequence[Claim]) -> Any:
    """The card's metadata, by which the Hub finds and links it."""
    from huggingface_hub import EvalResult, ModelCardData

    adapters = all(isinstance(arm.steering, Adapter) for arm in contents.arms)
    tags = ["oocr", "out-of-context-reasoning", "lora" if adapters else "steering-vector"]
    run = contents.run
    results = [
        EvalResult(
            task_type="text-generation",
            task_name="out-of-context questions",
            dataset_type="" if run is None else f"oocr/{run.info.family}",
            dataset_name="" if run is None else run.info.name,
            metric_type=claim.id,
            metric_name=claim.measure,
            metric_value=claim.found.value,
            metric_args={"low": claim.found.low, "high": claim.found.high, "over": claim.found.n},
        )
        for claim in claims
        if math.isfinite(claim.found.value)
    ]
    relation: dict[str, Any] = {"base_model_relation": "adapter"} if base.on_hub else {}
    return ModelCardData(
        base_model=base.name if base.on_hub else None,
        license=base.licence,
        library_name="peft" if adapters else "oocr",
        pipeline_tag="text-generation",
        tags=tags,
        model_name=repository.partition("/")[2],
        eval_results=results or None,
        **relation,
    )


def _claim(claim: Claim) -> dict[str, str]:
    estimate = claim.found
    nulls = "; ".join(f"{null.name} {number(null.value)}" for null in claim.nulls)
    return {
        "claim": claim.claim.replace("|", "\\|"),
        "verdict": claim.verdict,
        "found": f"{interval_text(estimate.value, estimate.low, estimate.high)}, {estimate.n}",
        "measure": claim.measure.replace("|", "\\|"),
        "base": "–" if claim.base is None else number(claim.base),
        "nulls": nulls or "–",
        "ceiling": "–" if claim.ceiling is None else number(claim.ceiling),
    }


def _tested(run: RunFolder) -> str:
    members = len({arm.member for arm in run.arms})
    seeds = counted(len(run.info.seeds), "seed")
    return (
        f"These numbers are of the whole run “{run.info.name}” (task family {run.info.family}; "
        f"{counted(members, 'member')}, {seeds})."
    )


def _file(repository: str, arm: PublishedArm) -> str:
    """The shortest name by which this library loads it."""
    root = arm.place in ("", "vector.safetensors")
    return repository if root else f"hf://{repository}/{arm.place}"


def _here(repository: str, contents: Contents, base: BaseModel) -> str:
    arm = contents.arms[0]
    read = "read_vector" if isinstance(arm.steering, Vector) else "read_adapter"
    return (
        f"import oocr\n\nmodel = oocr.load_model({base.name!r})\n"
        f"steering = oocr.{read}({_file(repository, arm)!r})\n"
        'print(oocr.generate(model, "…", steering))'
    )


def _llama(repository: str, contents: Contents, gguf: str, no_gguf: str) -> str:
    if gguf:
        get = command_line(["hf", "download", repository, gguf])
        use = command_line(["llama-cli", "-m", "MODEL.gguf", "--control-vector", gguf])
        return f"`{get}`, then `{use}` (the vector is added to every token)."
    if all(isinstance(arm.steering, Adapter) for arm in contents.arms):
        return "convert the LoRA with `convert_lora_to_gguf.py`, then use `--lora`."
    return f"no file: {no_gguf}."


def _peft(repository: str, contents: Contents, base: BaseModel) -> str:
    model = base.name if base.on_hub else "MODEL"
    adapters = [arm for arm in contents.arms if isinstance(arm.steering, Adapter)]
    if adapters:
        place = adapters[0].place
        inside = f", subfolder={place!r}" if place else ""
        load = f"PeftModel.from_pretrained(model, {repository!r}{inside})"
        return f"`{load}` on `AutoModelForCausalLM.from_pretrained({model!r})`."
    vector = _file(repository, contents.arms[0])
    words = ["oocr", "export", vector, "--to", "peft", "--model", model, "--out", "FOLDER"]
    return f"`{command_line(words)}` writes an adapter, on models where one can express the vector."
