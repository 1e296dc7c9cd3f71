"""Installs fixes on a loaded pipeline, before any other modification."""

from collections.abc import Collection
from typing import Any

from models.fixes.ancestral import use_ancestral
from models.fixes.cross_timesteps import separate
from models.fixes.fix import Fix
from models.fixes.keyframes import mark_first_frame
from models.fixes.leading_bos import lead_with_bos
from models.fixes.schedule import set_shift


def install(pipe: Any, fixes: Collection[Fix], *, distilled: bool) -> None:
    """Install `fixes` on `pipe`, permanently. The vocoder fix is not among them: `load_vocoder` applies it at load."""
    set_shift(pipe, distilled=distilled, fixed=Fix.SCHEDULE in fixes)
    if distilled and Fix.ANCESTRAL in fixes:
        use_ancestral(pipe)
    if Fix.CROSS_TIMESTEPS in fixes:
        separate(pipe.transformer)
    if Fix.KEYFRAMES in fixes:
        mark_first_frame(pipe.transformer)
    if Fix.LEADING_BOS in fixes:
        lead_with_bos(pipe.tokenizer)
