"""LTX-2: a request in, a clip out. It and its rooms (`ltx2_load`, `ltx2_denoise`, `ltx2_decode`) alone call diffusers.

Knows no Ray, no HTTP and no storage. One `render` at a time: the pipelines share one set of modules, and the caller
sees to it that no two threads call at once.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from models.checkpoint.locate import fetch_checkpoint
from models.checkpoint.profile import CheckpointProfile, read_profile
from models.checkpoint.validate import check_checkpoint
from models.clip import Clip
from models.errors import GpuOutOfMemory, RenderFailed, VideoError
from models.ltx2.decode import decode_audio_or_retry, decode_frames, sample_rate_hz
from models.ltx2.denoise import Latents, denoise, patch_denormalize_dtype
from models.ltx2.first_frame import image_arguments
from models.ltx2.load import (
    check_device,
    choose_optimizations,
    choose_placement,
    load_pipeline,
    measure_free_vram,
    set_omp_passive_wait,
    translate_load_errors,
)
from models.ltx2.options import LoadOptions
from models.ltx2.prompt_cache import PromptCache
from models.ltx2.prompt_length import find_truncations
from models.ltx2.text_encoding import OnePassTextEncoder
from models.memory import offload, offload_plan
from models.memory.gpu import clear_traceback_frames, collect_and_empty_cache, free_pinned_memory, is_out_of_memory
from models.memory.sleep_mode import SleepMode
from models.names import model_name
from models.optimizations import install as optimizations
from models.optimizations.compiled import keep_compiled
from models.optimizations.fast import FastMode
from models.optimizations.selection import Optimization
from models.progress import Progress, ReportProgress, Stage
from models.request.adjustments import Adjustment, apply_adjustments, find_adjustments
from models.request.enums import DurationMode
from models.request.request import VideoRequest
from models.timing.cold_start import ColdStartTimeline, Milestone
from models.watermark import draw_watermark

if TYPE_CHECKING:
    from PIL.Image import Image

COMPILED = "compiled"
"""The folder of the cache in which torch keeps what it compiles."""


class Ltx2Model:
    """A loaded LTX-2."""

    def __init__(
        self,
        name: str,
        profile: CheckpointProfile,
        pipe: Any,
        placed: offload_plan.Placement,
        options: LoadOptions = LoadOptions(),  # noqa: B008  # frozen
    ) -> None:
        from diffusers import LTX2ImageToVideoPipeline

        self.name = name
        self.profile = profile
        self.optimizations: tuple[Optimization, ...] = ()
        self._text_to_video = pipe
        self._image_to_video = LTX2ImageToVideoPipeline(**pipe.components)
        self.placement = placed
        self.prompt_cache = PromptCache(pipe.connectors, options.prompt_cache_bytes)
        self._one_pass = OnePassTextEncoder((pipe, self._image_to_video)) if _streams_text(placed) else None
        self.sleep_mode = SleepMode(pipe, placed)
        self.fast_summary = ""
        """What the last render did without, in words, as its `quality: fast` allowed; empty for an exact one."""
        self.decoded_again: tuple[str, ...] = ()
        """What of the last render ran out of memory when it was decoded, and came out right the second time."""
        self._fast = FastMode(pipe.transformer, placed, options.fast_guidance_fraction, float8=options.fast_float8)
        self.free_vram_bytes: int | None = None
        """GPU memory for a render, as it was when the model had loaded; None on a CPU, and for a tiny model."""
        self._needs_cleanup = False
        """Whether the last render did not end: what its frames held together is still to be collected."""
        for pipeline in (self._text_to_video, self._image_to_video):
            pipeline.set_progress_bar_config(disable=True)
            patch_denormalize_dtype(pipeline)

    @classmethod
    def load(
        cls,
        model: str,
        device: str,
        cache_dir: Path,
        report: ReportProgress,
        options: LoadOptions = LoadOptions(),  # noqa: B008  # frozen
        *,
        timeline: ColdStartTimeline | None = None,
    ) -> Self:
        """Load `model`: "tiny", a folder that diffusers saved, or a repository of the Hugging Face hub.

        `device` is "cpu" or "cuda". What is built or downloaded is kept in `cache_dir`; `timeline` gets its marks.
        Raises ModelUnavailable with the reason, and passes on what `report` raises.
        """
        timeline = timeline or ColdStartTimeline()
        set_omp_passive_wait()
        check_device(device)
        folder = fetch_checkpoint(model, cache_dir, report, options.checkpoint_type)
        profile = read_profile(folder, options.checkpoint_type, model)
        report(Progress(Stage.LOADING))
        with translate_load_errors(model):
            check_checkpoint(folder)
            placed = choose_placement(folder, profile, device, options)
            pipe = load_pipeline(folder, profile, device, options.fixes)
            timeline.record(Milestone.BUILT)
            placed = offload.apply(pipe, placed)
            timeline.record(Milestone.PLACED)
            loaded = cls(model_name(model), profile, pipe, placed, options)
            keep_compiled(cache_dir / COMPILED)
            loaded.apply_optimizations(choose_optimizations(placed, device, options))
            loaded.free_vram_bytes = None if profile.tiny else measure_free_vram(placed, loaded.optimizations)
            return loaded

    def apply_optimizations(self, names: Sequence[Optimization]) -> None:
        """Put speed-ups on the transformer, for good. Those that do not apply to this model are left out."""
        self.optimizations = optimizations.install(self._text_to_video.transformer, names, self.profile.stg_blocks)

    def find_adjustments(self, request: VideoRequest) -> tuple[Adjustment, ...]:
        """What of a request this checkpoint cannot use, and what `render` uses in its place."""
        found = find_adjustments(request, self.profile)
        return (*found, *find_truncations(apply_adjustments(request, found), self._text_to_video.tokenizer))

    def render(self, request: VideoRequest, image: "Image | None", report: ReportProgress) -> Clip:
        """Render one clip. Holds the device for the whole call.

        `image`, if there is one, is RGB of the video's shape, and at least of its size. Returns the frames that were
        asked for, and the sound, no longer than they are. Raises GpuOutOfMemory, RenderFailed, and what `report`
        raises; after any of them the next call renders as if this one had not been.
        """
        if self._needs_cleanup:
            collect_and_empty_cache()
        self._needs_cleanup = True
        self.decoded_again = ()
        request = apply_adjustments(request, self.find_adjustments(request))
        with self._translate_errors(request):
            report(Progress(Stage.DENOISING, step=0))
            latents = self._denoise(request, image, report)
            request = _as_long_as(latents, request)
            report(Progress(Stage.DECODING))
            frames = self._decode_frames(latents, request)
            report(Progress(Stage.DECODING))
            audio, again = decode_audio_or_retry(self._text_to_video, latents.audio, request)
            if again:
                self.decoded_again = (*self.decoded_again, "audio")
        self._needs_cleanup = False
        if self.profile.tiny:
            draw_watermark(frames)
        return Clip(frames, audio, self.sample_rate_hz, request.exact_frame_rate)

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the sound that it makes."""
        return sample_rate_hz(self._text_to_video)

    @property
    def asleep(self) -> bool:
        """Whether it must `wake` before it can render."""
        return self.sleep_mode.asleep

    def can_sleep(self) -> bool:
        """Whether weights stand on a GPU, and host memory has room for them."""
        return self.sleep_mode.has_host_memory()

    def sleep(self, wanted: Callable[[], bool]) -> bool:
        """Free the GPU and keep the weights in host memory; gives up when `wanted`. Returns whether all have gone.

        The next `render` must come after a `wake`.
        """
        return self.sleep_mode.sleep(wanted)

    def wake(self) -> None:
        """Bring the weights back to the GPU, and see anew what room is left beside them.

        Raises ModelUnavailable; then the weights are where they were, and it may be tried again.
        """
        self.sleep_mode.wake_up()
        if self.free_vram_bytes is not None:
            self.free_vram_bytes = measure_free_vram(self.placement, self.optimizations)

    def close(self) -> None:
        """Give the memory back. The model cannot be used any more."""
        with contextlib.suppress(AttributeError):
            self._text_to_video.remove_all_hooks()
            del self._text_to_video, self._image_to_video, self.prompt_cache, self.sleep_mode, self._fast
        collect_and_empty_cache()
        free_pinned_memory()

    def _denoise(self, request: VideoRequest, image: "Image | None", report: ReportProgress) -> Latents:
        pipe = self._text_to_video if image is None else self._image_to_video
        first = {} if image is None else image_arguments(image, request.width, request.height, pipe.text_encoder)
        with (
            self.prompt_cache.inputs_for(request) as text,
            self._encoding(text, request),
            self._fast.applied(request, from_image=image is not None) as left_out,
        ):
            self.fast_summary = left_out
            latents = denoise(pipe, self.profile, request, {**text, **first}, report)
        optimizations.clear_caches(pipe.transformer)  # decoding can use the memory
        return latents

    def _encoding(self, text: Mapping[str, Any], request: VideoRequest) -> contextlib.AbstractContextManager[None]:
        """Have a text encoder that streams read both texts in one pass, where both are new."""
        if self._one_pass is None or "prompt" not in text or not request.uses_cfg:
            return contextlib.nullcontext()
        return self._one_pass.expecting(text.get("negative_prompt"))

    def _decode_frames(self, latents: Latents, request: VideoRequest) -> npt.NDArray[np.uint8]:
        """Planes of YUV where a GPU makes them. A tiny model keeps RGB, which its label is drawn in."""
        vae = self._text_to_video.vae
        on_gpu = self.placement.mode is not offload_plan.OffloadMode.CPU
        as_planes = on_gpu and not self.profile.tiny
        frames, again = decode_frames(vae, latents.video, request, on_gpu=on_gpu, as_planes=as_planes)
        if again:
            self.decoded_again = (*self.decoded_again, "video, in tiles")
        return frames

    @contextlib.contextmanager
    def _translate_errors(self, request: VideoRequest) -> Iterator[None]:
        """Give what goes wrong in a render its name, and leave the pipelines ready for the next."""
        try:
            yield
        except VideoError:
            raise
        except Exception as exc:
            if is_out_of_memory(exc):
                clear_traceback_frames(exc)
                raise GpuOutOfMemory(_out_of_memory_message(request)) from exc
            raise RenderFailed(f"the model failed: {type(exc).__name__}: {exc}") from exc
        finally:
            optimizations.clear_caches(self._text_to_video.transformer)
            self._text_to_video.maybe_free_model_hooks()


def _streams_text(placed: offload_plan.Placement) -> bool:
    return offload_plan.TEXT_ENCODER in offload_plan.OFFLOADED_COMPONENTS.get(placed.mode, ())


def _as_long_as(latents: Latents, request: VideoRequest) -> VideoRequest:
    """The request, with the length that the model chose if that was left to it."""
    if request.length is DurationMode.EXACT:
        return request
    return request.model_copy(update={"num_frames": min(latents.num_frames, request.num_frames)})


def _out_of_memory_message(request: VideoRequest) -> str:
    return (
        f"{request.width}x{request.height}, {request.num_frames} frames needs more memory than there is: "
        "ask for a smaller size or fewer frames"
    )
