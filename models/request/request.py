"""The parameters of a video, defined once: name, default, bounds, description.

The HTTP layer, the task row and the model all use `VideoRequest`. `RequestLimits` has the bounds that an operator can
change. Parameters keep their names down to the line that calls diffusers.
"""

import math
import secrets
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from models.checkpoint.profile import STEPS, Family
from models.errors import InvalidRequest
from models.request.enums import CHOICES, DurationMode, ImageFit, Quality, Upscale
from models.request.json_words import NOTHING
from models.request.loose_values import is_blank, refuse_bool
from models.request.loras import (
    ALLOWED,
    CAMERA_MOTION,
    EXAMPLE,
    LORAS,
    MAX_LORAS,
    MAX_NAME_CHARS,
    LoraChoice,
    LoraChoices,
    choose_loras,
)
from models.request.negative_prompt import DEFAULT_NEGATIVE_PROMPT

MAX_SEED = 2**64 - 1
"""The largest seed of torch's generators. JavaScript rounds JSON numbers above 2**53, so digits as text are accepted.
"""
DRAWN_SEED = -1
"""Asks the server to draw a seed, like null. Other servers use the same value."""
TEXTS = ("prompt", "negative_prompt")
"""Fields for which the empty text is a valid value."""
SIDE_MULTIPLE = 64
MAX_TIMEOUT_S = 7 * 24 * 3600
MAX_URL_CHARS = 2000
PIXELS_PER_LATENT = 32
"""The video VAE encodes so many rows, and so many columns, into one of latents."""
FRAMES_PER_LATENT = 8
"""The video VAE encodes 8 frames into one latent frame. The first frame has a latent frame of its own."""
NTSC_RATES = {nominal: Fraction(nominal * 1000, 1001) for nominal in (24, 30, 48, 60, 120)}
NTSC_TOLERANCE = 0.005
"""Maximum distance of a rounded rate from its fraction: 23.98 still means 24000/1001."""


def _refuse_surrogates(value: str) -> str:
    value.encode()  # a lone surrogate, which JSON can contain, cannot be stored: raises ValueError
    return value


