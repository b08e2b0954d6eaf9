"""Files of other tools, a module for each format; public as `oocr.exports`."""

from oocr.steering.formats.gguf_vector import read_gguf, write_gguf
from oocr.steering.formats.lm_eval import write_lm_eval
from oocr.steering.formats.peft import peft_adapter

__all__ = ["peft_adapter", "read_gguf", "write_gguf", "write_lm_eval"]
