"""Promise: the text encoder gets every text with a leading BOS, whatever the tokenizer's files contain."""

import logging
from typing import Any

import pytest
import torch

from models.checkpoint.tiny import byte_tokenizer
from models.conditions import NO_CONDITIONS
from models.errors import ModelBroken
from models.fixes.leading_bos import lead_with_bos
from tests.models.conftest import ignore, small
from tests.models.fixes.conftest import Loaded


def texts_read(loaded: Loaded, *, fixed: bool) -> tuple[Any, list[torch.Tensor]]:
    """The tokens that the text encoder gets for a prompt and its negative prompt, without padding."""
    pipe = loaded("2.5 full", fixed=fixed)._text_to_video
    read: list[torch.Tensor] = []

    def note(_encoder: Any, _args: Any, call: dict[str, Any]) -> None:
        read.append(call["input_ids"][call["attention_mask"].bool()])

    hook = pipe.text_encoder.register_forward_pre_hook(note, with_kwargs=True)
    loaded("2.5 full", fixed=fixed)._denoise(small(prompt=" a new cat", negative_prompt="rain"), NO_CONDITIONS, ignore)
    hook.remove()
    return pipe.tokenizer, read


def test_both_prompts_begin_with_it(loaded: Loaded) -> None:
    tokenizer, read = texts_read(loaded, fixed=True)
    assert [tokenizer.decode(text[1:]) for text in read] == ["a new cat", "rain"]
    assert {int(text[0]) for text in read} == {tokenizer.bos_token_id}


def test_without_the_fix_they_do_not(loaded: Loaded) -> None:
    tokenizer, read = texts_read(loaded, fixed=False)
    assert [tokenizer.decode(text) for text in read] == ["a new cat", "rain"]


def test_it_is_put_there_once_and_said(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = byte_tokenizer()
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            lead_with_bos(tokenizer)
    assert tokenizer("a").input_ids.count(tokenizer.bos_token_id) == 1
    assert [record.message for record in caplog.records] == [
        "the tokenizer did not add BOS to texts: it now begins them with <bos>"
    ]


def test_a_cut_keeps_it() -> None:
    tokenizer = byte_tokenizer()
    lead_with_bos(tokenizer)
    ids = tokenizer("x" * 2000, padding="max_length", max_length=1024, truncation=True).input_ids
    assert (len(ids), ids[0]) == (1024, tokenizer.bos_token_id)


def test_a_tokenizer_that_has_none_is_a_broken_model() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.bos_token = None
    with pytest.raises(ModelBroken, match="BOS"):
        lead_with_bos(tokenizer)
