"""The tools as a client lists them: names, descriptions and JSON schemas, with this server's limits.

The schemas are flat, without unions and without null: some clients reject a whole server over one such schema.
"""

from typing import Any

from models.request.enums import Quality, Upscale
from models.request.places import MAX_KEYFRAMES
from models.request.request import MAX_SEED, SIDE_MULTIPLE, RequestLimits
from storage.tasks import State

MAX_WAIT_S = 50
DEFAULT_WAIT_S = 8
MAX_PAGE = 50
MAX_KEY_CHARS = 255
KEYFRAMES = "keyframes"
STRENGTH = "How strongly the image is kept. 1, the default, keeps it as it is."
STATUSES = ("queued", "in_progress", "completed", "failed", "canceled")
STATUS_OF_STATE = {State.PROCESSING: "in_progress", State.EXPIRED: "failed", State.DELETED: "failed"}
"""States whose status has another name. An expired or deleted video is `failed`, and `error` says why."""

INSTRUCTIONS = (
    "Make short videos with audio, one at a time: create_video answers at once, then call wait_for_video until status "
    "is completed, and give the user video_url unchanged. Ask estimate_video before a long or large video."
)
VIDEO_ID = {"type": "string", "maxLength": 64, "description": "The video_id that create_video returned."}


def video_state_schema() -> dict[str, Any]:
    """The state of a video, as create_video, wait_for_video and cancel_video return it."""
    text, number = {"type": "string"}, {"type": "number"}
    texts = {"type": "array", "items": text}
    properties = {
        "video_id": text,
        "status": {"type": "string", "enum": list(STATUSES)},
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "queue_position": number,
        "eta_seconds": number,
        "size": text,
        "seconds": number,
        "seed": {"type": "integer"},
        "video_url": text,
        "poster_url": text,
        "expires_at": text,
        "adjusted": texts,
        "ignored": texts,
        "error": text,
        "next_step": text,
    }
    return _object(properties, ["video_id", "status", "progress", "next_step"])


def estimate_schema() -> dict[str, Any]:
    """The answer of estimate_video."""
    nearest = _object({"size": {"type": "string"}, "seconds": {"type": "number"}}, ["size", "seconds"])
    properties = {
        "fits": {"type": "boolean"},
        "seconds_to_render": {"type": "number"},
        "nearest": {"type": "array", "items": nearest},
        "queued": {"type": "integer"},
        "adjusted": {"type": "array", "items": {"type": "string"}},
    }
    return _object(properties, ["fits", "nearest", "queued"])


def upload_schema() -> dict[str, Any]:
    """The answer of create_image_upload."""
    properties = {
        "upload_id": {"type": "string"},
        "put_url": {"type": "string"},
        "expires_at": {"type": "string"},
        "max_bytes": {"type": "integer"},
        "curl": {"type": "string"},
        "next_step": {"type": "string"},
    }
    return _object(properties, list(properties))


def page_schema() -> dict[str, Any]:
    """The answer of list_videos."""
    properties = {"videos": {"type": "array", "items": video_state_schema()}, "next_before": {"type": "string"}}
    return _object(properties, ["videos"])


def create_schema(limits: RequestLimits) -> dict[str, Any]:
    """The arguments of create_video."""
    shortest_s = limits.min_frames / limits.max_frame_rate
    properties = {
        "prompt": {
            "type": "string",
            "minLength": 1,
            "maxLength": limits.max_prompt_chars,
            "description": "What is seen and heard, in order, as one paragraph in the present tense.",
        },
        **_image_properties(),
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
            "description": "Length of the video. A longer video needs a smaller size.",
        },
        "quality": {
            "type": "string",
            "enum": [each.value for each in Quality],
            "description": "fast skips work with little visible effect.",
        },
        "upscale": {
            "type": "string",
            "enum": [each.value for each in Upscale],
            "description": "2 makes large videos in half the time or less, where the server can. Leave out if unsure.",
        },
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
    return _object(properties, ["prompt"])


