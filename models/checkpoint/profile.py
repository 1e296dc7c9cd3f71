"""Chooses how to run a checkpoint, from its configs and never from its name. Does not import torch.

| family | recognized by | STG block | `use_cross_timestep` | steps |
|---|---|---|---|---|
| LTX-2 (19B) | the transformer projects the prompt embeddings | 29 | False | 40 |
| LTX-2.3 and later | the connectors project them, separately for each modality | 28 | True | 30 |

Sources:
- STG block and `use_cross_timestep`: the recommendations in diffusers' documentation of LTX2Pipeline.
- Steps: Lightricks' own pipelines (LTX_2_PARAMS, and LTX_2_3_PARAMS for all later models). The two sets differ in no
  other parameter that a client can set.

Special cases:
- If a checkpoint has too few blocks for the STG block of its family, its last block is used.
- A transformer narrower than any real one is treated as tiny: a model for trials, trained or random.
- `use_cross_timestep` has an effect only where the cross-attention fix is off (models/fixes).

A distilled checkpoint has the same transformer config as its base. Only the scheduler's config can distinguish them:
`use_dynamic_shifting: false` leaves the noise levels unchanged and marks a distilled checkpoint. A conversion that
keeps the base's scheduler cannot be recognized, so the operator can set `generator.checkpoint_type`. The default
transformer of LTX-2.5 is the distilled one. The operator selects the full transformer beside it with `base`
(models/checkpoint/base_variant.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from models.checkpoint.files import INDEX, components
from models.checkpoint.validate import read_object
from models.errors import ModelBroken, ModelUnavailable

BLOCKS_OF_LTX2 = 48
HEADS_OF_LTX2 = 32
HEAD_WIDTH_OF_LTX2 = 128
TINY_WIDTH = 512
"""Width below which a transformer is treated as tiny. LTX-2 is 4096 wide."""
STG_BLOCK_2_0 = 29
STG_BLOCK_2_3 = 28


class Family(StrEnum):
    """Checkpoint generations that need different run parameters."""

    LTX_2_0 = "2.0"
    """LTX-2, 19B parameters."""
    LTX_2_3 = "2.3"
    """LTX-2.3 and later."""


class CheckpointType(StrEnum):
    """Values of the setting `generator.checkpoint_type`."""

    AUTO = "auto"
    """Decide from the scheduler's config."""
    BASE = "base"
    """Many steps, with guidance."""
    DISTILLED = "distilled"
    """Eight steps at fixed noise levels, without guidance."""


DISTILLED_SIGMAS = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
"""The noise levels that Lightricks distilled LTX-2 and LTX-2.3 for."""
REFINING_SIGMAS = (0.909375, 0.725, 0.421875)
"""The noise levels of the second of two stages. Source: Lightricks' STAGE_2_DISTILLED_SIGMAS."""
DISTILLED_MARK = "distilled"
STEPS = MappingProxyType({Family.LTX_2_0: 40, Family.LTX_2_3: 30})
NAMES = MappingProxyType({Family.LTX_2_0: "LTX-2", Family.LTX_2_3: "LTX-2.3 or later"})
NO_GUIDANCE = MappingProxyType(
    {"cfg_scale_video": 1.0, "cfg_scale_audio": 1.0, "stg_scale_video": 0.0, "modality_scale": 1.0}
)
"""The scales that switch each guidance off."""


@dataclass(frozen=True)
class CheckpointProfile:
    """Run parameters of a checkpoint, for LTX2Pipeline.

    `duration_head` is true if the checkpoint can predict a video's duration from the prompt (LTX-2.5). `sigmas` are the
    noise levels of a distilled checkpoint, None for others. `tiny` marks a model for trials, whose videos get a label.
    `upsampler` says whether the latent upsampler is there for two stages, `distilled_lora` whether the LoRA is there
    that a base checkpoint needs for them; None is unknown.

    `perturbed_attn` is written into the transformer's config at load. LTX-2 (19B) ships with False. Spatiotemporal
    guidance then has no effect, but still costs one transformer call per step. Lightricks' own pipeline applies that
    guidance to this checkpoint at block 29, and so does this project. The flag changes no weight, only the attention
    processor's class.
    """

    family: Family
    stg_blocks: tuple[int, ...]
    use_cross_timestep: bool
    tiny: bool = False
    sigmas: tuple[float, ...] | None = None
    perturbed_attn: bool = True
    duration_head: bool = False
    upsampler: bool | None = None
    distilled_lora: bool | None = None

    @property
    def defaults(self) -> dict[str, float]:
        """Parameter defaults of this checkpoint. models/request/request.py has the other defaults."""
        if self.sigmas is not None:
            return {"num_inference_steps": len(self.sigmas), **NO_GUIDANCE}
        return {"num_inference_steps": STEPS[self.family]}

    @property
    def summary(self) -> str:
        """One line for the log."""
        if self.sigmas is not None:
            return f"{NAMES[self.family]}, distilled: {len(self.sigmas)} steps without guidance"
        return f"{NAMES[self.family]}: {STEPS[self.family]} guided steps, STG at block {self.stg_blocks[0]}"


