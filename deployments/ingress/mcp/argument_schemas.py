"""The arguments of create_video and edit_video as JSON schemas, with the limits and the LoRAs of this server."""

from collections.abc import Mapping
from typing import Any

from deployments.ingress.media.conversion import LONGEST_AUDIO_S
from deployments.ingress.request_body.given_media import MediaUse
from models.request.control import CONTROL_STRENGTH, PREPROCESSOR, control_loras, plain_loras
from models.request.edits import DEFAULT_STRENGTH, ExtendMode, RetakeMode
from models.request.enums import Preprocessor, Quality, Upscale
from models.request.loras import CAMERA_MOTION, LORAS, KnownLora, loras_schema
from models.request.places import MAX_KEYFRAMES
from models.request.request import MAX_SEED, SIDE_MULTIPLE, RequestLimits

MAX_KEY_CHARS = 255
KEYFRAMES = "keyframes"
CONTROL = "control"
OPERATIONS = {
    "retake": MediaUse.RETAKE,
    "extend": MediaUse.EXTEND,
    "change": MediaUse.V2V,
    CONTROL: MediaUse.CONTROL,
}
"""The operations of edit_video, each with the use of its video. A server without IC-LoRAs does not list `control`."""
CONTROL_ARGUMENTS = (CONTROL_STRENGTH, PREPROCESSOR)
EDIT_ARGUMENTS = ("video", "operation", "start_time", "mode", "context", "video_strength", *CONTROL_ARGUMENTS)
"""Arguments of edit_video that create_video does not have."""
STRENGTH = "How strongly the image is kept. 1, the default, keeps it as it is."
SOURCE = "a video_id of yours, an http(s) URL, or an upload_id of create_media_upload"
ZERO_TO_ONE = {"type": "number", "minimum": 0, "maximum": 1}


