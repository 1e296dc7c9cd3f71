"""What of a request a checkpoint cannot use: said, and not passed over in silence. Knows no torch."""

from collections.abc import Iterable
from dataclasses import dataclass

from models.recipes import Recipe
from models.request import VideoRequest

UNGUIDED = {"cfg_scale_video": 1.0, "cfg_scale_audio": 1.0, "stg_scale_video": 0.0, "modality_scale": 1.0}
"""The scales at which guidance is off."""
FIXED_STEPS = "a distilled model has fixed steps"
NO_GUIDANCE = "a distilled model has its guidance built in"


@dataclass(frozen=True)
class Adjustment:
    """A field of a request that is rendered with another value than was given."""

    field: str
    given: float
    used: float
    reason: str


def find_adjustments(request: VideoRequest, recipe: Recipe) -> tuple[Adjustment, ...]:
    """What must change in `request` for a checkpoint with this recipe. Nothing changes twice."""
    if recipe.sigmas is None:
        return ()
    wanted: dict[str, tuple[float, str]] = {"num_inference_steps": (len(recipe.sigmas), FIXED_STEPS)}
    wanted |= {field: (scale, NO_GUIDANCE) for field, scale in UNGUIDED.items()}
    return tuple(
        Adjustment(field, given, used, reason)
        for field, (used, reason) in wanted.items()
        if (given := getattr(request, field)) != used
    )


def adjust(request: VideoRequest, adjustments: Iterable[Adjustment]) -> VideoRequest:
    """The request as it is rendered."""
    return request.model_copy(update={each.field: each.used for each in adjustments})
