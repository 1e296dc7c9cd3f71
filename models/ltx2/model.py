"""LTX-2: renders a request into a clip. Only models/ltx2 and the modules it installs call diffusers.

Does not import Ray, an HTTP framework or storage. The pipelines share one set of modules, so only one `render` may run
at a time: the caller must prevent concurrent calls.
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
from models.conditions import Conditions
from models.errors import GpuOutOfMemory, RenderFailed, VideoError
from models.lora.distilled import SETTING as DISTILLED_LORA
from models.lora.files import fetch_loras
from models.ltx2.decode import decode_audio_or_retry, decode_frames, sample_rate_hz
from models.ltx2.denoise import (
    Latents,
    condition_arguments,
    denoise,
    image_arguments,
    patch_denormalize_dtype,
    seeded,
)
from models.ltx2.late_start import start_arguments
from models.ltx2.load import (
    check_device,
    choose_optimizations,
    choose_placement,
    load_distilled_lora,
    load_loras,
    load_pipeline,
    load_upsampler,
    measure_free_vram,
    translate_load_errors,
)
from models.ltx2.options import LoadOptions
from models.ltx2.preview import make_previewer
from models.ltx2.prompt_cache import PromptCache, find_truncations
from models.ltx2.refine import first_stage, refine, second_stage, upscale
from models.ltx2.stage_parts import fetch_stage_parts
from models.ltx2.text_encoding import OnePassTextEncoder
from models.memory import offload, offload_plan
from models.memory.gpu import clear_traceback_frames, collect_and_empty_cache, free_pinned_memory, is_out_of_memory
from models.memory.sleep_mode import SleepMode
from models.names import model_name
from models.optimizations import install as optimizations
from models.optimizations.compiled import keep_compiled
from models.optimizations.fast import FastMode
from models.optimizations.selection import Optimization
from models.preview import PreviewCost, PreviewOptions
from models.progress import Progress, ReportProgress, Stage
from models.request.adjustments import Adjustment, apply_adjustments, find_adjustments
from models.request.enums import DurationMode
from models.request.loras import LoraChoice
from models.request.request import VideoRequest
from models.request.upscaling import check_upscale
from models.splice import Made, finish_clip
from models.startup.openmp import set_waiting
from models.timing import ColdStartTimeline, Milestone
from models.watermark import draw_watermark

if TYPE_CHECKING:
    from torch import Generator

    from models.lora.weights import LoraWeights

COMPILED = "compiled"
"""Subfolder of the cache directory for torch's compiled code."""


