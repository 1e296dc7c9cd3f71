"""How a checkpoint wants to be run: chosen from its own configs, never from its name. Knows no torch.

| family | told by | STG block | `use_cross_timestep` |
|---|---|---|---|
| LTX-2 (19B) | prompt embeddings are projected in the transformer | 29 | False |
| LTX-2.3 and later | the connectors project them, for each modality | 28 | True |
| tiny | as LTX-2, but too few blocks to be it | the last | False |

Blocks and `use_cross_timestep` are what diffusers' LTX2Pipeline recommends in its documentation.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from models.errors import ModelUnavailable

BLOCKS_OF_LTX2 = 48
STG_BLOCK_2_0 = 29
STG_BLOCK_2_3 = 28


class Family(StrEnum):
    """The kinds of checkpoint that want to be run differently."""

    LTX_2_0 = "2.0"
    """LTX-2, 19B parameters."""
    LTX_2_3 = "2.3"
    """LTX-2.3 and what came after it."""
    TINY = "tiny"
    """Random weights: what it draws is labelled as such."""


@dataclass(frozen=True)
class Recipe:
    """What LTX2Pipeline must be told about a checkpoint.

    `perturbed_attn` goes into the transformer's config when it is loaded. LTX-2 (19B) comes with False, which makes
    spatiotemporal guidance a silent no-op that still costs an evaluation a step; Lightricks' own pipeline applies it to
    that checkpoint, at block 29, and so do we. It changes no weight, only the class of the attention processor.
    """

    family: Family
    stg_blocks: tuple[int, ...]
    use_cross_timestep: bool
    perturbed_attn: bool = True


def choose_recipe(transformer: Mapping[str, object]) -> Recipe:
    """The recipe for a transformer's config. Keys that the config leaves out have diffusers' defaults, LTX-2 (19B)."""
    blocks = transformer.get("num_layers", BLOCKS_OF_LTX2)
    if not isinstance(blocks, int) or blocks < 1:
        raise ModelUnavailable(f"the transformer's config says num_layers={blocks!r}: not an LTX-2 checkpoint")
    if blocks < BLOCKS_OF_LTX2:
        return Recipe(Family.TINY, stg_blocks=(blocks - 1,), use_cross_timestep=False)
    if transformer.get("use_prompt_embeddings", True):
        return Recipe(Family.LTX_2_0, stg_blocks=(STG_BLOCK_2_0,), use_cross_timestep=False)
    return Recipe(Family.LTX_2_3, stg_blocks=(STG_BLOCK_2_3,), use_cross_timestep=True)


def read_recipe(folder: Path) -> Recipe:
    """The recipe for a checkpoint that diffusers saved in `folder`. Raises ModelUnavailable if it is none of LTX-2."""
    index = _read_json(folder / "model_index.json")
    config = _read_json(folder / "transformer" / "config.json")
    if not str(index.get("_class_name", "")).startswith("LTX2"):
        raise ModelUnavailable(f"{folder} holds a {index.get('_class_name')}, not an LTX-2 pipeline")
    return choose_recipe(config)


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ModelUnavailable(
            f"{path} is missing: a model is a folder that diffusers saved, with model_index.json and a folder for "
            "each component"
        ) from exc
    except PermissionError as exc:
        raise ModelUnavailable(f"{path} may not be read by this user") from exc
    except (OSError, ValueError) as exc:
        raise ModelUnavailable(f"{path} cannot be read: {exc}") from exc
    if not isinstance(content, dict):
        raise ModelUnavailable(f"{path} is broken: it holds no JSON object")
    return content
