"""Says why a request in two stages is refused. Does not import torch."""

from models.checkpoint.profile import CheckpointProfile
from models.errors import InvalidRequest
from models.request.request import VideoRequest

FIELD = "upscale"
NO_DISTILLED_LORA = (
    "none: this server's checkpoint is a base one, which needs the distilled LoRA for two stages (the operator has to "
    "set generator.distilled_lora, or a distilled checkpoint)"
)
NO_UPSAMPLER = (
    "none: this server has no latent upsampler (the operator has to set generator.latent_upsampler to a folder or a "
    "repository with one)"
)


def check_upscale(request: VideoRequest, profile: CheckpointProfile) -> None:
    """Raise InvalidRequest for two stages that a checkpoint with this profile cannot render."""
    if not request.is_upscaled:
        return
    if lacks_distilled_lora(profile):
        raise InvalidRequest(FIELD, request.upscale, NO_DISTILLED_LORA)
    if profile.upsampler is False:
        refuse_upscale(request)


def lacks_distilled_lora(profile: CheckpointProfile) -> bool:
    """Whether it is known that two stages of this checkpoint lack their LoRA. A distilled one needs none."""
    return profile.sigmas is None and profile.distilled_lora is False


def refuse_upscale(request: VideoRequest) -> None:
    """Raise InvalidRequest for a server without a latent upsampler."""
    raise InvalidRequest(FIELD, request.upscale, NO_UPSAMPLER)