def _image_properties() -> dict[str, Any]:
    """The images of a video, with their places and strengths."""
    strength = {"type": "number", "minimum": 0, "maximum": 1}
    keyframe = {
        "image": {"type": "string", "description": "As image."},
        "at": {"type": "string", "maxLength": 20, "description": "Seconds such as 1.5s, or a frame such as 36."},
        "strength": {**strength, "description": STRENGTH},
    }
    return {
        "image": {
            "type": "string",
            "description": "The first frame: an http(s) URL, an upload_id of create_image_upload, or a small data: "
            "URL. Leave out for text to video.",
        },
        "image_strength": {**strength, "description": STRENGTH},
        "end_image": {"type": "string", "description": "The last frame, given as image is."},
        "end_image_strength": {**strength, "description": STRENGTH},
        KEYFRAMES: {
            "type": "array",
            "maxItems": MAX_KEYFRAMES,
            "items": _object(keyframe, ["image", "at"]),
            "description": "Images for frames in between.",
        },
    }


def describe_tools(limits: RequestLimits) -> dict[str, dict[str, Any]]:
    """All tools by name, in the order of the list: the keyword arguments of `mcp.types.Tool`."""
    create = create_schema(limits)
    asked = {name: rule for name, rule in create["properties"].items() if name != "request_key"}
    wait = {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S, "default": DEFAULT_WAIT_S}
    return {
        "create_video": {
            "title": "Create a video",
            "description": "Start one video with audio, from a text or from a text and images. Takes GPU time. "
            "Answers at once with a video_id; then call wait_for_video.",
            "input_schema": create,
            "output_schema": video_state_schema(),
            "hints": {"read_only_hint": False, "destructive_hint": False, "idempotent_hint": False},
        },
        "wait_for_video": {
            "title": "Wait for a video",
            "description": "Wait until a video ends, or until wait_seconds have passed, and return its state. Call it "
            "again while status is queued or in_progress. A completed video has a link and a poster. One "
            "that is being made may have a small image of it so far.",
            "input_schema": _object(
                {
                    "video_id": VIDEO_ID,
                    "wait_seconds": {**wait, "description": "Longest wait. 0 returns the present state."},
                },
                ["video_id"],
            ),
            "output_schema": video_state_schema(),
            "hints": {"read_only_hint": True, "idempotent_hint": True},
        },
        "list_videos": {
            "title": "List videos",
            "description": "List your videos, newest first. next_before, if there is one, is the next page's before.",
            "input_schema": _object(
                {
                    "limit": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": MAX_PAGE,
                        "default": 10,
                        "description": "Videos on a page.",
                    },
                    "status": {"type": "string", "enum": list(STATUSES), "description": "Only videos of this status."},
                    "before": {**VIDEO_ID, "description": "Only videos that are older than this video_id."},
                },
                [],
            ),
            "output_schema": page_schema(),
            "hints": {"read_only_hint": True, "idempotent_hint": True},
        },
        "estimate_video": {
            "title": "Estimate a video",
            "description": "Tell whether a video fits this server's GPU, how long it takes to render, and which sizes "
            "and lengths fit otherwise. Starts nothing.",
            "input_schema": _object(asked, ["prompt"]),
            "output_schema": estimate_schema(),
            "hints": {"read_only_hint": True, "idempotent_hint": True},
        },
        "cancel_video": {
            "title": "Cancel a video",
            "description": "Stop a video that has not ended. With delete_files, also remove one that has ended; this "
            "cannot be undone.",
            "input_schema": _object(
                {
                    "video_id": VIDEO_ID,
                    "delete_files": {
                        "type": "boolean",
                        "default": False,
                        "description": "Also remove the files of a video that has ended.",
                    },
                },
                ["video_id"],
            ),
            "output_schema": video_state_schema(),
            "hints": {"read_only_hint": False, "destructive_hint": True, "idempotent_hint": True},
        },
        "create_image_upload": {
            "title": "Upload an image",
            "description": "Get a URL that takes one image file in a PUT without a key, for an image on your machine. "
            "Then pass upload_id as image to create_video. Use it in place of base64.",
            "input_schema": _object({}, []),
            "output_schema": upload_schema(),
            "hints": {"read_only_hint": False, "destructive_hint": False, "idempotent_hint": False},
        },
        "get_guide": {
            "title": "How to write a prompt",
            "description": "How to write a good prompt for this model, and the limits of this server. Read it once.",
            "input_schema": _object({}, []),
            "hints": {"read_only_hint": True, "idempotent_hint": True},
        },
    }


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