def object_schema(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """The schema of an object with these properties and no others."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def create_schema(limits: RequestLimits, loras: Mapping[str, KnownLora]) -> dict[str, Any]:
    """The arguments of create_video."""
    shortest_s = limits.min_frames / limits.max_frame_rate
    properties = {
        **_prompt(limits, "What is seen and heard, in order, as one paragraph in the present tense."),
        **_image_properties(),
        **_audio_properties(),
        "size": {
            "type": "string",
            "maxLength": 20,
            "description": f"WIDTHxHEIGHT, such as 768x512 (wide), 512x768 (tall) or 640x640. Sides go from "
            f"{SIDE_MULTIPLE} to {limits.max_side_px} and are rounded to multiples of {SIDE_MULTIPLE}.",
        },
        "seconds": {
            "type": "number",
            "minimum": round(shortest_s, 2),
            "maximum": limits.max_duration_s,
            "description": "Length of the video. A longer video needs a smaller size. With audio: left out, it is "
            "that of the audio.",
        },
        **_shared_properties(limits, plain_loras(loras)),
    }
    return object_schema(properties, ["prompt"])


def edit_schema(limits: RequestLimits, loras: Mapping[str, KnownLora]) -> dict[str, Any]:
    """The arguments of edit_video. Size and rate are those of the video."""
    longest_s, has_control = limits.max_edit_duration_s, bool(control_loras(loras))
    follow = f" {CONTROL}: a new video follows what the video shows, with one of the loras for that."
    seconds = {"type": "number", "minimum": 0, "maximum": longest_s}
    properties = {
        "video": {"type": "string", "description": f"The source: {SOURCE}."},
        "operation": {
            "type": "string",
            "enum": [name for name in OPERATIONS if has_control or name != CONTROL],
            "description": "retake: a part is made anew, the rest stays. extend: the video goes on. change: all is "
            "made anew from the prompt, and keeps as much of the video as video_strength says."
            f"{follow if has_control else ''}",
        },
        **_prompt(limits, "What is seen and heard in the new part, or in all of a video that is new as a whole."),
        "start_time": {**seconds, "description": "retake: where the new part begins, in seconds. Default 0."},
        "seconds": {
            **seconds,
            "description": f"retake: length of the new part, by default up to the end. extend: length to add, "
            f"required; the result has at most {longest_s:g} s.",
        },
        "mode": {
            "type": "string",
            "enum": [*map(str, RetakeMode), *map(str, ExtendMode)],
            "description": f"retake: {RetakeMode.AUDIO_AND_VIDEO} (default), {RetakeMode.VIDEO} or "
            f"{RetakeMode.AUDIO}. extend: {ExtendMode.END} (default) or {ExtendMode.START}. change: "
            f"{RetakeMode.VIDEO} (default) or {RetakeMode.AUDIO_AND_VIDEO}.",
        },
        "context": {**seconds, "description": "extend: seconds of the video that the model sees. Leave out for all."},
        "video_strength": {
            **ZERO_TO_ONE,
            "description": f"change: how much of the video stays, 0 to 1. Default {DEFAULT_STRENGTH:g}; lower if too "
            f"little changes.",
        },
        **(_control_properties() | _image_properties(f"{CONTROL}: ") if has_control else {}),
        **_shared_properties(limits, loras),
    }
    return object_schema(properties, ["video", "operation", "prompt"])


def estimate_arguments(limits: RequestLimits, loras: Mapping[str, KnownLora]) -> dict[str, Any]:
    """The arguments of estimate_video: those of create_video, or those of edit_video."""
    edit = edit_schema(limits, loras)["properties"]
    about = {"video": "To estimate an edit: the video_id of its source.", "operation": "That of edit_video."}
    edits = {
        name: {**edit[name], "description": about.get(name, "As in edit_video.")}
        for name in EDIT_ARGUMENTS
        if name in edit
    }
    properties = {**create_schema(limits, loras)["properties"], **_lora_properties(loras), **edits}
    del properties["request_key"]
    return object_schema(properties, ["prompt"])


def _prompt(limits: RequestLimits, about: str) -> dict[str, Any]:
    return {
        "prompt": {"type": "string", "minLength": 1, "maxLength": limits.max_prompt_chars, "description": about},
    }


def _shared_properties(limits: RequestLimits, loras: Mapping[str, KnownLora]) -> dict[str, Any]:
    """The arguments of both tools that say how a video is made."""
    return {
        "quality": {
            "type": "string",
            "enum": [each.value for each in Quality],
            "description": "fast skips work with little visible effect.",
        },
        "upscale": {
            "type": "string",
            "enum": [each.value for each in Upscale],
            "description": "2 makes large videos in half the time or less, where get_guide says that the server can.",
        },
        **_lora_properties(loras),
        "negative_prompt": {
            "type": "string",
            "maxLength": limits.max_prompt_chars,
            "description": "What the video should not show.",
        },
        "seed": {
            "type": "integer",
            "minimum": 0,
            "maximum": MAX_SEED,
            "description": "The same seed and request give the same video. Leave out for a new one each time.",
        },
        "generate_audio": {
            "type": "boolean",
            "description": "false makes a video without audio. Leave out for audio.",
        },
        "request_key": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_KEY_CHARS,
            "description": "A name of your choice for this request. Repeating the call with it starts nothing twice.",
        },
    }


def _lora_properties(known: Mapping[str, KnownLora]) -> dict[str, Any]:
    """`loras` and `camera_motion`, if the server has any."""
    if not known:
        return {}
    schema, followed, motions = loras_schema(known), describe_control_loras(known), list(plain_loras(known))
    only = f" Only with operation {CONTROL}, and exactly one there: {followed}." if followed else ""
    properties: dict[str, Any] = {
        LORAS: {
            "type": "array",
            "maxItems": schema["maxItems"],
            "items": schema["items"],
            "description": f"LoRAs that change style or motion. get_guide has their words for the prompt.{only}",
        }
    }
    if motions:
        about = "The LoRA of this name with scale 1, for a motion of the camera."
        properties[CAMERA_MOTION] = {"type": "string", "enum": motions, "description": about}
    return properties


def describe_control_loras(known: Mapping[str, KnownLora]) -> str:
    """The IC-LoRAs, each with what its control video shows."""
    return ", ".join(f"{name} ({known[name].control})" for name in control_loras(known))


def _control_properties() -> dict[str, Any]:
    """The arguments of the operation `control` alone."""
    return {
        PREPROCESSOR: {
            "type": "string",
            "enum": [str(each) for each in Preprocessor],
            "description": f"{CONTROL}: {Preprocessor.CANNY} follows the edges of any video. {Preprocessor.NONE}, the "
            "default: the video is edges, depth or poses already, as the LoRA needs them.",
        },
        CONTROL_STRENGTH: {**ZERO_TO_ONE, "description": f"{CONTROL}: how strongly it is followed. Default 1."},
    }


def _image_properties(only: str = "") -> dict[str, Any]:
    """The images of a video, with their places and strengths. `only` says with what they may come."""
    keyframe = {
        "image": {"type": "string", "description": "As image."},
        "at": {"type": "string", "maxLength": 20, "description": "Seconds such as 1.5s, or a frame such as 36."},
        "strength": {**ZERO_TO_ONE, "description": STRENGTH},
    }
    return {
        "image": {
            "type": "string",
            "description": f"{only}The first frame: an http(s) URL, an upload_id of create_image_upload, a video_id of "
            "yours (its last frame), or a small data: URL. May be left out.",
        },
        "image_strength": {**ZERO_TO_ONE, "description": STRENGTH},
        "end_image": {"type": "string", "description": f"{only}The last frame, given as image is."},
        "end_image_strength": {**ZERO_TO_ONE, "description": STRENGTH},
        KEYFRAMES: {
            "type": "array",
            "maxItems": MAX_KEYFRAMES,
            "items": object_schema(keyframe, ["image", "at"]),
            "description": f"{only}Images for frames in between.",
        },
    }


def _audio_properties() -> dict[str, Any]:
    """The audio that a video follows."""
    return {
        "audio": {
            "type": "string",
            "description": "A voice or music that the video follows and has as it is: an http(s) URL or an upload_id "
            "of create_media_upload.",
        },
        "audio_start": {
            "type": "number",
            "minimum": 0,
            "maximum": LONGEST_AUDIO_S,
            "description": "Where in the audio the video begins, in seconds. Default 0.",
        },
        "audio_strength": {**ZERO_TO_ONE, "description": "How strongly the audio is kept. Default 1: as it is."},
    }
