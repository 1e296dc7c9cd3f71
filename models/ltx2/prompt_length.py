"""How much of a text the model reads: the pipeline cuts off the rest without a word. Knows no torch."""

from collections.abc import Iterator
from typing import Any

from models.request.adjustments import Adjustment, truncation
from models.request.request import VideoRequest

MAX_TOKENS = 1024
"""What LTX2Pipeline reads unless it is told otherwise, and what LTX-2 was trained with."""
OWN_TOKENS = 2
"""Tokens that a tokenizer may put around a text."""


def find_truncations(request: VideoRequest, tokenizer: Any) -> Iterator[Adjustment]:
    """The texts that `request` brings, as it is rendered, and that are longer than the model reads."""
    read = {"prompt": request.prompt}
    if request.uses_cfg:
        read["negative_prompt"] = request.negative_prompt
    for field, text in read.items():
        if field in request.model_fields_set and (tokens := count_tokens(text, tokenizer)) > MAX_TOKENS:
            yield truncation(field, tokens, MAX_TOKENS)


def count_tokens(text: str, tokenizer: Any) -> int:
    """The tokens of a text, counted only where they can be too many: none is shorter than a byte."""
    most = len(text.encode()) + OWN_TOKENS
    return most if most <= MAX_TOKENS else len(tokenizer(text.strip(), verbose=False).input_ids)
