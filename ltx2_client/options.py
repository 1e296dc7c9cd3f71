"""The optional parameters of a request. The server chooses omitted ones."""

from typing import Literal, TypedDict


class Options(TypedDict, total=False):
    """The server's parameters under their own names. `GET /docs` lists defaults and limits."""

    negative_prompt: str
    height: int
    width: int
    num_frames: int
    length: Literal["exact", "auto"]
    frame_rate: float
    num_inference_steps: int
    seed: int | None
    cfg_scale_video: float
    stg_scale_video: float
    cfg_scale_audio: float
    modality_scale: float
    timeout_s: float
    webhook_url: str
    quality: Literal["exact", "fast"]
    fit: Literal["crop", "pad", "match"]
