"""Estimates memory and transformer calls of a request before it runs. Does not import torch.

The formulas reproduce these counts: LTX-2 (19B) in bfloat16, live tensors, without the weights.

| what | 512x768, 121 frames | 1088x1920, 121 frames |
|---|---|---|
| encoding the text, one prompt; two (guided) | 2.5; 5.4 GB | the same |
| denoising, one row; two (guided) | 1.3; 3.1 GB | 5.3; 11.0 GB |
| denoising from an image, one row; two | 2.5; 5.4 GB | 11.5; 23.4 GB |
| decoding whole | 4.1 GB | 21.5 GB |
| decoding in tiles | 2.4 GB | 5.0 GB |
| upscaling latents, of two stages | 0.05 GB | 0.27 GB |
| encoding a clip whole | 4.1 GB | 21.9 GB |
| encoding a clip in tiles | 2.5 GB | 3.5 GB |

`python -m benchmarks.peak_memory` repeats the count, for each family.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from models.checkpoint.profile import REFINING_SIGMAS
from models.conditions import NOTHING_GIVEN, GivenTokens
from models.errors import DoesNotFit
from models.request.enums import Quality
from models.request.request import FRAMES_PER_LATENT, PIXELS_PER_LATENT, SIDE_MULTIPLE, RequestLimits, VideoRequest

GB = 10**9
TEXT_BYTES_PER_PROMPT = int(2.7 * GB)
"""The embeddings of its 49 layers, all of which the connectors read."""
DENOISE_BYTES_PER_ROW = int(0.65 * GB)
"""Part of each row that does not depend on the video's size: text embeddings and constant buffers."""
DENOISE_BYTES_PER_TOKEN = 151_000
"""Per token of each row that is denoised at once."""
IMAGE_BYTES_PER_TOKEN = 190_000
"""Additional, where each token has its own timestep."""
UPSCALE_BYTES_PER_TOKEN = 9_000
"""Per token of the video whose latents are doubled in height and width."""
DECODE_BYTES_PER_PIXEL = 86
"""Per pixel of each frame that is decoded at once."""
TILED_BYTES_PER_PIXEL = 9
"""Per pixel of each frame of the tiled video."""
AUDIO_TIMESTEP_BYTES_PER_TOKEN = 95_000
"""Per token of the audio that has its own timestep: half of the video's, as is the width of the audio's tokens."""
AUDIO_TOKENS_PER_S = 25
ENCODE_BYTES_PER_PIXEL = 81
"""Per pixel of each frame that is encoded at once."""
ENCODED_BYTES_PER_PIXEL = 6
"""Per pixel of each frame of a given clip: three colors in bfloat16."""
HALF_SIZE_SHARE = 0.25
"""The share of a video's tokens that the first of two stages has."""
TILE_SIDE = 512
CUDA_BYTES = int(2.5 * GB)
"""Kernels, cuBLAS and memory that the allocator cannot use."""
TEXT_KEYS_BYTES = int(2.4 * GB)
"""GPU memory that the optimization `text_kv_cache` holds during a task."""
TINY_BYTES_PER_PIXEL = 30
"""Host memory per pixel of each frame that the tiny model renders on a CPU: 28 measured, at 109 and 217 megapixels."""
TINY_CLIP_BYTES_PER_PIXEL = 60
"""The same where a clip is given, which is encoded in float32: 57 measured, at 19 and 48 megapixels."""
SHAPE = ("height", "width", "num_frames")


@dataclass(frozen=True)
class PeakMemory:
    """The peak memory of each stage of a request, without the weights, in bytes."""

    text_bytes: int
    denoise_bytes: int
    decode_bytes: int
    encode_bytes: int = 0
    upscale_bytes: int = 0

    @property
    def bytes(self) -> int:
        """The maximum over the stages, which run one after the other."""
        return max(self.text_bytes + CUDA_BYTES, self.sized_bytes)

    @property
    def sized_bytes(self) -> int:
        """The part that a smaller size would reduce. Excludes text encoding, which every placement has memory for."""
        return max(self.denoise_bytes, self.decode_bytes, self.encode_bytes, self.upscale_bytes) + CUDA_BYTES


def estimate_peak(request: VideoRequest, given: GivenTokens = NOTHING_GIVEN) -> PeakMemory:
    """The peak memory of `request`. Of two stages, the second has the tokens of the whole video, as one stage has.

    Decoding and encoding are assumed to use tiles if the whole video needs more than denoising.
    """
    frames = request.num_rendered_frames
    denoise = denoise_bytes(request, given)
    whole = decode_bytes(request.height, request.width, frames)
    tiled = tiled_decode_bytes(request.height, request.width, frames)
    decode = whole if whole <= denoise else min(whole, tiled)
    return PeakMemory(
        text_bytes(request),
        denoise,
        decode,
        _encode_peak(request, denoise) if given.encodes_clip or given.control_factor else 0,
        upscale_bytes(request) if request.is_upscaled else 0,
    )


def upscale_bytes(request: VideoRequest) -> int:
    """Doubling the height and width of latents, without the upsampler's weights."""
    return video_tokens(request) * UPSCALE_BYTES_PER_TOKEN


