import gc
import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.checkpoint.profile import read_profile
from models.checkpoint.sizes import measure_sizes
from models.clip import Clip
from models.conditions import NO_CONDITIONS, first_frame
from models.errors import GpuOutOfMemory, ModelBroken, ModelUnavailable, RenderFailed, TaskCanceled
from models.fixes import NONE
from models.ltx2.denoise import ALMOST_ZERO, pipeline_arguments
from models.ltx2.load import load_pipeline
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.memory.offload_plan import plan_cpu
from models.names import TINY_MODEL_NAME
from models.optimizations.selection import OFF
from models.progress import Progress, Stage
from models.request.request import VideoRequest
from models.watermark import draw_watermark
from tests.models.conftest import ignore, small

GUIDED_ROWS = 4
"""Rows of a guided step: with and without the prompt, spatiotemporal, and each modality alone."""


def make_image(width: int = 128, height: int = 64) -> Image.Image:
    rng = np.random.default_rng(7)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def same(one: Clip, other: Clip) -> bool:
    return np.array_equal(one.frames, other.frames) and np.array_equal(one.audio, other.audio)


@contextmanager
def counting(model: Ltx2Model) -> Iterator[list[int]]:
    """The number of rows of every transformer call, in order."""
    rows: list[int] = []

    def count(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        rows.append(len(kwargs["hidden_states"]))

    handle = model._text_to_video.transformer.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def raise_at(stage: Stage, step: int, error: Exception) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.stage is stage and progress.step == step:
            raise error

    return report


@pytest.fixture(scope="module")
def plain(tiny_folder: Path, cache_dir: Path) -> Iterator[Ltx2Model]:
    """A model without the fixes (models/fixes)."""
    plain = Ltx2Model.load(str(tiny_folder), "cpu", cache_dir, ignore, LoadOptions(fixes=NONE, optimizations=OFF))
    yield plain
    plain.close()


@pytest.fixture(scope="module")
def clip(model: Ltx2Model) -> Clip:
    return model.render(small(), NO_CONDITIONS, ignore)


def test_a_clip_has_what_was_asked_for(clip: Clip) -> None:
    assert clip.frames.shape == (9, 64, 128, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.audio.dtype == np.float32
    assert clip.audio.shape[0] == 2
    assert clip.audio.flags.c_contiguous
    assert np.abs(clip.audio).max() <= 1
    assert (clip.sample_rate_hz, clip.frame_rate) == (24_000, Fraction(25))


def test_the_name_says_that_it_is_the_tiny_model(model: Ltx2Model) -> None:
    assert model.name == TINY_MODEL_NAME


def test_the_same_seed_gives_the_same_clip(model: Ltx2Model, clip: Clip) -> None:
    assert same(model.render(small(), NO_CONDITIONS, ignore), clip)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 43},
        {"prompt": "a dog"},
        {"negative_prompt": "a cat"},
        {"frame_rate": 24.0},
        {"num_inference_steps": 3},
        {"cfg_scale_video": 5.0},
        {"cfg_scale_audio": 2.0},
        {"stg_scale_video": 0.0},
        {"modality_scale": 1.0},
    ],
)
def test_every_parameter_changes_the_clip(model: Ltx2Model, clip: Clip, change: dict[str, object]) -> None:
    other = model.render(small(**change), NO_CONDITIONS, ignore)
    assert not same(other, clip)


def test_guidance_rescale_is_named_and_not_left_to_a_default(model: Ltx2Model) -> None:
    """The default has changed before, and affects every guided video."""
    called = pipeline_arguments(small(), model.profile)
    assert (called["guidance_rescale"], called["audio_guidance_rescale"]) == (0.7, 0.7)


def test_every_step_runs_every_guidance_pass(model: Ltx2Model) -> None:
    with counting(model) as rows:
        model.render(small(num_inference_steps=4), NO_CONDITIONS, ignore)
    assert rows == [2, 1, 1] * 4
    assert sum(rows) == GUIDED_ROWS * 4


def test_a_guidance_that_is_off_is_not_computed(model: Ltx2Model) -> None:
    off = small(cfg_scale_video=1.0, cfg_scale_audio=1.0, stg_scale_video=0.0, modality_scale=1.0)
    with counting(model) as rows:
        model.render(off, NO_CONDITIONS, ignore)
    assert rows == [1, 1]


