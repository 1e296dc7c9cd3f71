"""Marks the first latent frame as one that holds a single frame of the video.

The VAE encodes the first latent frame from one frame, and every later one from eight. LTX-2.5 has a trained embedding
for single frames. Its transformer adds the embedding where `video_keyframes_mask` is 1.
"""

from typing import Any


def mark_first_frame(transformer: Any) -> None:
    """Make every call of `transformer` mark the first latent frame, if the transformer has the embedding.

    A mask that the caller passes is kept.
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