def _encode_peak(request: VideoRequest, denoise: int) -> int:
    """Encoding a given clip: whole, or in tiles where that needs more than denoising."""
    shape = request.height, request.width, request.num_rendered_frames
    whole = encode_bytes(*shape)
    return whole if whole <= denoise else min(whole, tiled_encode_bytes(*shape))


def denoise_bytes(request: VideoRequest, given: GivenTokens = NOTHING_GIVEN) -> int:
    """Denoising, without the weights. Classifier-free guidance denoises two rows at once.

    Each appended image adds the tokens of one latent frame, and a control video those of a video of its size. Of two
    stages, the first has a quarter of the tokens, and the second neither guidance nor a control video.
    """
    rows = _rows(request)
    if not request.is_upscaled:
        return rows * _row_bytes(request, given)
    first = rows * _row_bytes(request, given, HALF_SIZE_SHARE)
    return max(first, _row_bytes(request, replace(given, control_factor=0)))


def _row_bytes(request: VideoRequest, given: GivenTokens, share: float = 1.0) -> int:
    """Denoising one row with a share of the video's tokens."""
    per_token = DENOISE_BYTES_PER_TOKEN + (IMAGE_BYTES_PER_TOKEN if given.own_timesteps else 0)
    tokens = video_tokens(request) + given.appended_images * tokens_per_latent_frame(request)
    tokens += control_tokens(request, given)
    audio = audio_tokens(request) * AUDIO_TIMESTEP_BYTES_PER_TOKEN if given.own_audio_timesteps else 0
    return DENOISE_BYTES_PER_ROW + int(tokens * share) * per_token + audio


def control_tokens(request: VideoRequest, given: GivenTokens) -> int:
    """The tokens of a control video beside those of a video of the request's size."""
    return video_tokens(request) // given.control_factor**2 if given.control_factor else 0


def text_bytes(request: VideoRequest) -> int:
    """Encoding the prompt, and the negative prompt if it is used."""
    return TEXT_BYTES_PER_PROMPT * _rows(request)


def _rows(request: VideoRequest) -> int:
    """The number of prompts in one transformer call."""
    return 2 if request.uses_cfg else 1


def video_tokens(request: VideoRequest) -> int:
    """Video tokens: one per latent."""
    latents = (request.num_rendered_frames - 1) // FRAMES_PER_LATENT + 1
    return latents * tokens_per_latent_frame(request)


