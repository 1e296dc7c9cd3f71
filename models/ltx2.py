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

from models import offload, placement, speedups
from models.adjustments import Adjustment, adjust, find_adjustments
from models.checkpoint import fetch_checkpoint
from models.checkpoint_check import check_checkpoint
from models.choices import Length
from models.clip import Clip
from models.errors import GpuOutOfMemory, RenderFailed, VideoError
from models.fast import Fast
from models.first_frame import image_arguments
from models.label import draw_label
from models.ltx2_decode import decode_frames, decode_sound_or_again, sample_rate_hz
from models.ltx2_denoise import Latents, denoise, round_first
from models.ltx2_load import (
    check_device,
    choose_placement,
    choose_speedups,
    explained_load,
    let_threads_sleep,
    load_pipeline,
    measure_room,
)
from models.memory import drop_locals, free_memory, free_pinned_memory, is_out_of_memory
from models.names import model_name
from models.options import LoadOptions
from models.progress import Progress, ReportProgress, Stage
from models.prompt_cache import PromptCache
from models.prompt_length import find_cuts
from models.recipes import Recipe, read_recipe
from models.request import VideoRequest
from models.sleep import Bed
from models.speedup_choice import Speedup
from models.speedups.compiled import keep_compiled
from models.text_encoding import OnePass
from models.timeline import Mark, Timeline

if TYPE_CHECKING:
    from PIL.Image import Image

COMPILED = "compiled"
"""The folder of the cache in which torch keeps what it compiles."""


