"""Says why a request in two stages is refused. Does not import torch."""

from models.checkpoint.profile import CheckpointProfile
from models.errors import InvalidRequest
from models.request.request import VideoRequest

FIELD = "upscale"
NOT_DISTILLED = (
    "none: two stages need a distilled checkpoint, and this server's is a base one (the operator may set "
    "generator.checkpoint_type, or another model)"
)
NO_UPSAMPLER = (
    "none: this server has no latent upsampler (the operator has to set generator.latent_upsampler to a folder or a "
    "repository with one)"
)


def check_upscale(request: VideoRequest, profile: CheckpointProfile) -> None:
    """Raise InvalidRequest for two stages that a checkpoint with this profile cannot render."""
    if not request.is_upscaled:
        return
    if profile.sigmas is None:
        raise InvalidRequest(FIELD, request.upscale, NOT_DISTILLED)
    if profile.upsampler is False:
        refuse_upscale(request)


def refuse_upscale(request: VideoRequest) -> None:
    """Raise InvalidRequest for a server without a latent upsampler."""
    raise InvalidRequest(FIELD, request.upscale, NO_UPSAMPLER)