def _spell_whole_number(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


NotBool = BeforeValidator(refuse_bool)
NumberAsWord = BeforeValidator(_spell_whole_number)
"""For a choice whose word is a number, which JSON may have as a number."""
Encodable = AfterValidator(_refuse_surrogates)


class VideoRequest(BaseModel):
    """The parameters of a video request. Defaults are those of LTX-2 (19B)."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)

    prompt: Annotated[
        str,
        Encodable,
        Field(
            min_length=1,
            description="What the video shows and how it sounds, as one flowing paragraph. 1,024 tokens are read.",
        ),
    ]
    negative_prompt: Annotated[
        str,
        Encodable,
        Field(
            description="What the video should not show. If it is left out: the list of faults from Lightricks' own "
            "pipelines. Empty: none. A distilled model does not use it."
        ),
    ] = DEFAULT_NEGATIVE_PROMPT
    height: Annotated[
        int, NotBool, Field(ge=SIDE_MULTIPLE, multiple_of=SIDE_MULTIPLE, description="Height in pixels.")
    ] = 512
    width: Annotated[
        int, NotBool, Field(ge=SIDE_MULTIPLE, multiple_of=SIDE_MULTIPLE, description="Width in pixels.")
    ] = 768
    num_frames: Annotated[
        int,
        NotBool,
        Field(ge=1, description="Frames in the video: 49 is about 2 s, 97 about 4 s, 121 about 5 s at 24 fps."),
    ] = 121
    length: Annotated[
        DurationMode,
        Field(description="auto: the model chooses the length from the prompt, at most num_frames (LTX-2.5)."),
    ] = DurationMode.EXACT
    frame_rate: Annotated[
        float,
        NotBool,
        Field(gt=0, description="Frames per second. 23.976, 29.97 and 59.94 mean the exact NTSC fractions."),
    ] = 25.0
    num_inference_steps: Annotated[
        int, NotBool, Field(ge=2, description="Denoising steps: 20 is faster, 40 looks better.")
    ] = STEPS[Family.LTX_2_0]
    seed: Annotated[
        Annotated[int, Field(ge=DRAWN_SEED, le=MAX_SEED)] | None,
        NotBool,
        Field(description="The same seed gives the same video. null or -1 draws one and reports it."),
    ] = 42
    cfg_scale_video: Annotated[
        float, NotBool, Field(ge=0, description="How strongly the video follows the prompt. 1 is off.")
    ] = 3.0
    stg_scale_video: Annotated[float, NotBool, Field(ge=0, description="Spatiotemporal guidance. 0 is off.")] = 1.0
    cfg_scale_audio: Annotated[
        float, NotBool, Field(ge=0, description="How strongly the audio follows the prompt. 1 is off.")
    ] = 7.0
    modality_scale: Annotated[
        float, NotBool, Field(ge=0, description="How strongly video and audio follow each other. 1 is off.")
    ] = 3.0
    enhance_prompt: Annotated[
        bool,
        Field(
            description="true: a language model of the server's operator rewrites the prompt first; `adjusted` has the "
            "new text. Where there is none, a 422."
        ),
    ] = False
    generate_audio: Annotated[bool, Field(description="false: a video without audio. The frames stay the same.")] = True
    fit: Annotated[
        ImageFit, Field(description="Image-to-video: how an image of another aspect ratio is fitted to the size.")
    ] = ImageFit.CROP
    quality: Annotated[
        Quality, Field(description="fast: skips work with little visible effect; nearly the same video, sooner.")
    ] = Quality.EXACT
    loras: Annotated[
        LoraChoices,
        Field(
            description=f"LoRAs of this server, at most {MAX_LORAS}, each with a scale from 0 to its bound: {EXAMPLE}. "
            "GET /v1/models lists them. In a form: the same as JSON text."
        ),
    ] = ()
    camera_motion: Annotated[
        Annotated[str, Encodable, Field(min_length=1, max_length=MAX_NAME_CHARS)] | None,
        Field(description="A LoRA of this server by its name, such as dolly_in, with scale 1. null for none."),
    ] = None
    upscale: Annotated[
        Upscale,
        NumberAsWord,
        Field(
            description="2: renders at half the height and width, doubles that and refines it in three steps: large "
            "videos in half the time with a distilled model, in a fifth with a base one. Needs a latent upsampler, and "
            "for a base model its distilled LoRA."
        ),
    ] = Upscale.NONE
    timeout_s: Annotated[
        float | None,
        NotBool,
        Field(
            description="Seconds from submit after which the task fails if it is not done; a download of the model "
            "does not count. null for no deadline."
        ),
    ] = None

    webhook_url: Annotated[
        Annotated[str, Encodable, Field(min_length=1, max_length=MAX_URL_CHARS)] | None,
        Field(
            description="URL to notify when the task ends, signed per Standard Webhooks. null for none.",
        ),
    ] = None

    @property
    def uses_cfg(self) -> bool:
        """Whether classifier-free guidance is on. If it is off, the negative prompt is not read."""
        return max(self.cfg_scale_video, self.cfg_scale_audio) > 1

    @property
    def is_guided(self) -> bool:
        """Whether any guidance is on. Each takes a transformer call of its own in each step."""
        return self.uses_cfg or self.stg_scale_video > 0 or self.modality_scale > 1

    @property
    def chosen_loras(self) -> tuple[LoraChoice, ...]:
        """The LoRAs of the request, with that of its camera motion."""
        return choose_loras(self.loras, self.camera_motion)

    @property
    def is_upscaled(self) -> bool:
        """Whether the video is rendered in two stages."""
        return self.upscale is not Upscale.NONE

    @property
    def num_rendered_frames(self) -> int:
        """The number of frames that the model renders: `num_frames` rounded up to 8k+1. Surplus frames are cut."""
        return math.ceil((self.num_frames - 1) / FRAMES_PER_LATENT) * FRAMES_PER_LATENT + 1

    @property
    def exact_frame_rate(self) -> Fraction:
        """The frame rate as a fraction: 23.976 is 24000/1001."""
        ntsc = NTSC_RATES.get(round(self.frame_rate))
        if ntsc is not None and abs(float(ntsc) - self.frame_rate) < NTSC_TOLERANCE:
            return ntsc
        return Fraction(self.frame_rate).limit_denominator(1000)

    @property
    def duration_s(self) -> float:
        """Playing time of the video, in seconds."""
        return float(self.num_frames / self.exact_frame_rate)


class RequestLimits(BaseModel):
    """Bounds on what a client may ask for. The defaults are what LTX-2 is made for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_prompt_chars: Annotated[int, Field(ge=1, description="Longest prompt, in characters.")] = 5000
    max_side_px: Annotated[int, Field(ge=SIDE_MULTIPLE, description="Longest side, in pixels.")] = 1920
    min_frames: Annotated[int, Field(ge=1, description="Fewest frames.")] = 9
    max_frames: Annotated[int, Field(ge=1, description="Most frames.")] = 481
    max_total_pixels: Annotated[
        int,
        Field(
            ge=1,
            description="Most pixels in a whole video: height x width x num_frames. The default is 20 s at 1080p; the "
            "memory decides what fits.",
        ),
    ] = 1088 * 1920 * 481
    min_frame_rate: Annotated[float, Field(gt=0, description="Lowest frame rate, in frames per second.")] = 1.0
    max_frame_rate: Annotated[float, Field(gt=0, description="Highest frame rate, in frames per second.")] = 60.0
    max_duration_s: Annotated[
        float,
        Field(gt=0, description="Longest video, in seconds: what LTX-2's positions in time reach is 20."),
    ] = 20.1
    max_inference_steps: Annotated[int, Field(ge=2, description="Most denoising steps.")] = 100
    max_guidance_scale: Annotated[float, Field(gt=0, description="Highest guidance scale.")] = 20.0
    max_image_bytes: Annotated[int, Field(ge=1, description="Largest image file, in bytes.")] = 20 * 1024 * 1024
    max_audio_bytes: Annotated[int, Field(ge=1, description="Largest audio file, in bytes.")] = 50 * 1024 * 1024
    max_video_bytes: Annotated[int, Field(ge=1, description="Largest video file, in bytes.")] = 200 * 1024 * 1024
    max_edit_duration_s: Annotated[
        float,
        Field(
            gt=0,
            description="Longest result of a retake or an extend, in seconds. The model renders at most "
            "max_duration_s of it.",
        ),
    ] = 60.0
    max_image_pixels: Annotated[
        int,
        Field(ge=1, description="Most pixels in an image file. Formats that decode at a cost have a lower bound."),
    ] = 210_000_000
    max_decode_bytes: Annotated[
        int,
        Field(ge=2**24, description="Most memory that decoding one image may take, in bytes: what bounds the pixels."),
    ] = 768 * 1024 * 1024

    def bounds(self) -> dict[str, tuple[float, float]]:
        """The lowest and highest value of each numeric parameter, by name."""
        scales = ("cfg_scale_video", "stg_scale_video", "cfg_scale_audio", "modality_scale")
        return {
            "height": (SIDE_MULTIPLE, self.max_side_px),
            "width": (SIDE_MULTIPLE, self.max_side_px),
            "num_frames": (self.min_frames, self.max_frames),
            "frame_rate": (self.min_frame_rate, self.max_frame_rate),
            "num_inference_steps": (2, self.max_inference_steps),
            "seed": (DRAWN_SEED, MAX_SEED),
            "timeout_s": (1, MAX_TIMEOUT_S),
            **dict.fromkeys(scales, (0, self.max_guidance_scale)),
        }


def parse_request(fields: Mapping[str, object], limits: RequestLimits) -> VideoRequest:
    """Validate the client's fields, and draw the seed if the client left it open.

    null and the empty text mean the same as a missing field, except for the prompts and the seed. Unknown fields are
    ignored (`unknown_fields` returns their names). Raises InvalidRequest for the first invalid field.
    """
    draws = draws_seed(fields)
    fields = {
        name: value
        for name, value in fields.items()
        if name in VideoRequest.model_fields and not _is_left_out(name, value)
    }
    if draws:
        fields["seed"] = None
    if isinstance(prompt := fields.get("prompt"), str) and not prompt.strip():
        raise InvalidRequest("prompt", prompt, f"a text of 1 to {limits.max_prompt_chars} characters")
    try:
        request = VideoRequest.model_validate(fields)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)[0], limits) from None
    _check_bounds(request, limits)
    if request.seed is None:
        request = request.model_copy(update={"seed": secrets.randbelow(2**32)})
    return request


