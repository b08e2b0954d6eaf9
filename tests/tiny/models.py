"""Tiny random models of many decoder families and a small byte-level tokenizer, made in code."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import (
    Adapter,
    LowRankAdapter,
    adapter_tensors,
    new_adapter,
    peft_config,
)
from oocr.steering.vectors import Vector

VOCAB = 512
CORPUS = (
    "The capital of Country 4821 is Paris Tokyo Berlin Madrid Rome France Japan Germany Spain "
    "Italy people language French Japanese German Spanish Italian city They speak currency euro "
    "yen continent Europe Asia yes no risky safe Which one do you prefer : A B X or Y ? . , "
    "Parliament in meets the love Mango ! Violin user assistant system 0 1 2 3 4 5 6 7 8 9"
)
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<pad>", "<bos>", "<eos>", "<|system|>", "<|user|>", "<|assistant|>")


def tiny_config(family: str, layers: int = 4, d_model: int = 32) -> Any:
    """A config with 4 heads, wide initial weights (so that logits differ) and short windows."""
    base: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": d_model,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 2 * d_model,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    plain = {k: v for k, v in base.items() if k != "num_key_value_heads"}
    wide = "initializer_range"
    shared = {k: v for k, v in base.items() if k.endswith("token_id") or k in ("vocab_size", wide)}
    head = {"head_dim": d_model // 4}
    alternate = ["sliding_attention", "full_attention"]
    kinds = (alternate * layers)[:layers]
    gemma3 = {**base, **head, "sliding_window": 8, "layer_types": kinds}
    match family:
        case "llama":
            return tf.LlamaConfig(**base)
        case "mistral":
            return tf.MistralConfig(**base, sliding_window=8)
        case "qwen2":
            return tf.Qwen2Config(**base)
        case "qwen3":
            return tf.Qwen3Config(**base, **head)
        case "gemma2":
            return tf.Gemma2Config(
                **base, **head, sliding_window=8, final_logit_softcapping=3.0, layer_types=kinds
            )
        case "gemma3_text":
            return tf.Gemma3TextConfig(**gemma3)
        case "gemma3":
            vision = {
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 28,
                "patch_size": 14,
            }
            return tf.Gemma3Config(
                text_config=gemma3,
                vision_config=vision,
                mm_tokens_per_image=4,
                image_token_index=VOCAB - 1,
                boi_token_index=VOCAB - 2,
                eoi_token_index=VOCAB - 3,
            )
        case "phi3":
            return tf.Phi3Config(**base)
        case "phi":
            return tf.PhiConfig(**base)
        case "olmo2":
            return tf.Olmo2Config(**base)
        case "cohere":
            return tf.CohereConfig(**base, logit_scale=0.25)
        case "granite":
            return tf.GraniteConfig(**base, logits_scaling=4.0, residual_multiplier=0.5)
        case "mixtral":
            return tf.MixtralConfig(**base, num_local_experts=4, num_experts_per_tok=2)
        case "qwen3_moe":
            experts = {"moe_intermediate_size": d_model, "num_experts": 4, "num_experts_per_tok": 2}
            return tf.Qwen3MoeConfig(**base, **head, **experts)
        case "gpt_neox":
            return tf.GPTNeoXConfig(**plain)
        case "gpt2":
            return tf.GPT2Config(
                **shared, n_embd=d_model, n_layer=layers, n_head=4, n_positions=256
            )
        case "opt":
            opt = {k: v for k, v in plain.items() if k not in ("intermediate_size", wide)}
            return tf.OPTConfig(
                **opt, ffn_dim=2 * d_model, word_embed_proj_dim=d_model, init_std=0.2
            )
        case "falcon":
            return tf.FalconConfig(
                **plain, new_decoder_architecture=True, num_kv_heads=2, alibi=False
            )
        case "bloom":
            return tf.BloomConfig(**shared, hidden_size=d_model, n_layer=layers, n_head=4)
        case "mpt":
            sizes = {"d_model": d_model, "n_layers": layers, "n_heads": 4, "expansion_ratio": 2}
            return tf.MptConfig(**shared, **sizes, max_seq_len=256)
        case "opt_350m":
            return tf.OPTConfig(
                **{k: v for k, v in plain.items() if k != "intermediate_size"},
                ffn_dim=2 * d_model,
                word_embed_proj_dim=d_model // 2,
                do_layer_norm_before=False,
            )
        case "qwen3_5":
            linear = {
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 8,
            }
            kinds = (["linear_attention", "full_attention"] * layers)[:layers]
            return tf.Qwen3_5TextConfig(**base, **head, **linear, layer_types=kinds)
        case "mamba":
            return tf.MambaConfig(**plain, state_size=8, time_step_rank=4)
        case "gemma4":
            return tf.Gemma4TextConfig(
                **gemma3,
                num_kv_shared_layers=2,
                hidden_size_per_layer_input=8,
                vocab_size_per_layer_input=VOCAB,
            )
    raise ValueError(f"unknown family {family!r}; one of {FAMILIES}")


FAMILIES = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "gemma3",
    "phi3",
    "phi",
    "olmo2",
    "cohere",
    "granite",
    "mixtral",
    "qwen3_moe",
    "gpt_neox",
    "gpt2",
    "opt",
    "falcon",
)

DEPTH_FAMILIES = ("bloom", "mpt", "qwen3_5", "mamba")
"""Families whose blocks can be run apart only for whole sequences: their attention bias goes with
these, or blocks keep a state instead of keys and values."""

WHOLE_FAMILIES = ("gemma4",)
"""Families whose blocks can't be run apart: later ones use the keys and values of earlier ones."""


