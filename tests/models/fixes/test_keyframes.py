"""Promise: every call of LTX-2.5 marks the tokens of the first frame."""

from typing import Any

import pytest
import torch
from PIL import Image

from models.conditions import NO_CONDITIONS, first_frame
from models.ltx2.model import Ltx2Model
from tests.models.conftest import ignore, small
from tests.models.fixes.conftest import Loaded
from tests.models.reference import make_image

TOKENS_PER_FRAME = 2 * 4
GUIDED_CALLS = 3


def masks_in(model: Ltx2Model, image: Image.Image | None, **fields: object) -> list[torch.Tensor | None]:
    """The mask that diffusers' transformer gets in each of its calls."""
    masks: list[torch.Tensor | None] = []

    def note(_transformer: Any, _args: Any, call: dict[str, Any]) -> None:
        masks.append(call.get("video_keyframes_mask"))

    hook = model._text_to_video.transformer.register_forward_pre_hook(note, with_kwargs=True)
    model._denoise(small(num_frames=17, **fields), first_frame(image), ignore)
    hook.remove()
    return masks


@pytest.mark.parametrize("image", [None, make_image()], ids=["text", "image"])
@pytest.mark.parametrize("quality", ["exact", "fast"])
def test_the_first_frame_is_marked_in_every_call(loaded: Loaded, image: Image.Image | None, quality: str) -> None:
    masks = masks_in(loaded("2.5 full"), image, quality=quality)
    assert len(masks) == 2 * GUIDED_CALLS
    for mask in masks:
        assert mask is not None
        assert mask.shape[1:] == (3 * TOKENS_PER_FRAME, 1)
        assert bool((mask[:, :TOKENS_PER_FRAME] == 1).all())
        assert not mask[:, TOKENS_PER_FRAME:].any()


def test_the_mark_acts(loaded: Loaded) -> None:
    model = loaded("2.5 full")
    embedding = model._text_to_video.transformer.keyframes_abs_pos_embedding
    marked = model._denoise(small(), NO_CONDITIONS, ignore).video
    kept = embedding.data.clone()
    embedding.data.zero_()
    unmarked = model._denoise(small(), NO_CONDITIONS, ignore).video
    embedding.data.copy_(kept)
    assert not torch.equal(marked, unmarked)


def test_a_family_without_the_embedding_is_told_nothing(loaded: Loaded) -> None:
    assert set(masks_in(loaded("2.3"), None)) == {None}


def test_without_the_fix_nothing_is_marked(loaded: Loaded) -> None:
    assert set(masks_in(loaded("2.5 full", fixed=False), None)) == {None}
