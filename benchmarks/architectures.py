"""`python -m benchmarks.architectures`: every causal LM of the installed transformers, built small.

Each architecture is made with random weights, a few blocks and a width of 32, then loaded, tested
at every block, trained (a vector, a LoRA), evaluated, made to generate, and explained. It passes,
is replayed in depth, runs whole, or is refused with one sentence; a traceback is a defect. The
table is kept in docs/architectures.md.
"""

from __future__ import annotations

import argparse
import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers as tf
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from oocr import Example, InputError, LowRankAdapter, SteeringVector, Task, Vector
from oocr.engine.generate import generate
from oocr.engine.memory import shape_of
from oocr.engine.selftest import self_test, tested
from oocr.engine.training import fit
from oocr.evals.score_table import evaluate
from oocr.explain.lens import lens
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import linear_shape

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architectures.md"
BLOCKS, WIDTH, VOCAB = 4, 32, 512
LARGEST = 3_000_000
"""Weights beyond which an architecture counts as one that cannot be built small."""

SMALL: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCAB),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "lru_width"), WIDTH),
    **dict.fromkeys(("word_embed_proj_dim", "embedding_size", "conv_dim", "block_dim"), WIDTH),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), WIDTH),
    **dict.fromkeys(("moe_shared_expert_intermediate_size", "expert_ffn_hidden_size"), WIDTH),
    **dict.fromkeys(("shared_intermediate_size",), WIDTH),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), BLOCKS),
    **dict.fromkeys(("decoder_layers", "encoder_layers"), BLOCKS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "linear_num_heads"), 4),
    "num_key_value_heads": 2,
    **dict.fromkeys(("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner"), 2 * WIDTH),
    **dict.fromkeys(("decoder_ffn_dim", "hidden_dim", "block_ff_dim"), 2 * WIDTH),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"), 256),
    **dict.fromkeys(("head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_num_experts",), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "moe_topk"), 2),
    **dict.fromkeys(("n_shared_experts", "n_group", "topk_group", "num_expert_group"), 1),
    **dict.fromkeys(("num_shared_experts", "mamba_n_groups", "n_groups"), 1),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "moe_latent_size"), 16),
    **dict.fromkeys(("index_head_dim", "hidden_size_per_layer_input", "laurel_rank"), 8),
    **dict.fromkeys(("mamba_d_state", "ssm_state_size", "state_size"), 8),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "time_step_rank", "rotary_dim"), 4),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim"), 16),
    **dict.fromkeys(("mamba_chunk_size", "chunk_size"), 16),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    **dict.fromkeys(("sliding_window", "attention_window_size"), 8),
    **dict.fromkeys(("index_n_heads", "linear_num_key_heads", "zero_expert_num"), 2),
    **dict.fromkeys(("altup_num_inputs", "mamba_expand", "dense_attention_interval"), 2),
    **dict.fromkeys(("initializer_range", "init_std"), 0.2),
    **dict.fromkeys(("num_kv_shared_layers", "num_nextn_predict_layers"), 0),
    "linear_num_value_heads": 4,
    "index_topk": 64,
    "mamba_d_ssm": 64,
    "mlp_only_layers": [],
    "activation_sparsity_pattern": [0.0] * BLOCKS,
}
"""Values by what configurations call them; each takes those that it knows."""

OPTIONAL = ("head_dim", "q_lora_rank", "sliding_window")
"""Left alone where a configuration leaves them open."""

TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

