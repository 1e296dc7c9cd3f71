"""Promise: a text that is too long for the model is reported, and reaches the model as in a direct call."""

from pathlib import Path

import numpy as np
import pytest

from models.checkpoint.profile import CheckpointType
from models.conditions import NO_CONDITIONS
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.ltx2.prompt_cache import MAX_TOKENS
from models.request.adjustments import apply_adjustments, visible_to_client
from models.request.request import VideoRequest
from tests.models.conftest import ignore, small

LONG = "word " * 300
"""The tiny model's tokens are bytes. The trailing space is not counted, but BOS is."""


def test_a_text_that_is_too_long_is_named_with_its_length(model: Ltx2Model) -> None:
    request = small(prompt=LONG, negative_prompt="é" * 600)
    assert [(each.field, each.given, each.used) for each in visible_to_client(model.find_adjustments(request))] == [
        ("prompt", "1500 tokens", "1024 tokens"),
        ("negative_prompt", "1201 tokens", "1024 tokens"),
    ]
    assert apply_adjustments(request, model.find_adjustments(request)) == request


@pytest.mark.parametrize("text", ["a cat", "x" * (MAX_TOKENS - 1), " " * 3000 + "x"])
def test_a_text_that_is_read_whole_is_not_named(model: Ltx2Model, text: str) -> None:
    assert model.find_adjustments(small(prompt=text)) == ()


def test_a_default_that_nobody_sent_is_not_named_for_its_length(model: Ltx2Model) -> None:
    """The default negative prompt exceeds the tiny model's limit of one token per byte, but no client sent it."""
    assert len(VideoRequest(prompt="a cat").negative_prompt.encode()) > MAX_TOKENS
    assert visible_to_client(model.find_adjustments(small())) == []


def test_a_negative_prompt_that_is_not_read_is_not_named_for_its_length(model: Ltx2Model) -> None:
    assert model.find_adjustments(small(negative_prompt=LONG, cfg_scale_video=1.0, cfg_scale_audio=1.0)) == ()


def test_what_a_distilled_model_does_not_read_is_named_once(tiny_folder: Path, tmp_path: Path) -> None:
    distilled = Ltx2Model.load(
        str(tiny_folder), "cpu", tmp_path, ignore, LoadOptions(checkpoint_type=CheckpointType.DISTILLED)
    )
    named = [each.field for each in visible_to_client(distilled.find_adjustments(small(negative_prompt=LONG)))]
    assert sorted(named) == ["negative_prompt", "num_inference_steps"]
    distilled.close()


def test_what_is_left_out_is_the_end_and_changes_nothing(model: Ltx2Model) -> None:
    whole = model.render(small(prompt="x" * 2000), NO_CONDITIONS, ignore)
    beginning = model.render(small(prompt="x" * MAX_TOKENS), NO_CONDITIONS, ignore)
    other_beginning = model.render(small(prompt="y" + "x" * 1999), NO_CONDITIONS, ignore)
    assert np.array_equal(whole.frames, beginning.frames)
    assert not np.array_equal(whole.audio, other_beginning.audio)
