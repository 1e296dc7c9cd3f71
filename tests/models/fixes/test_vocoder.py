"""Promise: a vocoder with bandwidth extension is float32 from its construction on, and LTX-2's stays unchanged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.ltx2 import LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.vocoder import UpSample1d

from models.checkpoint.profile import read_profile
from models.checkpoint.sizes import measure_sizes
from models.fixes import NONE
from models.ltx2.decode import decode_audio
from models.ltx2.load import load_pipeline
from tests.models.conftest import small

FolderOf = Callable[[str], Path]


def on_a_gpu(folder: Path, **options: Any) -> Any:
    """The pipeline as loaded for a GPU: in bfloat16."""
    return load_pipeline(folder, read_profile(folder), "cuda", **options)


def test_it_is_float32_where_all_else_is_bfloat16(folder_of: FolderOf) -> None:
    pipe = on_a_gpu(folder_of("2.3"))
    assert {weight.dtype for weight in pipe.vocoder.state_dict().values()} == {torch.float32}
    others = ("transformer", "text_encoder", "connectors", "vae", "audio_vae")
    assert {getattr(pipe, name).dtype for name in others} == {torch.bfloat16}


def test_its_filter_is_that_of_one_built_in_float32(folder_of: FolderOf) -> None:
    fresh = UpSample1d(ratio=3, window_type="hann", persistent=False).filter
    assert torch.equal(on_a_gpu(folder_of("2.3")).vocoder.resampler.filter, fresh)
    in_bfloat16 = on_a_gpu(folder_of("2.3"), fixes=NONE).vocoder.resampler.filter
    assert not torch.equal(in_bfloat16, fresh.to(torch.bfloat16)), "no later cast mends what was built in bfloat16"


@torch.no_grad()
def test_the_sound_is_what_it_makes_in_float32(folder_of: FolderOf) -> None:
    folder, request = folder_of("2.3"), small(num_frames=17)
    pipe = on_a_gpu(folder)
    latents = torch.randn(1, 2, 17, 16, generator=torch.Generator().manual_seed(1))
    audio = decode_audio(pipe, latents, request)
    spectrogram = pipe.audio_vae.decode(latents.to(torch.bfloat16), return_dict=False)[0]
    whole = LTX2VocoderWithBWE.from_pretrained(folder, subfolder="vocoder")
    expected = whole(spectrogram.float())[0, :, : audio.shape[1]].clamp(-1, 1).numpy()
    assert np.array_equal(audio, expected)


def test_ltx_2_s_vocoder_stays_in_bfloat16(folder_of: FolderOf) -> None:
    assert on_a_gpu(folder_of("2.0")).vocoder.dtype is torch.bfloat16


def test_its_size_is_counted_in_float32(folder_of: FolderOf) -> None:
    folder = folder_of("2.3")
    numbers = sum(weight.numel() for weight in on_a_gpu(folder).vocoder.state_dict().values())
    assert measure_sizes(folder).weights["vocoder"] == 4 * numbers
