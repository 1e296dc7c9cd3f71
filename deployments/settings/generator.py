"""Settings of the Generator replicas, which hold the model. Each uses one GPU."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from deployments.settings.base import SettingsModel, absolute
from deployments.settings.lora import LoraName, LoraSettings
from models.checkpoint.profile import CheckpointType
from models.checkpoint.upsampler import AUTO as AUTO_UPSAMPLER
from models.lora.distilled import DEFAULT_SCALE
from models.lora.distilled import OFF as NO_DISTILLED_LORA
from models.lora.source import LoraSource
from models.ltx2.options import FAST_GUIDANCE_FRACTION, PROMPT_CACHE_BYTES
from models.memory.offload_plan import OffloadMode, TextEncoderDtype, WeightDtype
from models.optimizations.selection import Optimization
from models.preview import MAX_FRACTION, PreviewMode
from models.request.control import plain_loras
from models.request.loras import KnownLora


class GeneratorSettings(SettingsModel):
    """Settings of the Generator replicas, which hold the model. Each uses one GPU."""

    min_replicas: Annotated[int, Field(ge=0, description="Replicas kept while idle. 0: idle GPUs are freed.")] = 0
    max_replicas: Annotated[
        int, Field(ge=1, description="Maximum replicas, which is the number of GPUs that the server uses.")
    ] = 1
    downscale_to_zero_delay_s: Annotated[
        float, Field(ge=0, description="Idle time after which replicas that are not needed end and unload the model.")
    ] = 600.0
    sleep_after_idle_s: Annotated[
        Annotated[float, Field(ge=0)] | Literal["auto"] | None,
        Field(
            description="Time without a task until the weights move from the GPU to host memory. auto: 120 s on a "
            "GPU. null: never. Without enough host memory the weights stay on the GPU."
        ),
    ] = "auto"
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray reserves for each Generator.")] = 0.5
    stall_timeout_s: Annotated[
        float,
        Field(
            gt=0, description="A replica is restarted when a denoising step or a decode reports nothing for this long."
        ),
    ] = 300.0
    load_timeout_s: Annotated[
        float, Field(gt=0, description="The same limit while the model is downloaded or loaded.")
    ] = 1800.0
    max_pending_clip_bytes: Annotated[
        int,
        Field(
            ge=1,
            description="A Generator pauses before a decode while its clips that wait for an Encoder reach this size.",
        ),
    ] = 2_000_000_000
    graceful_shutdown_timeout_s: Annotated[
        float, Field(gt=0, description="Time for a running task to end when Serve stops its replica.")
    ] = 900.0

    offload: Annotated[
        Literal["auto"] | OffloadMode,
        Field(
            description="Which weights stay in host memory and pass through the GPU when needed. auto: the fastest "
            "choice that fits. none: all weights are on the GPU. text_encoder: the text encoder passes through. "
            "all_but_transformer: text encoder, connectors and VAE. block: the transformer too, block by block. cpu: "
            "everything runs on the CPU."
        ),
    ] = "auto"
    weight_dtype: Annotated[
        WeightDtype,
        Field(
            description="How the transformer is stored on a GPU. bf16: exact. fp8: attention and feed-forward weights "
            "in 8 bits, half the size, not exact."
        ),
    ] = WeightDtype.BF16
    text_encoder_dtype: Annotated[
        TextEncoderDtype,
        Field(
            description="How the text encoder is stored on a GPU. bf16: exact. nf4: 4 bits, a third of the size, not "
            "exact; needs the package extra `nf4`."
        ),
    ] = TextEncoderDtype.BF16
    checkpoint_type: Annotated[
        CheckpointType,
        Field(
            description="How the checkpoint was trained. auto: read from its scheduler's config. base: many steps with "
            "guidance; of LTX-2.5, its full transformer. distilled: 8 steps without guidance."
        ),
    ] = CheckpointType.AUTO
    latent_upsampler: Annotated[
        str,
        Field(
            min_length=1,
            description="The latent upsampler, for `upscale`. auto: the folder latent_upsampler of the model, if it "
            "has one. off: none. Or a folder or a Hugging Face repository (owner/name, or owner/name@revision) that "
            "has one. It takes 1 GB of memory. A base model loads it only together with its distilled LoRA.",
        ),
    ] = AUTO_UPSAMPLER
    distilled_lora: Annotated[
        str,
        Field(
            min_length=1,
            description="The distilled LoRA of a base model, for `upscale`. off: none, and base models refuse "
            "`upscale`. auto: the file with distilled-lora in its name, in the model's own folder or repository. Or a "
            "file, a folder with one, a Hugging Face repository (owner/name, or owner/name@revision), or a file in a "
            "repository (owner/name/file). It is kept in host memory, and each task in two stages copies it to the "
            "GPU: 8 GB of both. Distilled models do not load it.",
        ),
    ] = NO_DISTILLED_LORA
    distilled_lora_scale: Annotated[
        float, Field(gt=0, le=2, description="How strongly the distilled LoRA acts. Lightricks uses 1.")
    ] = DEFAULT_SCALE
    optimizations: Annotated[
        Literal["auto", "off"] | tuple[Optimization, ...],
        Field(
            description="auto: those that skip unneeded work. off: none. Or a list of: " + ", ".join(Optimization) + "."
        ),
    ] = "auto"

    prompt_cache_bytes: Annotated[
        int,
        Field(ge=0, description="Host memory for a cache of encoded prompts. 0: no cache."),
    ] = PROMPT_CACHE_BYTES

    preview: Annotated[
        PreviewMode,
        Field(
            description="frame: while a video is denoised, a small image shows one of its frames as it is so far. off: "
            "no previews."
        ),
    ] = PreviewMode.FRAME
    preview_max_fraction: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Part of a task's time that its previews may take at most. Those that would take more are left "
            "out. 1: no limit.",
        ),
    ] = MAX_FRACTION

    fast_guidance_fraction: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Part of the steps, from the first on, that use guidance in a task with quality fast.",
        ),
    ] = FAST_GUIDANCE_FRACTION
    fast_float8: Annotated[
        bool,
        Field(
            description="Use float8 matrix products in tasks with quality fast. Needs a GPU with float8 (Ada or later) "
            "and memory for a second copy of the large weights. Off by default because it is not measured yet."
        ),
    ] = False

    loras: Annotated[
        dict[LoraName, LoraSettings],
        Field(
            description="LoRAs that requests may pick, by the name that clients use. They are loaded with the model, "
            "kept in host memory, and must fit the model."
        ),
    ] = {}  # noqa: RUF012  # pydantic copies it

    @property
    def known_loras(self) -> dict[str, KnownLora]:
        """What clients may know of the LoRAs, by name."""
        return {name: each.known for name, each in self.loras.items()}

    @property
    def plain_loras(self) -> dict[str, KnownLora]:
        """Those that need no control video."""
        return plain_loras(self.known_loras)

    @property
    def lora_sources(self) -> tuple[LoraSource, ...]:
        """Where the model loads the LoRAs from."""
        return tuple(each.source(name) for name, each in self.loras.items())

    def with_absolute_paths(self) -> Self:
        """Copy the settings with absolute paths of the LoRAs and of the upsampler."""
        changes: dict[str, object] = {"loras": {name: each.with_absolute_path() for name, each in self.loras.items()}}
        for name in ("latent_upsampler", "distilled_lora"):
            if (place := absolute(getattr(self, name))).exists():
                changes[name] = str(place)
        return self.model_copy(update=changes)

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas must be at most max_replicas, which is {self.max_replicas}")
        return self
