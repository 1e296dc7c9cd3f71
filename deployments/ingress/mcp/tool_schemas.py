"""The tools as a client lists them: names, descriptions and JSON schemas, with this server's limits.

The schemas are flat, without unions and without null: some clients reject a whole server over one such schema.
"""

from collections.abc import Mapping
from typing import Any

from deployments.ingress.mcp.argument_schemas import (
    CONTROL,
    create_schema,
    describe_control_loras,
    edit_schema,
    estimate_arguments,
    object_schema,
)
from deployments.ingress.uploads.kinds import UploadKind
from models.request.loras import KnownLora
from models.request.request import RequestLimits
from storage.tasks import State

MAX_WAIT_S = 50
DEFAULT_WAIT_S = 8
MAX_PAGE = 50
STATUSES = ("queued", "in_progress", "completed", "failed", "canceled")
STATUS_OF_STATE = {State.PROCESSING: "in_progress", State.EXPIRED: "failed", State.DELETED: "failed"}
"""States whose status has another name. An expired or deleted video is `failed`, and `error` says why."""

INSTRUCTIONS = (
    "Make short videos with audio, one at a time: create_video answers at once, then call wait_for_video until status "
    "is completed, and give the user video_url unchanged. edit_video goes on with a video, or changes it. Ask "
    "estimate_video before a long or large video."
)
STARTS = {"read_only_hint": False, "destructive_hint": False, "idempotent_hint": False}
VIDEO_ID = {"type": "string", "maxLength": 64, "description": "The video_id that create_video returned."}


def video_state_schema() -> dict[str, Any]:
    """The state of a video, as create_video, edit_video, wait_for_video and cancel_video return it."""
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
    return object_schema(properties, ["video_id", "status", "progress", "next_step"])


def estimate_schema() -> dict[str, Any]:
    """The answer of estimate_video."""
    nearest = object_schema({"size": {"type": "string"}, "seconds": {"type": "number"}}, ["size", "seconds"])
    properties = {
        "fits": {"type": "boolean"},
        "seconds_to_render": {"type": "number"},
        "nearest": {"type": "array", "items": nearest},
        "queued": {"type": "integer"},
        "adjusted": {"type": "array", "items": {"type": "string"}},
    }
    return object_schema(properties, ["fits", "nearest", "queued"])


def upload_schema() -> dict[str, Any]:
    """The answer of create_image_upload and create_media_upload."""
    properties = {
        "upload_id": {"type": "string"},
        "put_url": {"type": "string"},
        "expires_at": {"type": "string"},
        "max_bytes": {"type": "integer"},
        "curl": {"type": "string"},
        "next_step": {"type": "string"},
    }
    return object_schema(properties, list(properties))


def page_schema() -> dict[str, Any]:
    """The answer of list_videos."""
    properties = {"videos": {"type": "array", "items": video_state_schema()}, "next_before": {"type": "string"}}
    return object_schema(properties, ["videos"])


def describe_tools(limits: RequestLimits, loras: Mapping[str, KnownLora]) -> dict[str, dict[str, Any]]:
    """All tools by name, in the order of the list: the keyword arguments of `mcp.types.Tool`."""
    wait = {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S, "default": DEFAULT_WAIT_S}
    return {
        "create_video": {
            "title": "Create a video",
            "description": "Start one video with audio, from a text and, if you like, images or an audio. Takes GPU "
            "time. Answers at once with a video_id; then call wait_for_video.",
            "input_schema": create_schema(limits, loras),
            "output_schema": video_state_schema(),
            "hints": STARTS,
        },
        "edit_video": {
            "title": "Edit a video",
            "description": "Start a video from one that is there. retake makes a part of it anew, extend makes it "
            "longer, change makes all of it anew in other words."
            f"{_follow(loras)} The source stays. Takes GPU time. Answers at once with a new video_id; then call "
            "wait_for_video.",
            "input_schema": edit_schema(limits, loras),
            "output_schema": video_state_schema(),
            "hints": STARTS,
        },
        "wait_for_video": {
            "title": "Wait for a video",
            "description": "Wait until a video ends, or until wait_seconds have passed, and return its state. Call it "
            "again while status is queued or in_progress. A completed video has a link and a poster. One "
            "that is being made may have a small image of it so far.",
            "input_schema": object_schema(
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
            "input_schema": object_schema(
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
            "description": "Tell whether a new video or an edit fits this server's GPU, how long it takes to render, "
            "and which sizes and lengths fit otherwise. Starts nothing.",
            "input_schema": estimate_arguments(limits, loras),
            "output_schema": estimate_schema(),
            "hints": {"read_only_hint": True, "idempotent_hint": True},
        },
        "cancel_video": {
            "title": "Cancel a video",
            "description": "Stop a video that has not ended. With delete_files, also remove one that has ended; this "
            "cannot be undone.",
            "input_schema": object_schema(
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
            "Then pass upload_id as an image. Use it in place of base64.",
            "input_schema": object_schema({}, []),
            "output_schema": upload_schema(),
            "hints": STARTS,
        },
        "create_media_upload": {
            "title": "Upload audio or a video",
            "description": "Get a URL that takes one audio or video file in a PUT without a key, for a file on your "
            "machine. Then pass upload_id as audio of create_video, or as video of edit_video.",
            "input_schema": object_schema(
                {
                    "kind": {
                        "type": "string",
                        "enum": [str(UploadKind.AUDIO), str(UploadKind.VIDEO)],
                        "description": "What you will send.",
                    }
                },
                ["kind"],
            ),
            "output_schema": upload_schema(),
            "hints": STARTS,
        },
        "get_guide": {
            "title": "How to write a prompt",
            "description": "How to write a good prompt for this model, what the tools can do, and the limits and "
            "LoRAs of this server. Read it once.",
            "input_schema": object_schema({}, []),
            "hints": {"read_only_hint": True, "idempotent_hint": True},
        },
    }


def _follow(loras: Mapping[str, KnownLora]) -> str:
    """What edit_video does with a control video, if the server has LoRAs for one."""
    named = describe_control_loras(loras)
    follow = f" {CONTROL} makes a new video that follows its edges, depth or poses, with a LoRA: {named}."
    return follow if named else ""
