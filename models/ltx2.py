"""LTX-2: a request in, a clip out. The only module that calls diffusers' pipelines.

Knows no Ray, no HTTP and no storage. One `render` at a time: the pipelines share one set of modules, and the caller
sees to it that no two threads call at once.
"""

import contextlib
import gc
import math
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from models import offload, placement, speedup_choice, speedups
from models.adjustments import Adjustment, adjust, find_adjustments
from models.checkpoint import OPTIONAL_COMPONENTS, fetch_checkpoint
from models.clip import Clip
from models.errors import GpuOutOfMemory, ModelUnavailable, RenderFailed, VideoError
from models.estimate import decode_bytes
from models.label import draw_label
from models.names import model_name
from models.options import LoadOptions
from models.progress import Progress, ReportProgress, Stage
from models.recipes import Recipe, read_recipe
from models.request import VideoRequest
from models.speedup_choice import Speedup
from models.tiling import use_tiles

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

ALMOST_ZERO = 1e-30
"""Stands for an audio scale of 0.0, which diffusers 0.42 takes for "not given" (`audio_scale or video_scale`). The
scale is used as `scale - 1`, and 1e-30 - 1 is the same float as 0.0 - 1."""
FRAMES_AT_ONCE = 8
"""Frames that are turned into bytes together: bounds the float copy of them."""
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Latents:
    """What denoising makes: video (1, C, T', H', W') and audio (1, C, L, M), both float32 and denormalised."""

    video: "torch.Tensor"
    audio: "torch.Tensor"