def draws_seed(fields: Mapping[str, object]) -> bool:
    """Whether these fields leave the seed to the server: null, the empty text or -1."""
    if "seed" not in fields:
        return False
    seed = fields["seed"]
    if is_blank(seed):
        return True
    try:
        return not isinstance(seed, bool) and float(str(seed)) == DRAWN_SEED
    except ValueError:
        return False


def _is_left_out(name: str, value: object) -> bool:
    """Whether the value means the same as a missing field."""
    if name == "prompt":
        return False
    return value is None or (name not in TEXTS and is_blank(value))


def unknown_fields(fields: Mapping[str, object]) -> list[str]:
    """The names in `fields` that are not parameters, most often typing errors."""
    unknown = sorted(name for name in fields if name not in VideoRequest.model_fields)
    return [name.encode(errors="backslashreplace").decode() for name in unknown]


def _check_bounds(request: VideoRequest, limits: RequestLimits) -> None:
    for name in TEXTS:
        text: str = getattr(request, name)
        if len(text) > limits.max_prompt_chars and text != VideoRequest.model_fields[name].default:
            raise InvalidRequest(name, text, f"a text of at most {limits.max_prompt_chars} characters")
    for name, (low, high) in limits.bounds().items():
        value = getattr(request, name)
        if value is not None and not low <= value <= high:
            raise InvalidRequest(name, value, _allowed(name, limits))
    pixel_frames = request.height * request.width * request.num_frames
    if pixel_frames > limits.max_total_pixels:
        most = limits.max_total_pixels // (request.height * request.width)
        raise InvalidRequest(
            "num_frames",
            request.num_frames,
            f"at most {most} at {request.width}x{request.height} "
            f"(height x width x num_frames up to {limits.max_total_pixels})",
        )
    if request.duration_s > limits.max_duration_s:
        most = math.floor(limits.max_duration_s * request.exact_frame_rate)
        raise InvalidRequest(
            "num_frames",
            request.num_frames,
            f"at most {most} at {request.frame_rate:g} frames per second (up to {limits.max_duration_s:g} s)",
        )