def test_frames_between_the_model_s_steps_are_cut_from_the_next(model: Ltx2Model) -> None:
    longer = model.render(small(num_frames=17), NO_CONDITIONS, ignore)
    shorter = model.render(small(num_frames=12), NO_CONDITIONS, ignore)
    assert shorter.frames.shape[0] == 12
    assert np.array_equal(shorter.frames, longer.frames[:12])
    assert shorter.audio.shape[1] <= 12 / 25 * 24_000


def test_without_audio_the_frames_are_the_same_and_nothing_decodes_audio(model: Ltx2Model, clip: Clip) -> None:
    calls: list[str] = []
    parts = {"vocoder": model._text_to_video.vocoder, "audio_vae": model._text_to_video.audio_vae.decoder}
    handles = [part.register_forward_pre_hook(lambda *_, name=name: calls.append(name)) for name, part in parts.items()]
    try:
        silent = model.render(small(generate_audio=False), NO_CONDITIONS, ignore)
        assert calls == []
        model.render(small(), NO_CONDITIONS, ignore)
        assert set(calls) == set(parts)
    finally:
        for handle in handles:
            handle.remove()
    assert silent.audio is None
    assert silent.size_bytes == silent.frames.nbytes
    assert np.array_equal(silent.frames, clip.frames)


def test_an_ntsc_rate_is_exact(model: Ltx2Model) -> None:
    assert model.render(small(frame_rate=23.976), NO_CONDITIONS, ignore).frame_rate == Fraction(24_000, 1001)


def test_sound_that_plays_longer_than_the_image_is_cut(model: Ltx2Model) -> None:
    rendered = model.render(small(num_frames=10), NO_CONDITIONS, ignore)
    assert rendered.audio.shape[1] == 10 * 24_000 // 25


def test_progress_is_told_step_by_step(model: Ltx2Model) -> None:
    told: list[Progress] = []
    model.render(small(num_inference_steps=3), NO_CONDITIONS, told.append)
    assert told == [
        Progress(Stage.DENOISING, step=0),  # its text is encoded
        *(Progress(Stage.DENOISING, step=step) for step in range(4)),
        Progress(Stage.DECODING),
        Progress(Stage.DECODING),
    ]


@pytest.mark.parametrize("image", [None, make_image()], ids=["text", "image"])
@pytest.mark.parametrize(("stage", "step"), [(Stage.DENOISING, 0), (Stage.DENOISING, 1), (Stage.DECODING, 0)])
def test_a_cancelled_render_leaves_no_trace(
    model: Ltx2Model, clip: Clip, image: Image.Image | None, stage: Stage, step: int
) -> None:
    with pytest.raises(TaskCanceled):
        model.render(small(prompt="another"), first_frame(image), raise_at(stage, step, TaskCanceled("canceled")))
    assert same(model.render(small(), NO_CONDITIONS, ignore), clip)


class TruthyZero(float):
    """A 0.0 that diffusers does not treat as "not given"."""

    def __bool__(self) -> bool:
        return True


def by_diffusers(folder: Path, request: VideoRequest, image: Image.Image | None, **changes: object) -> tuple[Any, Any]:
    """The same video by a plain diffusers call: frames uint8 as it would save them, and the waveform."""
    from diffusers import LTX2ImageToVideoPipeline, LTX2Pipeline

    pipe: Any = (LTX2Pipeline if image is None else LTX2ImageToVideoPipeline).from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    arguments: dict[str, Any] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "height": request.height,
        "width": request.width,
        "num_frames": request.num_frames,
        "frame_rate": request.frame_rate,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.cfg_scale_video,
        "audio_guidance_scale": request.cfg_scale_audio,
        "stg_scale": request.stg_scale_video,
        "modality_scale": request.modality_scale,
        "spatio_temporal_guidance_blocks": [0],
        "use_cross_timestep": False,
        "generator": torch.Generator().manual_seed(request.seed or 0),
        "output_type": "np",
        "return_dict": False,
    }
    if image is not None:
        arguments["image"] = image
    video, audio = pipe(**arguments | changes)
    return (video[0] * 255).round().astype(np.uint8), audio[0].float().numpy()