class Ltx2:
    """A loaded LTX-2."""

    def __init__(self, name: str, recipe: Recipe, pipe: Any, placed: placement.Placement) -> None:
        from diffusers import LTX2ImageToVideoPipeline

        self.name = name
        self.recipe = recipe
        self.speedups: tuple[Speedup, ...] = ()
        self._text_to_video = pipe
        self._image_to_video = LTX2ImageToVideoPipeline(**pipe.components)
        self.placement = placed
        for pipeline in (self._text_to_video, self._image_to_video):
            pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def load(
        cls,
        model: str,
        device: str,
        cache_dir: Path,
        report: ReportProgress,
        options: LoadOptions = LoadOptions(),  # noqa: B008  # frozen
    ) -> Self:
        """Load `model`: "tiny", a folder that diffusers saved, or a repository of the Hugging Face hub.

        `device` is "cpu" or "cuda". What is built or downloaded is kept in `cache_dir`. Raises ModelUnavailable with
        the reason, and passes on what `report` raises.
        """
        _let_threads_sleep()
        _check_device(device)
        folder = fetch_checkpoint(model, cache_dir, report)
        recipe = read_recipe(folder, options.training, model)
        report(Progress(Stage.LOADING))
        with _explained_load(model):
            placed = _choose_placement(folder, device, options)
            pipe = _load_pipeline(folder, recipe, device)
            offload.apply(pipe, placed)
            loaded = cls(model_name(model), recipe, pipe, placed)
            loaded.speed_up(
                speedup_choice.choose(options.speedups, device, streamed=placed.place is placement.Place.BLOCKS)
            )
            return loaded

    def speed_up(self, names: Sequence[Speedup]) -> None:
        """Put speed-ups on the transformer, for good. Those that do not apply to this model are left out."""
        self.speedups = speedups.install(self._text_to_video.transformer, names, self.recipe.stg_blocks)

    def find_adjustments(self, request: VideoRequest) -> tuple[Adjustment, ...]:
        """What of a request this checkpoint cannot use, and what `render` uses in its place."""
        return find_adjustments(request, self.recipe)

    def render(self, request: VideoRequest, image: "Image | None", report: ReportProgress) -> Clip:
        """Render one clip. Holds the device for the whole call.

        `image`, if there is one, is RGB and exactly the size of the video. Returns the frames that were asked for,
        and the sound, no longer than they are. Raises GpuOutOfMemory, RenderFailed, and what `report` raises; after
        any of them the next call renders as if this one had not been.
        """
        request = adjust(request, self.find_adjustments(request))
        with self._explained(request):
            report(Progress(Stage.DENOISING, step=0))
            latents = self._denoise(request, image, report)
            report(Progress(Stage.DECODING))
            frames = self._decode_frames(latents.video, request)
            report(Progress(Stage.DECODING))
            sound = self._decode_sound(latents.audio, request)
        if self.recipe.tiny:
            draw_label(frames)
        return Clip(frames, sound, self.sample_rate_hz, request.exact_frame_rate)

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the sound that it makes."""
        return int(self._text_to_video.vocoder.config.output_sampling_rate)

    def close(self) -> None:
        """Give the memory back. The model cannot be used any more."""
        with contextlib.suppress(AttributeError):
            self._text_to_video.remove_all_hooks()
            del self._text_to_video, self._image_to_video
        _free_memory()

    def _denoise(self, request: VideoRequest, image: "Image | None", report: ReportProgress) -> Latents:
        """Run the pipeline up to its latents."""
        pipe = self._text_to_video if image is None else self._image_to_video
        inputs = {} if image is None else {"image": image}
        video, audio = pipe(
            **inputs,
            **_arguments(request, self.recipe),
            generator=_seeded(request),
            callback_on_step_end=_reporter(report),
            callback_on_step_end_tensor_inputs=[],
            output_type="latent",
            return_dict=False,
        )
        for name, latents in (("picture", video), ("sound", audio)):
            if not bool(latents.isfinite().all()):
                raise RenderFailed(f"the model made numbers that are no numbers (NaN) for the {name}")
        return Latents(video, audio)

    def _decode_frames(self, latents: "torch.Tensor", request: VideoRequest) -> npt.NDArray[np.uint8]:
        """Picture latents to frames, uint8 (T, H, W, 3), as many as were asked for."""
        import torch

        vae = self._text_to_video.vae
        self._choose_tiling(request)
        timestep = latents.new_zeros(1, dtype=vae.dtype) if vae.config.timestep_conditioning else None
        with torch.no_grad():
            video = vae.decode(latents.to(vae.dtype), timestep, return_dict=False)[0]
            return _to_bytes(video[0], request.num_frames)

    def _decode_sound(self, latents: "torch.Tensor", request: VideoRequest) -> npt.NDArray[np.float32]:
        """Sound latents to a waveform, float32 (channels, samples), cut where the picture ends."""
        import torch

        pipe = self._text_to_video
        with torch.no_grad():
            spectrogram = pipe.audio_vae.decode(latents.to(pipe.audio_vae.dtype), return_dict=False)[0]
            wave = pipe.vocoder(spectrogram)[0]
        samples = math.floor(request.num_frames / request.exact_frame_rate * self.sample_rate_hz)
        sound: npt.NDArray[np.float32] = wave[:, :samples].float().clamp(-1, 1).cpu().contiguous().numpy()
        return sound

    def _choose_tiling(self, request: VideoRequest) -> None:
        """Decode in tiles only where the whole does not fit: seams can show."""
        if self.placement.place is placement.Place.CPU:
            return
        _free_memory()
        needed = decode_bytes(request.height, request.width, request.num_rendered_frames)
        if needed > offload.free_vram_bytes():
            use_tiles(self._text_to_video.vae, request.height, request.width)
        else:
            self._text_to_video.vae.disable_tiling()

    @contextlib.contextmanager
    def _explained(self, request: VideoRequest) -> Iterator[None]:
        """Give what goes wrong in a render its name, and leave the pipelines ready for the next."""
        try:
            yield
        except VideoError:
            raise
        except Exception as exc:
            if _is_out_of_memory(exc):
                _drop_locals(exc)
                raise GpuOutOfMemory(_out_of_memory_message(request)) from exc
            raise RenderFailed(f"the model failed: {type(exc).__name__}: {exc}") from exc
        finally:
            speedups.forget(self._text_to_video.transformer)
            self._text_to_video.maybe_free_model_hooks()


def _arguments(request: VideoRequest, recipe: Recipe) -> dict[str, Any]:
    """The request in the words of diffusers."""
    return {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "height": request.height,
        "width": request.width,
        "num_frames": request.num_rendered_frames,
        "frame_rate": float(request.exact_frame_rate),
        "num_inference_steps": request.num_inference_steps,
        "sigmas": None if recipe.sigmas is None else list(recipe.sigmas),
        "guidance_scale": request.cfg_scale_video,
        "stg_scale": request.stg_scale_video,
        "modality_scale": request.modality_scale,
        "audio_guidance_scale": request.cfg_scale_audio or ALMOST_ZERO,
        "audio_stg_scale": request.stg_scale_video,
        "audio_modality_scale": request.modality_scale,
        "spatio_temporal_guidance_blocks": list(recipe.stg_blocks),
        "use_cross_timestep": recipe.use_cross_timestep,
    }


def _seeded(request: VideoRequest) -> "torch.Generator":
    """A generator on the CPU: the noise of a seed is then the same on every device."""
    import torch

    if request.seed is None:
        raise RenderFailed("the request has no seed: parse_request draws one")
    return torch.Generator("cpu").manual_seed(request.seed)


def _reporter(report: ReportProgress) -> Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]:
    """What diffusers calls after each step. An exception from `report` leaves the pipeline through it."""

    def on_step_end(_pipe: Any, step: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        report(Progress(Stage.DENOISING, step=step + 1))
        return {}

    return on_step_end


def _to_bytes(video: "torch.Tensor", num_frames: int) -> npt.NDArray[np.uint8]:
    """A video of floats in [-1, 1], (3, T, H, W), to its first frames, uint8 (T, H, W, 3).

    A few frames at a time, and on the device: only bytes cross to the host.
    """
    import torch

    _, _, height, width = video.shape
    frames = torch.empty((num_frames, height, width, 3), dtype=torch.uint8)
    for start in range(0, num_frames, FRAMES_AT_ONCE):
        stop = min(start + FRAMES_AT_ONCE, num_frames)
        part = video[:, start:stop].float().mul(0.5).add_(0.5).clamp_(0, 1).mul_(255).round_()
        frames[start:stop] = part.to(torch.uint8).permute(1, 2, 3, 0)
    array: npt.NDArray[np.uint8] = frames.numpy()
    return array


def _let_threads_sleep() -> None:
    """Have torch's CPU threads sleep, not spin, while they wait for each other.

    The encoder and the HTTP side share the processors. Measured on 2 cores with two more busy threads: a small render
    of the tiny model took 15 s spinning, 1.5 s sleeping. OpenMP reads this when torch is first imported; who has set
    it keeps what is set.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _check_device(device: str) -> None:
    if device not in DEVICES:
        raise ModelUnavailable(f"device must be one of {', '.join(DEVICES)}; {device!r} was given")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ModelUnavailable("device is cuda, but torch finds no NVIDIA GPU with a working driver")