class Ltx2Model:
    """A loaded LTX-2."""

    def __init__(
        self,
        name: str,
        profile: CheckpointProfile,
        pipe: Any,
        placed: offload_plan.Placement,
        options: LoadOptions = LoadOptions(),  # noqa: B008  # frozen
        *,
        loras: "Mapping[str, LoraWeights] | None" = None,
        upsampler: Any = None,
        distilled_lora: "LoraWeights | None" = None,
    ) -> None:
        from diffusers import LTX2ImageToVideoPipeline

        from models.lora.lora_set import LoraSet
        from models.ltx2.conditioned import ConditionedPipeline

        self.name = name
        self.profile = profile
        self.optimizations: tuple[Optimization, ...] = ()
        self._text_to_video = pipe
        self._image_to_video = LTX2ImageToVideoPipeline(**pipe.components)
        self._conditioned = ConditionedPipeline(**pipe.components)
        pipelines = (self._text_to_video, self._image_to_video, self._conditioned)
        self.placement = placed
        self.prompt_cache = PromptCache(pipe.connectors, options.prompt_cache_bytes)
        self.loras = LoraSet(pipe.transformer, loras or {})
        refining = {} if distilled_lora is None else {DISTILLED_LORA: distilled_lora}
        self._refining_loras = LoraSet(pipe.transformer, refining)
        self._refining_choices = tuple(LoraChoice(name=name, scale=options.distilled_lora_scale) for name in refining)
        self._one_pass = OnePassTextEncoder(pipelines) if _streams_text(placed) else None
        self.sleep_mode = SleepMode(pipe, placed, upsampler=upsampler)
        self._upsampler = upsampler
        self.fast_summary = ""
        """What the last render skipped because of `quality: fast`, as text. Empty for an exact render."""
        self.decoded_again: tuple[str, ...] = ()
        """The parts of the last render whose first decode ran out of memory and whose second one succeeded."""
        self._preview_cost = PreviewCost()
        self._fast = FastMode(pipe.transformer, placed, options.fast_guidance_fraction, float8=options.fast_float8)
        self.free_vram_bytes: int | None = None
        """GPU memory for a render, measured after the load. None on a CPU, and for a tiny model."""
        self._needs_cleanup = False
        """True if the last render did not finish: memory that its frames hold must be collected first."""
        for pipeline in pipelines:
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
        """Load `model`: "demo", "tiny", a folder that diffusers saved, or a Hugging Face hub repository.

        `device` is "cpu" or "cuda". Built and downloaded models are kept in `cache_dir`. `timeline` records the
        milestones. Raises ModelUnavailable with the reason, and passes on what `report` raises.
        """
        timeline = timeline or ColdStartTimeline()
        set_waiting()
        check_device(device)
        folder = fetch_checkpoint(model, cache_dir, report, options.checkpoint_type)
        lora_files = fetch_loras(options.loras, cache_dir, report)
        profile = read_profile(folder, options.checkpoint_type, model)
        parts, profile = fetch_stage_parts(options, model, folder, profile, cache_dir=cache_dir, report=report)
        report(Progress(Stage.LOADING))
        with translate_load_errors(model):
            check_checkpoint(folder)
            placed = choose_placement(folder, profile, device, options, loras=lora_files, parts=parts)
            pipe = load_pipeline(folder, profile, device, options.fixes)
            loras = load_loras(pipe, lora_files, profile, device)
            refining = load_distilled_lora(pipe, parts.distilled_lora, profile, device)
            upsampler = None if parts.upsampler is None else load_upsampler(parts.upsampler, pipe.vae)
            timeline.record(Milestone.BUILT)
            placed = offload.apply(pipe, placed, upsampler=upsampler)
            timeline.record(Milestone.PLACED)
            named = (model_name(model), profile, pipe, placed, options)
            loaded = cls(*named, loras=loras, upsampler=upsampler, distilled_lora=refining)
            keep_compiled(cache_dir / COMPILED)
            loaded.apply_optimizations(choose_optimizations(placed, device, options))
            loaded.free_vram_bytes = None if profile.tiny else measure_free_vram(placed, loaded.optimizations)
            return loaded

    def apply_optimizations(self, names: Sequence[Optimization]) -> None:
        """Install optimizations, permanently. Skips those that do not apply to this model."""
        pipe = self._text_to_video
        self.optimizations = optimizations.install(
            pipe.transformer, names, self.profile.stg_blocks, connectors=pipe.connectors
        )

    def find_adjustments(self, request: VideoRequest) -> tuple[Adjustment, ...]:
        """The parameters that this checkpoint cannot use, and what `render` uses instead."""
        found = find_adjustments(request, self.profile)
        return (*found, *find_truncations(apply_adjustments(request, found), self._text_to_video.tokenizer))

    def render(
        self,
        request: VideoRequest,
        conditions: Conditions,
        report: ReportProgress,
        previews: PreviewOptions | None = None,
    ) -> Clip:
        """Render one clip from a text and `conditions`. Holds the device for the whole call.

        The clip has the number of frames that was requested (with `length: auto`, that the model chose); its audio is
        not longer than them. With `generate_audio: false` the clip has no audio, and neither the audio VAE's decoder
        nor the vocoder runs. Given audio is the clip's audio; a given clip is unchanged where the edit leaves it.
        `previews` do not change the clip.

        Raises GpuOutOfMemory, RenderFailed, and what `report` raises. None of these errors affects the next call.
        """
        if self._needs_cleanup:
            collect_and_empty_cache()
        self._needs_cleanup = True
        self.decoded_again = ()
        request = apply_adjustments(request, self.find_adjustments(request))
        check_upscale(request, self.profile)
        part = conditions.rendered_request(request)
        with self._translate_errors(request):
            report(Progress(Stage.DENOISING, step=0))
            latents = self._render_latents(part, conditions.within(request), report, previews)
            part = _as_long_as(latents, part)
            report(Progress(Stage.DECODING))
            frames = self._decode_frames(latents, part) if conditions.makes_frames else None
            report(Progress(Stage.DECODING))
            audio = self._decode_audio(latents, part) if conditions.makes_audio else None
        self._needs_cleanup = False
        if frames is not None and self.profile.tiny:
            draw_watermark(frames)
        return finish_clip(Made(frames, audio, self.sample_rate_hz), conditions, request)

    @property
    def sample_rate_hz(self) -> int:
        """The sample rate of the audio."""
        return sample_rate_hz(self._text_to_video)

    @property
    def renders_noise_on_cpu(self) -> bool:
        """Whether this is a tiny model on a CPU, where a render takes host memory."""
        return self.profile.tiny and self.placement.mode is offload_plan.OffloadMode.CPU

    @property
    def asleep(self) -> bool:
        """Whether `wake` must be called before the next render."""
        return self.sleep_mode.asleep

    def can_sleep(self) -> bool:
        """Whether weights are on a GPU and host memory has space for them."""
        return self.sleep_mode.has_host_memory()

    def sleep(self, wanted: Callable[[], bool]) -> bool:
        """Free the GPU and keep the weights in host memory. Stops early when `wanted()` is true.

        Returns whether all weights were moved. `wake` must be called before the next `render`.
        """
        return self.sleep_mode.sleep(wanted)

    def wake(self) -> None:
        """Move the weights back to the GPU, and measure the free memory again.

        Raises ModelUnavailable; the weights are then where they were, and the caller may try again.
        """
        self.sleep_mode.wake_up()
        if self.free_vram_bytes is not None:
            self.free_vram_bytes = measure_free_vram(self.placement, self.optimizations)

    def close(self) -> None:
        """Free all memory. The model cannot be used afterwards."""
        with contextlib.suppress(AttributeError):
            self._text_to_video.remove_all_hooks()
            del self._text_to_video, self._image_to_video, self._conditioned
            del self.prompt_cache, self.sleep_mode, self._fast, self.loras
            del self._refining_loras, self._upsampler
        collect_and_empty_cache()
        free_pinned_memory()

    def _render_latents(
        self,
        request: VideoRequest,
        conditions: Conditions,
        report: ReportProgress,
        previews: PreviewOptions | None = None,
    ) -> Latents:
        """Render in one stage, or in two. One generator draws the noise of both. The first one has the previews."""
        generator = seeded(request)
        if not request.is_upscaled:
            return self._denoise(request, conditions, report, previews, generator=generator)
        halved = conditions.at_half_size(request.num_rendered_frames)
        small = self._denoise(first_stage(request), halved, report, previews, generator=generator)
        start = {"latents": upscale(self._upsampler, small, report), "audio_latents": small.audio}
        kept, second = conditions.for_second_stage(second_stage(request, small.num_frames))
        with self._refining_loras.applied(self._refining_choices):
            return self._refine(second, kept, start, report, after=request, generator=generator)

    def _denoise(
        self,
        request: VideoRequest,
        conditions: Conditions,
        report: ReportProgress,
        previews: PreviewOptions | None = None,
        *,
        generator: "Generator | None" = None,
    ) -> Latents:
        pipe, given = self._choose_pipeline(request, conditions, report)
        previewer = None
        if previews is not None:
            run = conditions.with_steps_run(request)
            previewer = make_previewer(pipe, run, conditions, previews, self._preview_cost)
        with self._prepared(request, conditions) as text:
            inputs = {**text, **given}
            return denoise(pipe, self.profile, request, inputs, report, generator=generator, previewer=previewer)

    def _refine(
        self,
        request: VideoRequest,
        conditions: Conditions,
        start: Mapping[str, Any],
        report: ReportProgress,
        *,
        after: VideoRequest,
        generator: "Generator",
    ) -> Latents:
        """The second stage. diffusers' image-to-video would ignore the image there, the condition pipeline keeps it."""
        pipe, given = self._text_to_video, {}
        if not conditions.are_none:
            pipe = self._conditioned
            given = condition_arguments(conditions, request, pipe.text_encoder, report, Stage.REFINING)
        with self._prepared(request, conditions, after) as text:
            return refine(pipe, self.profile, request, {**text, **given, **start}, report, generator=generator)

    @contextlib.contextmanager
    def _prepared(
        self, request: VideoRequest, conditions: Conditions, after: VideoRequest | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the text arguments of a pipeline's call, which has the request's optimizations.

        `after` is the request of the first of two stages, if this is the second one.
        """
        with (
            self.prompt_cache.inputs_for(request, after) as text,
            self._encoding(text, request),
            self.loras.applied(request.chosen_loras),
            self._fast.applied(conditions.with_steps_run(request), conditions.tokens) as left_out,
        ):
            self.fast_summary = left_out if after is None else self.fast_summary
            yield text
        optimizations.clear_caches(self._text_to_video.transformer)  # decoding can use the memory

    def _choose_pipeline(
        self, request: VideoRequest, conditions: Conditions, report: ReportProgress
    ) -> tuple[Any, dict[str, Any]]:
        """The pipeline for what is given, and its arguments for that."""
        if conditions.are_none:
            return self._text_to_video, {}
        if (first := conditions.first_image_alone) is not None:
            pipe = self._image_to_video
            return pipe, image_arguments(first, request.width, request.height, pipe.text_encoder)
        pipe, edit = self._conditioned, None if conditions.clip is None else conditions.clip.edit
        given = condition_arguments(conditions, request, pipe.text_encoder, report)
        return pipe, {**given, **start_arguments(pipe.scheduler, self.profile, request, edit)}

    def _encoding(self, text: Mapping[str, Any], request: VideoRequest) -> contextlib.AbstractContextManager[None]:
        """Make a streamed text encoder read both texts in one pass, if both are new."""
        if self._one_pass is None or "prompt" not in text or not request.uses_cfg:
            return contextlib.nullcontext()
        return self._one_pass.expecting(text.get("negative_prompt"))

    def _decode_frames(self, latents: Latents, request: VideoRequest) -> npt.NDArray[np.uint8]:
        """YUV planes on a GPU. A tiny model keeps RGB, because its watermark is drawn in RGB."""
        vae = self._text_to_video.vae
        on_gpu = self.placement.mode is not offload_plan.OffloadMode.CPU
        as_planes = on_gpu and not self.profile.tiny
        frames, again = decode_frames(vae, latents.video, request, on_gpu=on_gpu, as_planes=as_planes)
        if again:
            self.decoded_again = (*self.decoded_again, "video, in tiles")
        return frames

    def _decode_audio(self, latents: Latents, request: VideoRequest) -> npt.NDArray[np.float32] | None:
        if not request.generate_audio:
            return None
        audio, again = decode_audio_or_retry(self._text_to_video, latents.audio, request)
        if again:
            self.decoded_again = (*self.decoded_again, "audio")
        return audio

    @contextlib.contextmanager
    def _translate_errors(self, request: VideoRequest) -> Iterator[None]:
        """Translate errors of a render, and leave the pipelines ready for the next one."""
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
    """The request, with the length that the model chose if `length` is auto."""
    if request.length is DurationMode.EXACT:
        return request
    return request.model_copy(update={"num_frames": min(latents.num_frames, request.num_frames)})


def _out_of_memory_message(request: VideoRequest) -> str:
    return (
        f"{request.width}x{request.height}, {request.num_frames} frames needs more GPU memory than is available: "
        "ask for a smaller size or fewer frames"
    )