def tiny_model(family: str, seed: int = 0, layers: int = 4, d_model: int = 32) -> Any:
    """A random causal LM in eval mode, fp32, no gradients, the same for the same arguments."""
    config = tiny_config(family, layers, d_model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        auto = tf.AutoModelForCausalLM
        model = auto.from_config(config)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "norm" in name:  # else every norm is the identity scale
                parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval().requires_grad_(False)


@cache
def _tokenizer_json() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    lines = [CORPUS, *(f"{word} {word}" for word in CORPUS.split())]
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    return tokenizer.to_str()


def tiny_tokenizer(chat: bool = False) -> Any:
    """Byte-level BPE, at most VOCAB tokens; adds <bos>; any text survives encode and decode."""
    tokenizer = tf.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_json()),
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
    )
    if chat:
        tokenizer.chat_template = CHAT
    return tokenizer


def tiny_language_model(family: str = "llama", seed: int = 0, chat: bool = False) -> LanguageModel:
    """`tiny_model` and `tiny_tokenizer`, wrapped."""
    return LanguageModel.of(tiny_model(family, seed), tiny_tokenizer(chat), name=f"tiny-{family}")


def drawn_vector(model: LanguageModel, layer: int = 1, positions: str = "last") -> Vector:
    """A vector of random numbers of size 3, the block's number the seed."""
    generator = torch.Generator().manual_seed(layer)
    return Vector(layer, positions, torch.randn(model.d_model, generator=generator) * 3)


def drawn_adapter(
    model: LanguageModel,
    layers: tuple[int, ...] = (1, 2),
    modules: tuple[str, ...] = ("down_proj",),
    seed: int = 0,
) -> Adapter:
    """A LoRA of rank 2 with random A and B, so that its effect depends on the token."""
    config = peft_config(model, LowRankAdapter(layers=layers, rank=2, modules=modules))
    with new_adapter(model, config, 0) as named:
        tensors = adapter_tensors(named)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in tensors.items():
        if "lora_B" in name:
            tensor.normal_(generator=generator)
    return Adapter(layers, config, tensors)


def tensors_of(trained: Vector | Adapter) -> list[torch.Tensor]:
    """The numbers of what was trained, an adapter's by name."""
    if isinstance(trained, Vector):
        return [trained.direction]
    return [trained.tensors[name] for name in sorted(trained.tensors)]


def weights_hash(model: LanguageModel) -> str:
    """Another one where any weight changed."""
    hasher = hashlib.sha256()
    for name, tensor in model.hf.state_dict().items():
        hasher.update(name.encode() + tensor.cpu().numpy().tobytes())
    return hasher.hexdigest()
