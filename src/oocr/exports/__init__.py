"""Vectors as other tools read them; what a tool's format cannot express is refused."""

from oocr.exports.gguf import write_gguf
from oocr.exports.lm_eval import write_lm_eval
from oocr.exports.peft import peft_adapter
from oocr.interventions.gguf_file import read_gguf

__all__ = ["peft_adapter", "read_gguf", "write_gguf", "write_lm_eval"]