def _choose_placement(folder: Path, device: str, options: LoadOptions) -> placement.Placement:
    sizes = placement.measure_sizes(folder)
    host_bytes = placement.free_host_bytes()
    if device == "cpu":
        return placement.plan_cpu(host_bytes, sizes)
    return placement.plan(offload.free_vram_bytes(), host_bytes, sizes, place=options.place, weights=options.weights)


def _load_pipeline(folder: Path, recipe: Recipe, device: str) -> Any:
    """Read all components into host memory: bfloat16, but float32 for the tiny model on a CPU, where that is faster."""
    import torch
    from diffusers import LTX2Pipeline, LTX2VideoTransformer3DModel
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    dtype = torch.float32 if recipe.tiny and device == "cpu" else torch.bfloat16
    transformer = LTX2VideoTransformer3DModel.from_pretrained(
        folder,
        subfolder="transformer",
        perturbed_attn=recipe.perturbed_attn,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
    )
    pipe = LTX2Pipeline.from_pretrained(
        folder,
        transformer=transformer,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        **dict.fromkeys(OPTIONAL_COMPONENTS),
    )
    if recipe.sigmas is not None:
        _keep_sigmas(pipe)
    return pipe


def _keep_sigmas(pipe: Any) -> None:
    """Have the scheduler take noise levels as they are given. That of a base model shifts them, once more."""
    kept = {"use_dynamic_shifting": False, "shift_terminal": None}
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, **kept)


@contextlib.contextmanager
def _explained_load(model: str) -> Iterator[None]:
    """Whatever goes wrong while the weights are read is a ModelUnavailable: files break in many ways."""
    try:
        yield
    except VideoError:
        raise
    except Exception as exc:
        if _is_out_of_memory(exc):
            _drop_locals(exc)
            raise ModelUnavailable(f"there is not enough memory to load {model}: {exc}") from exc
        if isinstance(exc, PermissionError):
            raise ModelUnavailable(f"{model} may not be read by this user: {exc}") from exc
        raise ModelUnavailable(
            f"{model} could not be loaded, its files may be broken or incomplete: {type(exc).__name__}: {exc}"
        ) from exc


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: on the GPU, in Python, or in torch's allocator for the CPU (a plain RuntimeError)."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def _out_of_memory_message(request: VideoRequest) -> str:
    return (
        f"{request.width}x{request.height}, {request.num_frames} frames needs more memory than there is: "
        "ask for a smaller size or fewer frames"
    )


def _drop_locals(error: Exception) -> None:
    """Let go of the tensors that an error's frames hold, and of what torch keeps in reserve."""
    traceback.clear_frames(error.__traceback__)
    _free_memory()


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