class Ltx2:
    """A loaded LTX-2."""

    def __init__(
        self,
        name: str,
        recipe: Recipe,
        pipe: Any,
        placed: placement.Placement,
        options: LoadOptions = LoadOptions(),  # noqa: B008  # frozen
    ) -> None:
        from diffusers import LTX2ImageToVideoPipeline

        self.name = name
        self.recipe = recipe
        self.speedups: tuple[Speedup, ...] = ()
        self._text_to_video = pipe
        self._image_to_video = LTX2ImageToVideoPipeline(**pipe.components)
        self.placement = placed
        self.texts = PromptCache(pipe.connectors, options.prompt_cache_bytes)
        self._one_pass = OnePass((pipe, self._image_to_video)) if _streams_text(placed) else None
        self.bed = Bed(pipe, placed)
        self.left_out = ""
        """What the last render did without, in words, as its `quality: fast` allowed; empty for an exact one."""
        self.decoded_again: tuple[str, ...] = ()
        """What of the last render ran out of memory when it was decoded, and came out right the second time."""
        self._fast = Fast(pipe.transformer, placed, options.fast_guided_share, float8=options.fast_float8)
        self.working_bytes: int | None = None
        """GPU memory for a render, as it was when the model had loaded; None on a CPU, and for a tiny model."""
        self._broke_off = False
        """Whether the last render did not end: what its frames held together is still to be collected."""
        for pipeline in (self._text_to_video, self._image_to_video):
            pipeline.set_progress_bar_config(disable=True)
            round_first(pipeline)

    @classmethod
    def load(
        cls,
        model: str,
        device: str,
        cache_dir: Path,
        report: ReportProgress,
        options: LoadOptions = LoadOptions(),  # noqa: B008  # frozen
        *,
        timeline: Timeline | None = None,
    ) -> Self:
        """Load `model`: "tiny", a folder that diffusers saved, or a repository of the Hugging Face hub.

        `device` is "cpu" or "cuda". What is built or downloaded is kept in `cache_dir`; `timeline` gets its marks.
        Raises ModelUnavailable with the reason, and passes on what `report` raises.
        """
        timeline = timeline or Timeline()
        let_threads_sleep()
        check_device(device)
        folder = fetch_checkpoint(model, cache_dir, report, options.training)
        recipe = read_recipe(folder, options.training, model)
        report(Progress(Stage.LOADING))
        with explained_load(model):
            check_checkpoint(folder)
            placed = choose_placement(folder, recipe, device, options)
            pipe = load_pipeline(folder, recipe, device, options.fixes)
            timeline.mark(Mark.BUILT)
            placed = offload.apply(pipe, placed)
            timeline.mark(Mark.PLACED)
            loaded = cls(model_name(model), recipe, pipe, placed, options)
            keep_compiled(cache_dir / COMPILED)
            loaded.speed_up(choose_speedups(placed, device, options))
            loaded.working_bytes = None if recipe.tiny else measure_room(placed, loaded.speedups)
            return loaded

    def speed_up(self, names: Sequence[Speedup]) -> None:
        """Put speed-ups on the transformer, for good. Those that do not apply to this model are left out."""
        self.speedups = speedups.install(self._text_to_video.transformer, names, self.recipe.stg_blocks)

    def find_adjustments(self, request: VideoRequest) -> tuple[Adjustment, ...]:
        """What of a request this checkpoint cannot use, and what `render` uses in its place."""
        found = find_adjustments(request, self.recipe)
        return (*found, *find_cuts(adjust(request, found), self._text_to_video.tokenizer))

    def render(self, request: VideoRequest, image: "Image | None", report: ReportProgress) -> Clip:
        """Render one clip. Holds the device for the whole call.

        `image`, if there is one, is RGB of the video's shape, and at least of its size. Returns the frames that were
        asked for, and the sound, no longer than they are. Raises GpuOutOfMemory, RenderFailed, and what `report`
        raises; after any of them the next call renders as if this one had not been.
        """
        if self._broke_off:
            free_memory()
        self._broke_off = True
        self.decoded_again = ()
        request = adjust(request, self.find_adjustments(request))
        with self._explained(request):
            report(Progress(Stage.DENOISING, step=0))
            latents = self._denoise(request, image, report)
            request = _as_long_as(latents, request)
            report(Progress(Stage.DECODING))
            frames = self._decode_frames(latents, request)
            report(Progress(Stage.DECODING))
            sound, again = decode_sound_or_again(self._text_to_video, latents.audio, request)
            if again:
                self.decoded_again = (*self.decoded_again, "sound")
        self._broke_off = False
        if self.recipe.tiny:
            draw_label(frames)
        return Clip(frames, sound, self.sample_rate_hz, request.exact_frame_rate)

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the sound that it makes."""
        return sample_rate_hz(self._text_to_video)

    @property
    def asleep(self) -> bool:
        """Whether it must `wake` before it can render."""
        return self.bed.asleep

    def can_sleep(self) -> bool:
        """Whether weights stand on a GPU, and host memory has room for them."""
        return self.bed.has_room()

    def sleep(self, wanted: Callable[[], bool]) -> bool:
        """Free the GPU and keep the weights in host memory; gives up when `wanted`. Returns whether all have gone.

        The next `render` must come after a `wake`.
        """
        return self.bed.lie_down(wanted)

    def wake(self) -> None:
        """Bring the weights back to the GPU, and see anew what room is left beside them.

        Raises ModelUnavailable; then the weights are where they were, and it may be tried again.
        """
        self.bed.get_up()
        if self.working_bytes is not None:
            self.working_bytes = measure_room(self.placement, self.speedups)

    def close(self) -> None:
        """Give the memory back. The model cannot be used any more."""
        with contextlib.suppress(AttributeError):
            self._text_to_video.remove_all_hooks()
            del self._text_to_video, self._image_to_video, self.texts, self.bed, self._fast
        free_memory()
        free_pinned_memory()

    def _denoise(self, request: VideoRequest, image: "Image | None", report: ReportProgress) -> Latents:
        pipe = self._text_to_video if image is None else self._image_to_video
        first = {} if image is None else image_arguments(image, request.width, request.height, pipe.text_encoder)
        with (
            self.texts.text_of(request) as text,
            self._encoding(text, request),
            self._fast.applied(request, from_image=image is not None) as left_out,
        ):
            self.left_out = left_out
            latents = denoise(pipe, self.recipe, request, {**text, **first}, report)
        speedups.forget(pipe.transformer)  # decoding can use the memory
        return latents

    def _encoding(self, text: Mapping[str, Any], request: VideoRequest) -> contextlib.AbstractContextManager[None]:
        """Have a text encoder that streams read both texts in one pass, where both are new."""
        if self._one_pass is None or "prompt" not in text or not request.reads_negative_prompt:
            return contextlib.nullcontext()
        return self._one_pass.expecting(text.get("negative_prompt"))

    def _decode_frames(self, latents: Latents, request: VideoRequest) -> npt.NDArray[np.uint8]:
        """Planes of YUV where a GPU makes them. A tiny model keeps RGB, which its label is drawn in."""
        vae = self._text_to_video.vae
        on_gpu = self.placement.place is not placement.Place.CPU
        as_planes = on_gpu and not self.recipe.tiny
        frames, again = decode_frames(vae, latents.video, request, on_gpu=on_gpu, as_planes=as_planes)
        if again:
            self.decoded_again = (*self.decoded_again, "video, in tiles")
        return frames

    @contextlib.contextmanager
    def _explained(self, request: VideoRequest) -> Iterator[None]:
        """Give what goes wrong in a render its name, and leave the pipelines ready for the next."""
        try:
            yield
        except VideoError:
            raise
        except Exception as exc:
            if is_out_of_memory(exc):
                drop_locals(exc)
                raise GpuOutOfMemory(_out_of_memory_message(request)) from exc
            raise RenderFailed(f"the model failed: {type(exc).__name__}: {exc}") from exc
        finally:
            speedups.forget(self._text_to_video.transformer)
            self._text_to_video.maybe_free_model_hooks()


def _streams_text(placed: placement.Placement) -> bool:
    return placement.TEXT_ENCODER in placement.STREAMED.get(placed.place, ())


def _as_long_as(latents: Latents, request: VideoRequest) -> VideoRequest:
    """The request, with the length that the model chose if that was left to it."""
    if request.length is Length.EXACT:
        return request
    return request.model_copy(update={"num_frames": min(latents.num_frames, request.num_frames)})


def _out_of_memory_message(request: VideoRequest) -> str:
    return (
        f"{request.width}x{request.height}, {request.num_frames} frames needs more memory than there is: "
        "ask for a smaller size or fewer frames"
    )