@pytest.mark.parametrize("image", [None, make_image()], ids=["text", "image"])
def test_it_renders_what_diffusers_renders_to_the_bit(
    plain: Ltx2Model, tiny_folder: Path, image: Image.Image | None
) -> None:
    request = small(num_frames=17, num_inference_steps=3)
    frames, audio = by_diffusers(tiny_folder, request, image)
    draw_watermark(frames)
    rendered = plain.render(request, first_frame(image), ignore)
    assert np.array_equal(rendered.frames, frames)
    assert np.array_equal(rendered.audio, audio[:, : rendered.audio.shape[1]])


def test_an_audio_scale_of_nothing_is_not_the_video_s(plain: Ltx2Model, tiny_folder: Path) -> None:
    assert TruthyZero(0.0) - 1 == ALMOST_ZERO - 1
    request = small(cfg_scale_audio=0.0)
    rendered = plain.render(request, NO_CONDITIONS, ignore)
    frames, audio = by_diffusers(tiny_folder, request, None, audio_guidance_scale=TruthyZero(0.0))
    draw_watermark(frames)
    assert np.array_equal(rendered.frames, frames)
    assert np.array_equal(rendered.audio, audio[:, : rendered.audio.shape[1]])
    _, fallen_back = by_diffusers(tiny_folder, request, None)
    assert not np.array_equal(audio, fallen_back)


def test_an_image_is_where_the_video_starts(model: Ltx2Model) -> None:
    first = model.render(small(), first_frame(make_image()), ignore)
    second = model.render(small(), first_frame(Image.new("RGB", (128, 64), "white")), ignore)
    assert not same(first, second)


def test_an_image_of_the_wrong_size_does_not_change_the_video_s(model: Ltx2Model) -> None:
    assert model.render(small(), first_frame(make_image(192, 128)), ignore).frames.shape == (9, 64, 128, 3)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=["gpu", "python", "cpu"],
)
def test_running_out_of_memory_says_what_was_asked_for(model: Ltx2Model, clip: Clip, error: Exception) -> None:
    with pytest.raises(GpuOutOfMemory, match="128x64, 9 frames") as caught:
        model.render(small(), NO_CONDITIONS, raise_at(Stage.DENOISING, 1, error))
    assert caught.value.__cause__ is error
    assert same(model.render(small(), NO_CONDITIONS, ignore), clip)


def test_what_the_model_raises_is_a_failed_render(model: Ltx2Model, clip: Clip) -> None:
    error = ValueError("a tensor of the wrong shape")
    with pytest.raises(RenderFailed, match="the model failed: ValueError: a tensor of the wrong shape") as caught:
        model.render(small(), NO_CONDITIONS, raise_at(Stage.DENOISING, 1, error))
    assert caught.value.__cause__ is error
    assert same(model.render(small(), NO_CONDITIONS, ignore), clip)


def test_what_a_failed_render_held_together_is_collected_before_the_next(model: Ltx2Model) -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def fail(_progress: Progress) -> None:
        error = RuntimeError("a frame that holds its own error")
        tensor = torch.zeros(1)
        held.append(weakref.ref(tensor))
        raise error

    gc.disable()
    try:
        with pytest.raises(RenderFailed):
            model.render(small(), NO_CONDITIONS, fail)
        assert held[0]() is not None
        model.render(small(), NO_CONDITIONS, ignore)
        assert held[0]() is None
    finally:
        gc.enable()


