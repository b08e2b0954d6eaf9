"""Files of other tools, a module for each format; public as `oocr.exports`."""

from oocr.steering.formats.easysteer import write_easysteer
from oocr.steering.formats.gguf_vector import read_gguf, write_gguf
from oocr.steering.formats.lm_eval import write_lm_eval
from oocr.steering.formats.neuronpedia import write_neuronpedia
from oocr.steering.formats.peft import peft_adapter
from oocr.steering.formats.vllm_lens import write_vllm_lens

__all__ = [
    "peft_adapter",
    "read_gguf",
    "write_easysteer",
    "write_gguf",
    "write_lm_eval",
    "write_neuronpedia",
    "write_vllm_lens",
]