def tokens_per_latent_frame(request: VideoRequest) -> int:
    """The tokens of one latent frame, which are also those of an image."""
    return (request.height // PIXELS_PER_LATENT) * (request.width // PIXELS_PER_LATENT)


def audio_tokens(request: VideoRequest) -> int:
    """Audio tokens: 25 in a second."""
    return round(request.num_rendered_frames / request.exact_frame_rate * AUDIO_TOKENS_PER_S)


def transformer_calls(request: VideoRequest, fast_guidance_fraction: float) -> float:
    """The number of transformer calls: four per step with all guidance, one without.

    Calls of the first of two stages count by their tokens, a quarter of the video's. `fast_guidance_fraction` is the
    fraction of steps that a task of quality fast guides.
    """
    calls = transformer_calls_of_steps(request, fast_guidance_fraction, request.num_inference_steps)
    return calls + len(REFINING_SIGMAS) if request.is_upscaled else calls


def transformer_calls_of_steps(request: VideoRequest, fast_guidance_fraction: float, steps: float) -> float:
    """The transformer calls of the first `steps` steps, which may be a fraction. The guided steps come first."""
    guiding = request.uses_cfg + (request.stg_scale_video > 0) + (request.modality_scale > 1)
    calls = steps + guiding * min(steps, guided_steps(request, fast_guidance_fraction))
    return calls * HALF_SIZE_SHARE if request.is_upscaled else calls


def guided_steps(request: VideoRequest, fast_guidance_fraction: float) -> int:
    """The number of guided steps, which come first. An exact request guides all steps."""
    share = fast_guidance_fraction if request.quality is Quality.FAST else 1.0
    return max(1, math.ceil(request.num_inference_steps * share))


def decode_bytes(height: int, width: int, num_frames: int) -> int:
    """Memory for decoding a whole video at once, without the decoder's weights, in bytes."""
    return height * width * num_frames * DECODE_BYTES_PER_PIXEL


def tiled_decode_bytes(height: int, width: int, num_frames: int) -> int:
    """Memory for decoding in tiles, in bytes: one tile, and the finished frames."""
    tile = min(height, TILE_SIDE) * min(width, TILE_SIDE) * DECODE_BYTES_PER_PIXEL
    return num_frames * (tile + height * width * TILED_BYTES_PER_PIXEL)


def encode_bytes(height: int, width: int, num_frames: int) -> int:
    """Memory for encoding a whole clip at once, without the encoder's weights, in bytes."""
    return height * width * num_frames * (ENCODE_BYTES_PER_PIXEL + ENCODED_BYTES_PER_PIXEL)


def tiled_encode_bytes(height: int, width: int, num_frames: int) -> int:
    """Memory for encoding in tiles, in bytes: one tile, and the clip."""
    tile = min(height, TILE_SIDE) * min(width, TILE_SIDE) * ENCODE_BYTES_PER_PIXEL
    return num_frames * (tile + height * width * ENCODED_BYTES_PER_PIXEL)


def nearest_fitting(
    request: VideoRequest, free_bytes: int, limits: RequestLimits, given: GivenTokens = NOTHING_GIVEN
) -> tuple[VideoRequest, ...]:
    """The requests nearest to one that does not fit: one with fewer frames, one with a smaller size."""
    return _nearest(request, limits, lambda each: estimate_peak(each, given).sized_bytes <= free_bytes)


def _nearest(
    request: VideoRequest, limits: RequestLimits, fits: Callable[[VideoRequest], bool]
) -> tuple[VideoRequest, ...]:
    shorter = next(filter(fits, _shorter(request, limits)), None)
    smaller = next(filter(fits, _smaller(request)), None)
    return tuple(found for found in (shorter, smaller) if found is not None)


def suggest_alternatives(
    request: VideoRequest, free_bytes: int, limits: RequestLimits, given: GivenTokens = NOTHING_GIVEN
) -> tuple[VideoRequest, ...]:
    """The nearest requests that fit into `free_bytes`. Empty if `request` itself fits.

    Also empty if not even the smallest request would fit: then the measured `free_bytes` is probably wrong.
    """
    if estimate_peak(request, given).sized_bytes <= free_bytes:
        return ()
    return nearest_fitting(request, free_bytes, limits, given)


def check_fits(
    request: VideoRequest, free_bytes: int, limits: RequestLimits, given: GivenTokens = NOTHING_GIVEN
) -> None:
    """Raise DoesNotFit for a request that needs more than `free_bytes`."""
    nearest = suggest_alternatives(request, free_bytes, limits, given)
    if nearest:
        needed_bytes = estimate_peak(request, given).bytes
        raise _does_not_fit(request, nearest, "the GPU's memory", needed_bytes, free_bytes)


def check_tiny_fits(
    request: VideoRequest, free_host_bytes: int, limits: RequestLimits, given: GivenTokens = NOTHING_GIVEN
) -> None:
    """Raise DoesNotFit for a request whose render by the tiny model on a CPU needs more than `free_host_bytes`.

    Does not raise if not even the smallest request would fit: then the memory is probably about to be freed.
    """
    if tiny_bytes(request, given) <= free_host_bytes:
        return
    nearest = _nearest(request, limits, lambda each: tiny_bytes(each, given) <= free_host_bytes)
    if nearest:
        raise _does_not_fit(request, nearest, "the host's memory", tiny_bytes(request, given), free_host_bytes)


def tiny_bytes(request: VideoRequest, given: GivenTokens = NOTHING_GIVEN) -> int:
    """Host memory for a render by the tiny model on a CPU, which encodes and decodes a whole video at once."""
    encodes = given.encodes_clip or given.control_factor > 0
    per_pixel = TINY_CLIP_BYTES_PER_PIXEL if encodes else TINY_BYTES_PER_PIXEL
    return request.height * request.width * request.num_rendered_frames * per_pixel


def _does_not_fit(
    request: VideoRequest, fitting: Sequence[VideoRequest], memory: str, needed_bytes: int, free_bytes: int
) -> DoesNotFit:
    nearest = [shape_of(each) for each in fitting]
    field = next(name for name in reversed(SHAPE) if nearest[0][name] != getattr(request, name))
    ways = " or ".join(f"{each['width']}x{each['height']} with {each['num_frames']} frames" for each in nearest)
    allowed = (
        f"what fits into {memory}: {ways} (this needs about {needed_bytes / GB:.1f} GB beside the model, "
        f"{free_bytes / GB:.1f} GB are free)"
    )
    return DoesNotFit(field, getattr(request, field), allowed, nearest)


def shape_of(request: VideoRequest) -> Mapping[str, int]:
    """Height, width and num_frames of a request, by parameter name."""
    return {name: getattr(request, name) for name in SHAPE}


def _shorter(request: VideoRequest, limits: RequestLimits) -> Iterator[VideoRequest]:
    frames = request.num_rendered_frames - FRAMES_PER_LATENT
    while frames >= limits.min_frames:
        yield request.model_copy(update={"num_frames": frames})
        frames -= FRAMES_PER_LATENT


def _smaller(request: VideoRequest) -> Iterator[VideoRequest]:
    """Smaller sizes of about the same aspect ratio. The longer side decreases by 64 pixels each time."""
    long, short = max(request.height, request.width), min(request.height, request.width)
    for side in range(long - SIDE_MULTIPLE, 0, -SIDE_MULTIPLE):
        other = max(SIDE_MULTIPLE, round(side * short / long / SIDE_MULTIPLE) * SIDE_MULTIPLE)
        height, width = (side, other) if request.height >= request.width else (other, side)
        yield request.model_copy(update={"height": height, "width": width})