def test_numbers_that_are_no_numbers_are_a_failed_render(model: Ltx2Model) -> None:
    def spoil(_module: Any, _args: Any, output: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return output[0] * float("nan"), output[1]

    handle = model._text_to_video.transformer.register_forward_hook(spoil)
    with pytest.raises(RenderFailed, match="NaN"):
        model.render(small(), NO_CONDITIONS, ignore)
    handle.remove()


def test_a_request_without_a_seed_is_refused(model: Ltx2Model) -> None:
    with pytest.raises(RenderFailed, match="seed"):
        model.render(small(seed=None), NO_CONDITIONS, ignore)


def test_a_closed_model_can_be_closed_again(cache_dir: Path) -> None:
    closed = Ltx2Model.load("tiny", "cpu", cache_dir, ignore)
    closed.close()
    closed.close()


def test_a_folder_is_loaded_under_its_own_name(tiny_folder: Path, tmp_path: Path) -> None:
    loaded = Ltx2Model.load(str(tiny_folder), "cpu", tmp_path, ignore)
    assert loaded.name == str(tiny_folder)
    assert not list(tmp_path.iterdir())


def test_spatiotemporal_guidance_acts_though_a_config_leaves_it_out(tiny_folder: Path, tmp_path: Path) -> None:
    """LTX-2 (19B) comes with `perturbed_attn` off; the profile switches it on."""
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    config_file = folder / "transformer" / "config.json"
    config_file.write_text(json.dumps(json.loads(config_file.read_text()) | {"perturbed_attn": False}))
    loaded = Ltx2Model.load(str(folder), "cpu", tmp_path, ignore)
    guided = loaded.render(small(), NO_CONDITIONS, ignore)
    assert not same(loaded.render(small(stg_scale_video=0.0), NO_CONDITIONS, ignore), guided)


def test_it_renders_in_bfloat16_as_it_does_on_a_gpu(tiny_folder: Path) -> None:
    profile = read_profile(tiny_folder)
    pipe = load_pipeline(tiny_folder, profile, "cuda")
    assert {pipe.transformer.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.bfloat16}
    placed = plan_cpu(10**9, measure_sizes(tiny_folder))
    for image in (None, make_image()):
        rendered = Ltx2Model("half", profile, pipe, placed).render(small(), first_frame(image), ignore)
        assert rendered.frames.shape == (9, 64, 128, 3)
        assert rendered.audio.dtype == np.float32


@pytest.mark.parametrize(("height", "width"), [(512, 1024), (1024, 512), (576, 1088), (64, 1920)])
def test_every_size_can_be_decoded_in_tiles(model: Ltx2Model, height: int, width: int) -> None:
    """diffusers 0.42 fails on a last tile of one row; sides that are multiples of 64 never have one."""
    vae = model._text_to_video.vae
    latents = torch.zeros(1, vae.config.latent_channels, 2, height // 32, width // 32)
    vae.enable_tiling()
    try:
        with torch.no_grad():
            video = vae.decode(latents, None, return_dict=False)[0]
    finally:
        vae.disable_tiling()
    assert video.shape == (1, 3, 9, height, width)


def test_loading_is_told(cache_dir: Path) -> None:
    told: list[Progress] = []
    Ltx2Model.load("tiny", "cpu", cache_dir, told.append).close()
    assert told == [Progress(Stage.LOADING)]


def test_a_report_can_end_a_load(cache_dir: Path) -> None:
    with pytest.raises(TaskCanceled):
        Ltx2Model.load("tiny", "cpu", cache_dir, raise_at(Stage.LOADING, 0, TaskCanceled("canceled")))


@pytest.mark.parametrize("component", ["transformer", "vae", "text_encoder"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_broken_file_is_a_model_that_is_not_there(
    tiny_folder: Path, tmp_path: Path, component: str, damage: str
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    weights = next((folder / component).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000]) if damage == "cut" else weights.unlink()
    with pytest.raises(ModelBroken, match=r"is broken: (it has|its header)|is missing"):
        Ltx2Model.load(str(folder), "cpu", tmp_path, ignore)


def test_pickled_weights_are_never_read(tiny_folder: Path, tmp_path: Path) -> None:
    """A pickle can run code while it is read."""
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    weights = next((folder / "vae").glob("*.safetensors"))
    weights.unlink()
    torch.save({}, folder / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelUnavailable):
        Ltx2Model.load(str(folder), "cpu", tmp_path, ignore)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelUnavailable, match="could not be stored in"):
        Ltx2Model.load("tiny", "cpu", tmp_path / "file" / "cache", ignore)


def test_a_gpu_that_is_not_there_is_said(cache_dir: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ModelUnavailable, match="no NVIDIA GPU"):
        Ltx2Model.load("tiny", "cuda", cache_dir, ignore)


def test_another_device_is_refused(cache_dir: Path) -> None:
    with pytest.raises(ModelUnavailable, match="cpu, cuda"):
        Ltx2Model.load("tiny", "tpu", cache_dir, ignore)