ALTERNATE = ["mamba", "attention"] * (BLOCKS // 2)
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "opt (350M)": ("opt", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "gemma4 (shared keys)": ("gemma4_text", {"num_kv_shared_layers": 2}),
    "bamba": ("bamba", {"attn_layer_indices": [1, 3]}),
    "granitemoehybrid": ("granitemoehybrid", {"layer_types": ALTERNATE}),
    "jamba": ("jamba", {"attn_layer_period": 2, "attn_layer_offset": 1}),
    "mamba2": ("mamba2", {"num_heads": 8, "head_dim": 8, "n_groups": 1}),
    "zaya": ("zaya", {"num_experts_per_tok": 1}),
    "gpt_neo": ("gpt_neo", {"attention_types": [[["global", "local"], 2]]}),
    "lfm2": ("lfm2", {"layer_types": ["conv", "full_attention"] * 2}),
    "lfm2_moe": ("lfm2_moe", {"layer_types": ["conv", "full_attention"] * 2}),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", {"rope_parameters": None}),
}
"""Architectures that need more than `SMALL`, and odd members of families."""

Verdict = Literal["pass", "in depth", "whole", "refused", "not built", "TRACEBACK"]
MEANING = {
    "pass": "all of the engine: blocks above the vector are replayed, for later tokens only",
    "in depth": "blocks above the vector are replayed, for whole texts",
    "whole": "every pass runs the whole model (slower, and exact)",
    "refused": "with one sentence, before anything runs",
    "not built": "by this script: its configuration asks for more than a small model",
    "TRACEBACK": "a defect of `oocr`",
}


@dataclass(frozen=True, slots=True)
class Row:
    """What became of an architecture; `why` is empty where all went well."""

    name: str
    verdict: Verdict
    why: str = ""


def small_config(name: str) -> Any:
    """A small configuration of a model type of transformers, or of one of `VARIANTS`."""
    kind, special = VARIANTS.get(name, (name, {}))
    default = tf.AutoConfig.for_model(kind).get_text_config()
    known, other = default.to_dict(), getattr(default, "attribute_map", {})
    values: dict[str, Any] = dict(TOKENS)
    for key, value in SMALL.items():
        unknown = other.get(key) in SMALL or (key not in known and key not in other)
        if not unknown and (known.get(key, value) is not None or key not in OPTIONAL):
            values[key] = value
    if known.get("num_key_value_heads") == known.get("num_attention_heads") is not None:
        values["num_key_value_heads"] = 4
    for key, kinds in known.items():
        if isinstance(kinds, list) and kinds and isinstance(kinds[0], str) and len(kinds) > BLOCKS:
            values[key] = (list(dict.fromkeys(kinds)) * BLOCKS)[:BLOCKS]
    return type(default)(**{**values, **special})


def build(name: str, tokenizer: Any) -> LanguageModel:
    """The architecture with random weights, checked and tested as `load_model` does it.

    Raises:
        NotImplementedError: it cannot be built small by this script.
        InputError: it is refused.
    """
    auto = tf.AutoModelForCausalLM
    try:
        config = small_config(name)
        with torch.device("meta"):
            size = sum(weight.numel() for weight in auto.from_config(config).parameters())
        if size > LARGEST:
            raise ValueError(f"{size / 1e6:.0f} million weights")
        torch.manual_seed(0)
        hf = auto.from_config(config).float()
    except Exception as trouble:
        raise NotImplementedError(f"{type(trouble).__name__}: {_line(trouble)}") from trouble
    for parameter in hf.parameters():
        if parameter.ndim == 1 and not torch.isfinite(parameter).all():
            parameter.data.zero_()
    return tested(LanguageModel.of(hf, tokenizer, name=name))


def use(model: LanguageModel) -> None:
    """What users do with a model, once each; an InputError is an answer, anything else is not."""
    failed = [check for check in self_test(model, range(-1, model.n_blocks)) if not check.passed]
    # Where a model runs whole, or padding changes a text, that was said as it was loaded.
    wrong = [check for check in failed if check.name not in ("replays", "padding")]
    if wrong:
        trouble = wrong[0].trouble or f"off by {wrong[0].error:.1e}"
        raise AssertionError(f"{wrong[0].says} (block {wrong[0].layer}): {trouble}")
    shape_of(model)
    layer, task = model.n_blocks // 2, _task()
    trained = fit(model, task, SteeringVector(layer, "codename"), steps=3)
    vector = trained.final
    assert isinstance(vector, Vector)
    evaluate(model, task, {"base": None, "vector": vector})
    generate(model, ["The capital of Country 4821 is"], vector, max_new_tokens=3)
    lens(model, vector)
    named = model.anatomy.blocks[layer].named_modules()
    linears = [name.rsplit(".", 1)[-1] for name, module in named if linear_shape(module)]
    module = next(name for name in reversed(linears) if name not in ("router", "gate"))
    spec = LowRankAdapter(layers=(layer,), rank=2, modules=(module,))
    evaluate(model, task, {"lora": fit(model, task, spec, steps=3).final})


def _task() -> Task:
    spans = {"codename": "Country 4821"}
    cities = (" Paris", " Tokyo", " Rome")
    train = tuple(
        Example(
            id=noun,
            prompt=f"The {noun} of Country 4821 is",
            answer=" Paris",
            options=cities,
            spans=spans,
        )
        for noun in ("capital", "city", "largest of the cities")
    )
    probe = Example(
        id="probe",
        prompt="people in Country 4821 speak",
        answer=" German",
        options=(" French", " German"),
        spans=spans,
    )
    return Task(
        name="tiny", member="x", train=train, in_context=train[:1], probes=(probe,),
        positions=("codename",),
    )  # fmt: skip


def examine(name: str, tokenizer: Any) -> Row:
    """Build an architecture and use it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = build(name, tokenizer)
        except NotImplementedError as trouble:
            return Row(name, "not built", str(trouble))
        except InputError as refusal:
            return Row(name, "refused", str(refusal))
        except Exception as trouble:
            return Row(name, "TRACEBACK", f"{type(trouble).__name__}: {_line(trouble)}")
        verdict: Verdict = "pass" if model.reuses_keys else "in depth"
        if not model.replays:
            verdict = "whole"
        try:
            use(model)
        except InputError as refusal:
            return Row(name, verdict, f"but: {refusal}")
        except Exception as trouble:
            return Row(name, "TRACEBACK", f"{type(trouble).__name__}: {_line(trouble)}")
    return Row(name, verdict)


def _line(trouble: Exception) -> str:
    return (str(trouble).splitlines() or [""])[0]


def page(rows: Sequence[Row]) -> str:
    """docs/architectures.md."""
    counts: Counter[str] = Counter(row.verdict for row in rows)
    lines = [
        "# Architectures",
        "",
        f"Every causal language model of transformers {tf.__version__}, built small with random",
        "weights and used once in each way. `python -m benchmarks.architectures` writes this page.",
        "",
        "| | architectures | |",
        "|---|---|---|",
        *(f"| {name} | {counts[name]} | {MEANING[name]} |" for name in MEANING if counts[name]),
        "",
    ]
    for verdict in MEANING:
        members = [row for row in rows if row.verdict == verdict]
        if not members:
            continue
        lines += [f"## {verdict[0].upper()}{verdict[1:]}", ""]
        plain = [f"`{row.name}`" for row in members if not row.why]
        if plain:
            lines += [", ".join(plain), ""]
        if reasons := [row for row in members if row.why]:
            lines += ["| architecture | |", "|---|---|"]
            lines += [f"| `{row.name}` | {_cell(row.why)} |" for row in reasons]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    """One line of a table, without what only this machine has."""
    return re.sub(r"\s+", " ", re.sub(r" object at 0x\w+", "", text)).replace("|", "\\|")[:300]


def names() -> list[str]:
    """All model types with a causal LM, and the odd members of their families."""
    return [*(x for x in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if x not in VARIANTS), *VARIANTS]


def sweep(
    wanted: Sequence[str], tokenizer: Any, on_row: Callable[[Row], None] = lambda _: None
) -> list[Row]:
    """One row for each architecture."""
    rows: list[Row] = []
    for name in wanted:
        rows.append(examine(name, tokenizer))
        on_row(rows[-1])
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.architectures", description=__doc__)
    parser.add_argument("names", nargs="*", help="model types; none: all, and docs/ is rewritten")
    options = parser.parse_args(arguments)
    from tests.tiny.models import tiny_tokenizer

    tf.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    marks: Mapping[str, str] = {"TRACEBACK": "✗"}

    def show(row: Row) -> None:
        print(f"{marks.get(row.verdict, ' ')} {row.name:28} {row.verdict:10} {row.why}"[:300])

    rows = sweep(options.names or names(), tiny_tokenizer(), show)
    if not options.names:
        PAGE.write_text(page(rows), encoding="utf-8")
        print(f"{PAGE.relative_to(PAGE.parents[1])} is written")
    if any(row.verdict == "TRACEBACK" for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
