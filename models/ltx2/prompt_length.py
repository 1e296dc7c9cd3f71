"""Finds texts that the pipeline would truncate without a message. Does not import torch."""

from collections.abc import Iterator
from typing import Any

from models.request.adjustments import Adjustment, truncation
from models.request.request import VideoRequest

MAX_TOKENS = 1024
"""LTX2Pipeline's default maximum, and the length in LTX-2's training."""
OWN_TOKENS = 2
"""Tokens that a tokenizer may add around a text."""


def find_truncations(request: VideoRequest, tokenizer: Any) -> Iterator[Adjustment]:
    """The texts given in `request` that are longer than the model reads. `request` must be adjusted already."""
    read = {"prompt": request.prompt}
    if request.uses_cfg:
        read["negative_prompt"] = request.negative_prompt
    for field, text in read.items():
        if field in request.model_fields_set and (tokens := count_tokens(text, tokenizer)) > MAX_TOKENS:
            yield truncation(field, tokens, MAX_TOKENS)


def count_tokens(text: str, tokenizer: Any) -> int:
    """Count the tokens of a text, or return an upper bound that does not exceed MAX_TOKENS.

    The bound is the number of bytes: no token is shorter than a byte.
    """
    most = len(text.encode()) + OWN_TOKENS
    return most if most <= MAX_TOKENS else len(tokenizer(text.strip(), verbose=False).input_ids)
