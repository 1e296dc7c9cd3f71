"""The first latent frame is marked as one that holds a single frame of the video.

The VAE makes it of one frame and every later one of eight. LTX-2.5 has learned an embedding for such frames, which its
transformer adds where `video_keyframes_mask` says so.
"""

from typing import Any


def mark_first_frame(transformer: Any) -> None:
    """Have every call of `transformer` mark the first latent frame, where it has the embedding for it.

    A mask that a call brings along is kept.
    """
    if transformer.config.get("use_keyframes_abs_pos_embedding"):
        transformer.register_forward_pre_hook(_mark, with_kwargs=True)


def _mark(_transformer: Any, args: Any, call: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    if call.get("video_keyframes_mask") is not None:
        return None
    states = call["hidden_states"]
    mask = states.new_zeros(*states.shape[:2], 1)
    mask[:, : call["height"] * call["width"]] = 1
    return args, {**call, "video_keyframes_mask": mask}