def choose_profile(transformer: Mapping[str, object]) -> CheckpointProfile:
    """The profile for a transformer's config. Missing keys take diffusers' defaults, which are those of LTX-2 (19B)."""
    blocks = _whole_number(transformer, "num_layers", BLOCKS_OF_LTX2)
    heads = _whole_number(transformer, "num_attention_heads", HEADS_OF_LTX2)
    tiny = heads * _whole_number(transformer, "attention_head_dim", HEAD_WIDTH_OF_LTX2) < TINY_WIDTH
    if transformer.get("use_prompt_embeddings", True):
        return CheckpointProfile(Family.LTX_2_0, (min(STG_BLOCK_2_0, blocks - 1),), use_cross_timestep=False, tiny=tiny)
    return CheckpointProfile(Family.LTX_2_3, (min(STG_BLOCK_2_3, blocks - 1),), use_cross_timestep=True, tiny=tiny)


def _whole_number(config: Mapping[str, object], name: str, default: int) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or value < 1:
        raise ModelBroken(f"the transformer's config says {name}={value!r}: not an LTX-2 checkpoint")
    return value


def is_distilled(checkpoint_type: CheckpointType, scheduler: Mapping[str, object], name: str) -> bool:
    """Whether a checkpoint is distilled: by the setting, or else by its scheduler's config.

    Raises ModelUnavailable if the config does not show it and the name (a repository or a folder) contains "distilled".
    Run as the wrong type, a checkpoint makes a bad video without an error.
    """
    if checkpoint_type is not CheckpointType.AUTO:
        return checkpoint_type is CheckpointType.DISTILLED
    if scheduler.get("use_dynamic_shifting") is False:
        return True
    if any(DISTILLED_MARK in called.lower() for called in _last_names(name)):
        raise ModelUnavailable(
            f"{name} is called distilled, but its scheduler's config is that of a base model: "
            "set generator.checkpoint_type to distilled or to base"
        )
    return False


def matches(checkpoint_type: CheckpointType, profile: CheckpointProfile) -> bool:
    """Whether the setting allows this profile. A stored profile may be older than the setting."""
    return checkpoint_type is CheckpointType.AUTO or (checkpoint_type is CheckpointType.DISTILLED) == (
        profile.sigmas is not None
    )


def _last_names(name: str) -> tuple[str, str]:
    """The last part of a folder's path, or of a repository id with and without its revision."""
    whole = name.rstrip("/")
    return whole.rpartition("/")[2], whole.partition("@")[0].rpartition("/")[2]


def read_profile(
    folder: Path, checkpoint_type: CheckpointType = CheckpointType.AUTO, name: str = ""
) -> CheckpointProfile:
    """The profile of the checkpoint in `folder`. `name` is the model's name in the settings.

    Raises ModelUnavailable if it is not an LTX-2, ModelBroken if it is not a checkpoint, and what `is_distilled`
    raises.
    """
    index = read_object(folder / INDEX)
    if not str(index.get("_class_name", "")).startswith("LTX2"):
        raise ModelUnavailable(f"{folder} holds a {index.get('_class_name')}, not an LTX-2 pipeline")
    config = read_object(folder / "transformer" / "config.json")
    profile = replace(choose_profile(config), duration_head="duration_head" in components(index))
    scheduler = read_object(folder / "scheduler" / "scheduler_config.json")
    return replace(profile, sigmas=DISTILLED_SIGMAS) if is_distilled(checkpoint_type, scheduler, name) else profile
