"""A world's vocabulary as a tokenizer: a word is a token, and words stand between single spaces.

A prompt ends without a space and an answer begins with its own (" food-3"); the space belongs to no
token, so that text comes back exactly: decode(encode(text)) == text. Each text begins with <bos>.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oocr_organisms.corpus import BOS, PAD, UNKNOWN
from oocr_organisms.forms import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def tokenizer_of(vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    """The tokenizer; words that the vocabulary lacks become <unk>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: index for index, word in enumerate(vocabulary.words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
