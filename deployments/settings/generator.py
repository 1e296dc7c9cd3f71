"""The replicas that hold the model, one a GPU."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from deployments.settings.base import SettingsModel
from models.checkpoint.profile import CheckpointType
from models.ltx2.options import FAST_GUIDANCE_FRACTION, PROMPT_CACHE_BYTES
from models.memory.offload_plan import OffloadMode, TextEncoderDtype, WeightDtype
from models.optimizations.selection import Optimization


class GeneratorSettings(SettingsModel):
    """The replicas that hold the model, one a GPU."""

    min_replicas: Annotated[int, Field(ge=0, description="Replicas kept when idle; 0 frees the GPU.")] = 0
    max_replicas: Annotated[int, Field(ge=1, description="Most replicas: the GPUs it may take.")] = 1
    downscale_to_zero_delay_s: Annotated[
        float, Field(ge=0, description="Idle unload: seconds without a task until the last replica goes.")
    ] = 600.0
    sleep_after_idle_s: Annotated[
        Annotated[float, Field(ge=0)] | Literal["auto"] | None,
        Field(
            description="Seconds without a task until the weights leave the GPU for host memory; auto is 120, null "
            "never. Where host memory has no room for them they stay."
        ),
    ] = "auto"
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray sets aside for each Generator.")] = 0.5
    stall_timeout_s: Annotated[
        float,
        Field(gt=0, description="A step or a decode that reports nothing for so long ends its replica."),
    ] = 300.0
    load_timeout_s: Annotated[
        float, Field(gt=0, description="The same for loading and downloading the model, in seconds.")
    ] = 1800.0
    max_pending_clip_bytes: Annotated[
        int,
        Field(
            ge=1,
            description="Clips of one Generator that wait for an Encoder: at so many bytes it waits before it decodes.",
        ),
    ] = 2_000_000_000
    graceful_shutdown_timeout_s: Annotated[
        float, Field(gt=0, description="How long a running task may go on when its replica is asked to end.")
    ] = 900.0

    offload: Annotated[
        Literal["auto"] | OffloadMode,
        Field(
            description="Where the weights go on a GPU: auto (the fastest that fits), resident, text_streamed, "
            "transformer or blocks."
        ),
    ] = "auto"
    weight_dtype: Annotated[
        WeightDtype,
        Field(
            description="How the transformer is stored on a GPU: bf16, or fp8 (attention and feed-forward weights), "
            "half as large and not exact."
        ),
    ] = WeightDtype.BF16
    text_encoder_dtype: Annotated[
        TextEncoderDtype,
        Field(
            description="How the text encoder is stored on a GPU: bf16, or nf4, 4 bits, a third as large and not "
            "exact; needs the extra nf4."
        ),
    ] = TextEncoderDtype.BF16
    checkpoint_type: Annotated[
        CheckpointType,
        Field(
            description="How the checkpoint was trained: auto (its scheduler's config tells), base (of LTX-2.5, its "
            "full transformer), or distilled (8 steps, no guidance)."
        ),
    ] = CheckpointType.AUTO
    optimizations: Annotated[
        Literal["auto", "off"] | tuple[Optimization, ...],
        Field(
            description="auto (on a GPU, those that leave out needless work), off, or a list of: "
            + ", ".join(Optimization)
            + "."
        ),
    ] = "auto"

    prompt_cache_bytes: Annotated[
        int,
        Field(ge=0, description="Host memory for encoded prompts, so that the same words are encoded once; 0 is off."),
    ] = PROMPT_CACHE_BYTES

    fast_guidance_fraction: Annotated[
        float,
        Field(gt=0, le=1, description="The share of its steps that a task of quality fast guides, from the first on."),
    ] = FAST_GUIDANCE_FRACTION
    fast_float8: Annotated[
        bool,
        Field(
            description="Whether a task of quality fast also multiplies in float8 on GPUs that have it (Ada and later) "
            "and room for a second copy of the large weights. Not measured yet, and off for that."
        ),
    ] = False

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas must be at most max_replicas, which is {self.max_replicas}")
        return self
