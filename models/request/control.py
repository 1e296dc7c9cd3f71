"""The IC-LoRA of a request, which follows a control video. Does not import torch."""

import math
from collections.abc import Mapping

from models.errors import InvalidRequest
from models.request.json_words import Described
from models.request.loras import CAMERA_MOTION, LORAS, KnownLora
from models.request.request import PIXELS_PER_LATENT, SIDE_MULTIPLE, VideoRequest

CONTROL_STRENGTH, PREPROCESSOR = "control_strength", "preprocessor"
"""The fields of a control video."""
ROUTE = "/v1/video/async_control"


def control_loras(known: Mapping[str, KnownLora]) -> list[str]:
    """The names of the IC-LoRAs."""
    return [name for name, each in known.items() if each.control is not None]


def plain_loras(known: Mapping[str, KnownLora]) -> dict[str, KnownLora]:
    """The LoRAs that need no control video."""
    return {name: each for name, each in known.items() if each.control is None}


def find_control(request: VideoRequest, known: Mapping[str, KnownLora]) -> str:
    """The name of the IC-LoRA of a request that has a control video. Raises InvalidRequest unless there is exactly one.

    All LoRAs of the request must be known.
    """
    names = control_loras(known)
    if not names:
        raise InvalidRequest(LORAS, Described("no IC-LoRA"), "a list with one, but this server has no IC-LoRAs")
    if request.camera_motion in names:
        allowed = f"left out: {LORAS} picks a LoRA that follows a control video"
        raise InvalidRequest(CAMERA_MOTION, request.camera_motion, allowed)
    chosen = [each.name for each in request.loras if each.name in names and each.scale]
    if len(chosen) != 1:
        given = Described(", ".join(chosen) or "none of them")
        raise InvalidRequest(LORAS, given, f"a list with exactly one of {', '.join(names)}, with a scale above 0")
    return chosen[0]


def refuse_control(request: VideoRequest, known: Mapping[str, KnownLora]) -> None:
    """Raise InvalidRequest if a request without a control video picks an IC-LoRA. All its LoRAs must be known."""
    allowed = f"a LoRA that needs no control video; {ROUTE} takes one"
    for index, each in enumerate(request.loras):
        if known[each.name].control is not None and each.scale:
            raise InvalidRequest(f"{LORAS}[{index}].name", each.name, allowed)
    if request.camera_motion is not None and known[request.camera_motion].control is not None:
        raise InvalidRequest(CAMERA_MOTION, request.camera_motion, allowed)


def control_share(request: VideoRequest, known: Mapping[str, KnownLora]) -> float:
    """The tokens of a control video, as a part of those of the video that it is appended to. 0 without an IC-LoRA."""
    factors = (
        known[each.name].reference_downscale_factor
        for each in request.loras
        if each.scale and each.name in known and known[each.name].control is not None
    )
    return sum(1 / factor**2 for factor in factors)


def control_divisor(request: VideoRequest, reference_downscale_factor: int) -> int:
    """How many times smaller a control video is than the result, on each side: that of the first of two stages."""
    return reference_downscale_factor * (2 if request.is_upscaled else 1)


def side_multiple(divisor: int) -> int:
    """Of what the sides of a result are multiples, so that those of its control video are whole latents."""
    return math.lcm(SIDE_MULTIPLE, PIXELS_PER_LATENT * divisor)