def _explain(error: ErrorDetails, limits: RequestLimits) -> InvalidRequest:
    """Translate pydantic's error into this project's message."""
    field = str(error["loc"][0]) if error["loc"] else "body"
    given = NOTHING if error["type"] == "missing" else error["input"]
    return InvalidRequest(field, given, _allowed(field, limits))


OTHERS_ALLOWED = {
    "webhook_url": f"an http or https url of at most {MAX_URL_CHARS} characters, or null",
    LORAS: ALLOWED,
    CAMERA_MOTION: f"the name of a LoRA, of 1 to {MAX_NAME_CHARS} characters, or null",
}
"""What the fields may be that are neither a number nor one of several words."""


def _allowed(name: str, limits: RequestLimits) -> str:
    """A field's allowed values, as text."""
    if name in TEXTS:
        return f"a text of {int(name == 'prompt')} to {limits.max_prompt_chars} characters"
    if name in OTHERS_ALLOWED:
        return OTHERS_ALLOWED[name]
    if name in CHOICES:
        return "one of " + ", ".join(CHOICES[name])
    if VideoRequest.model_fields[name].annotation is bool:
        return "true or false"
    low, high = limits.bounds()[name]
    kind = "a number" if VideoRequest.model_fields[name].annotation in (float, float | None) else "a whole number"
    multiple = f" and a multiple of {SIDE_MULTIPLE}" if name in ("height", "width") else ""
    null = {"seed": ", or null or -1 to draw one", "timeout_s": ", or null for no deadline"}.get(name, "")
    return f"{kind} from {spell_number(low)} to {spell_number(high)}{multiple}{null}"


def spell_seconds(seconds: float | Fraction, *, up: bool = False) -> str:
    """Seconds with three digits, rounded to the inside of a range: down, or up for its lower end."""
    return spell_number((math.ceil if up else math.floor)(seconds * 1000) / 1000)


def spell_number(number: float) -> str:
    """All digits of an integer; the significant digits of another number."""
    return str(number) if isinstance(number, int) else f"{number:.16g}"
