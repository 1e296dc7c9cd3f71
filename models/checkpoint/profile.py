"""How a checkpoint wants to be run: chosen from its own configs, never from its name. Knows no torch.

| family | told by | STG block | `use_cross_timestep` | steps |
|---|---|---|---|---|
| LTX-2 (19B) | prompt embeddings are projected in the transformer | 29 | False | 40 |
| LTX-2.3 and later | the connectors project them, for each modality | 28 | True | 30 |

Blocks and `use_cross_timestep` are what diffusers' LTX2Pipeline recommends in its documentation, the steps are those of
Lightricks' own pipelines (LTX_2_PARAMS, and LTX_2_3_PARAMS for all that came later), which differ in nothing else that
a client may ask for. One with so few blocks that its STG block is not there has the last in its place. A transformer
as narrow as no real one is tiny, and its weights are random. `use_cross_timestep` counts only where the fix of the
cross-attention is off (models/fixes).

A distilled checkpoint has the transformer config of its base. Only its scheduler can tell: one that leaves the noise
levels as they are given (`use_dynamic_shifting` false) belongs to it. A conversion that keeps the scheduler of the base
tells nothing, so an operator can say what it is. LTX-2.5 is distilled as its repository names it; the full transformer
that lies beside it is for an operator who says `base` (models/checkpoint/base_variant.py).
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
"""Narrower than this is no model that draws anything; LTX-2 is 4096 wide."""
STG_BLOCK_2_0 = 29
STG_BLOCK_2_3 = 28


class Family(StrEnum):
    """The kinds of checkpoint that want to be run differently."""

    LTX_2_0 = "2.0"
    """LTX-2, 19B parameters."""
    LTX_2_3 = "2.3"
    """LTX-2.3 and what came after it."""


class CheckpointType(StrEnum):
    """What an operator may say of a checkpoint."""

    AUTO = "auto"
    """Let its scheduler's config tell."""
    BASE = "base"
    """Many steps, with guidance."""
    DISTILLED = "distilled"
    """Eight steps at fixed noise levels, without guidance."""


DISTILLED_SIGMAS = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
"""The noise levels that Lightricks distilled LTX-2 and LTX-2.3 for."""
DISTILLED_MARK = "distilled"
STEPS = MappingProxyType({Family.LTX_2_0: 40, Family.LTX_2_3: 30})
NAMES = MappingProxyType({Family.LTX_2_0: "LTX-2", Family.LTX_2_3: "LTX-2.3 or later"})
NO_GUIDANCE = MappingProxyType(
    {"cfg_scale_video": 1.0, "cfg_scale_audio": 1.0, "stg_scale_video": 0.0, "modality_scale": 1.0}
)
"""The scales at which guidance is off."""


@dataclass(frozen=True)
class CheckpointProfile:
    """What LTX2Pipeline must be told about a checkpoint.

    `duration_head` says whether the checkpoint can tell from a prompt how long its video should be (LTX-2.5).
    `sigmas` are the noise levels of a distilled one, and None for all others. `tiny` is one of random weights: what it
    draws is labelled as such.

    `perturbed_attn` goes into the transformer's config when it is loaded. LTX-2 (19B) comes with False, which makes
    spatiotemporal guidance a silent no-op that still costs an evaluation a step; Lightricks' own pipeline applies it to
    that checkpoint, at block 29, and so do we. It changes no weight, only the class of the attention processor.
    """

    family: Family
    stg_blocks: tuple[int, ...]
    use_cross_timestep: bool
    tiny: bool = False
    sigmas: tuple[float, ...] | None = None
    perturbed_attn: bool = True
    duration_head: bool = False

    @property
    def defaults(self) -> dict[str, float]:
        """Defaults of this checkpoint; models/request/request.py has those of the other parameters."""
        if self.sigmas is not None:
            return {"num_inference_steps": len(self.sigmas), **NO_GUIDANCE}
        return {"num_inference_steps": STEPS[self.family]}

    @property
    def summary(self) -> str:
        """What it says, for the log."""
        if self.sigmas is not None:
            return f"{NAMES[self.family]}, distilled: {len(self.sigmas)} steps without guidance"
        return f"{NAMES[self.family]}: {STEPS[self.family]} guided steps, STG at block {self.stg_blocks[0]}"


def choose_profile(transformer: Mapping[str, object]) -> CheckpointProfile:
    """The profile for a transformer's config. Keys that the config leaves out have diffusers' defaults, LTX-2 (19B)."""
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
    """Whether a checkpoint is distilled, by what the operator says or else by its scheduler's config.

    Raises ModelUnavailable where the config tells nothing and the name (a repository or a folder) says distilled: run
    as the wrong one of the two, it makes a bad video without a word.
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
    """Whether a profile is one that the operator's word allows: it may be from before that was said."""
    return checkpoint_type is CheckpointType.AUTO or (checkpoint_type is CheckpointType.DISTILLED) == (
        profile.sigmas is not None
    )


def _last_names(name: str) -> tuple[str, str]:
    """What a folder, or a repository with and without its revision, is called in the end."""
    whole = name.rstrip("/")
    return whole.rpartition("/")[2], whole.partition("@")[0].rpartition("/")[2]


def read_profile(
    folder: Path, checkpoint_type: CheckpointType = CheckpointType.AUTO, name: str = ""
) -> CheckpointProfile:
    """The profile for a checkpoint that diffusers saved in `folder`, known to the operator as `name`.

    Raises ModelUnavailable if it is none of LTX-2, ModelBroken if it is no checkpoint at all, and as `is_distilled`.
    """
    index = read_object(folder / INDEX)
    if not str(index.get("_class_name", "")).startswith("LTX2"):
        raise ModelUnavailable(f"{folder} holds a {index.get('_class_name')}, not an LTX-2 pipeline")
    config = read_object(folder / "transformer" / "config.json")
    profile = replace(choose_profile(config), duration_head="duration_head" in components(index))
    scheduler = read_object(folder / "scheduler" / "scheduler_config.json")
    return replace(profile, sigmas=DISTILLED_SIGMAS) if is_distilled(checkpoint_type, scheduler, name) else profile
