"""Describes the bodies with an audio or a video for OpenAPI, as a form or JSON."""

import json
from collections.abc import Mapping
from typing import Any

from deployments.ingress.request_body.given_media import (
    AUDIO_START,
    AUDIO_STRENGTH,
    DURATION,
    SOURCE_TASK,
    USE,
    MediaUse,
)
from deployments.ingress.request_body.image_fields import FILE, describe_images, place_fields
from deployments.ingress.request_body.openapi import form_body, json_body
from models.request import edits
from models.request.control import CONTROL_STRENGTH, PREPROCESSOR
from models.request.edits import ExtendMode, RetakeMode, V2vMode
from models.request.enums import Preprocessor
from models.request.loras import LORAS, X_LORAS
from models.request.places import END_IMAGE, IMAGE, STRENGTH_OF
from models.request.request import RequestLimits

TAKEN = {
    MediaUse.A2V: "WAV, MP3, M4A, AAC, OGG, Opus or FLAC",
    MediaUse.RETAKE: "MP4, MOV, MKV or WebM",
    MediaUse.EXTEND: "MP4, MOV, MKV or WebM",
    MediaUse.V2V: "MP4, MOV, MKV or WebM",
    MediaUse.CONTROL: "MP4, MOV, MKV or WebM",
}
EXAMPLE_ID = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
EXAMPLE_AUDIO = (
    "data:audio/flac;base64,"
    "ZkxhQ4AAACIAwADAAAALAAALAfQA8AAAEsB2UfE1fS6cj80r9Hoq1teK//gUCAArAAAA6Vv/+BQIASwAAACFI//4FAgCJQAAADGr"
    "//gUCAMiAAAAXdP/+BQIBDcAAADYvv/4FAgFMAAAALTG//gUCAY5AAAAAE7/+BQIBz4AAABsNv/4FAgIEwAAAIqR//gUCAkUAAAA"
    "5un/+BQICh0AAABSYf/4FAgLGgAAAD4Z//gUCAwPAAAAu3T/+BQIDQgAAADXDP/4FAgOAQAAAGOE//gUCA8GAAAAD/z/+BQIEFsA"
    "AAAuz//4FAgRXAAAAEK3//gUCBJVAAAA9j//+BQIE1IAAACaR//4FAgURwAAAB8q//gUCBVAAAAAc1L/+BQIFkkAAADH2v/4FAgX"
    "TgAAAKui//gUCBhjAAAATQU="
)
"""0.6 s of silence."""
PROMPT = "A singer on a small stage in warm light, close-up."


def media_body(schema: Mapping[str, Any], use: MediaUse, limits: RequestLimits) -> dict[str, Any]:
    """The media types and schemas of a form and of JSON for one use. `schema` is that of the parameters."""
    kept = {name: each for name, each in schema["properties"].items() if name not in use.decided}
    schema = {**schema, "properties": {**kept, **_fields(use, limits)}}
    about = _about(use, limits)
    example = _example(use)
    if use is MediaUse.CONTROL:
        example[LORAS] = [{"name": _control_lora(schema), "scale": 1}]
    in_form = {name: json.dumps(value) if name == LORAS else value for name, value in example.items()}
    form = form_body(schema, use.file_field, about, required=use is MediaUse.A2V, example=in_form)
    text = {"type": "string", "description": f"{about} As a data url: `data:...;base64,...`."}
    properties = {**schema["properties"], use.file_field: text}
    form["multipart/form-data"]["schema"]["properties"] |= _images(use, FILE)
    properties |= _images(use, {"type": "string"})
    required = [*schema["required"], use.file_field] if use is MediaUse.A2V else schema["required"]
    in_json = {**schema, "properties": properties, "required": required}
    return form | json_body(in_json, {**example, **_example_file(use)})


def _control_lora(schema: Mapping[str, Any]) -> str:
    """The name of an IC-LoRA of this server for the examples."""
    known = schema["properties"][LORAS].get(X_LORAS, {})
    return next((name for name, each in known.items() if "control" in each), "canny")


def _about(use: MediaUse, limits: RequestLimits) -> str:
    if use is MediaUse.A2V:
        return f"The audio: {TAKEN[use]}, of at most {limits.max_audio_bytes} bytes."
    name = "control video" if use is MediaUse.CONTROL else "video"
    return f"The {name}: {TAKEN[use]}, of at most {limits.max_video_bytes} bytes. Or name a `{SOURCE_TASK}`."


def _example(use: MediaUse) -> dict[str, object]:
    match use:
        case MediaUse.A2V:
            return {"prompt": PROMPT, "height": 512, "width": 768}
        case MediaUse.RETAKE:
            return {"prompt": PROMPT, edits.START_TIME: 0, edits.DURATION: 1}
        case MediaUse.EXTEND:
            return {"prompt": PROMPT, edits.DURATION: 3}
        case MediaUse.V2V:
            return {"prompt": PROMPT, edits.VIDEO_STRENGTH: edits.DEFAULT_STRENGTH}
        case MediaUse.CONTROL:
            return {"prompt": PROMPT, PREPROCESSOR: str(Preprocessor.CANNY)}


def _example_file(use: MediaUse) -> dict[str, object]:
    return {use.file_field: EXAMPLE_AUDIO} if use is MediaUse.A2V else {SOURCE_TASK: EXAMPLE_ID}


def _fields(use: MediaUse, limits: RequestLimits) -> dict[str, Any]:
    """The properties of a use, beside its file."""
    if use is MediaUse.A2V:
        return {
            AUDIO_START: _seconds("Where in the audio the video begins, in seconds.", 0),
            DURATION: _seconds("Seconds of the video. Left out: the rest of the audio, or as much of it as fits."),
            AUDIO_STRENGTH: _strength("How strongly the audio is given: 1 keeps it as it is."),
            STRENGTH_OF[IMAGE]: _strength(f"How strongly `{IMAGE}` is given."),
            STRENGTH_OF[END_IMAGE]: _strength(f"How strongly `{END_IMAGE}` is given."),
        }
    source = {"type": "string", "description": "A completed task of yours, in place of `video`."}
    if use is MediaUse.RETAKE:
        return {
            SOURCE_TASK: source,
            edits.START_TIME: _seconds("Where the window begins, in seconds.", 0),
            edits.DURATION: _seconds("Seconds that are made anew. Left out: up to the end."),
            edits.MODE: _choice(RetakeMode, RetakeMode.AUDIO_AND_VIDEO, "What is made anew."),
        }
    if use is MediaUse.V2V:
        return {SOURCE_TASK: source, **change_fields()}
    if use is MediaUse.CONTROL:
        return {SOURCE_TASK: source, **_control_fields(), **place_fields()}
    return {
        SOURCE_TASK: source,
        edits.DURATION: _seconds(f"Seconds of new video; the result has at most {limits.max_edit_duration_s:g} s."),
        edits.MODE: _choice(ExtendMode, ExtendMode.END, "At which end the new part is."),
        edits.CONTEXT: _seconds("How much of the video the model sees, at most. Left out: as much as fits."),
    }


def change_fields() -> dict[str, Any]:
    """The properties of video-to-video, beside its file."""
    about = "How much of the video stays: 0 is nothing, 1 is all. The more stays, the fewer steps are run."
    return {
        edits.VIDEO_STRENGTH: {**_strength(about), "default": edits.DEFAULT_STRENGTH},
        edits.MODE: _choice(V2vMode, V2vMode.VIDEO, "What is made anew. The audio of the video stays, or changes too."),
    }


def _control_fields() -> dict[str, Any]:
    """The properties of a control video, beside its file."""
    about = "What is made of the video first. canny: its edges. none: it is a control video already."
    return {
        CONTROL_STRENGTH: _strength("How strongly the control video is given: 1 keeps it as it is."),
        PREPROCESSOR: _choice(Preprocessor, Preprocessor.NONE, about),
    }


def estimate_fields(limits: RequestLimits) -> dict[str, Any]:
    """The properties of an estimate for a use."""
    about = "The submit that is meant, if it is not that of a text or of images. Size and length are the result's."
    use = {"type": "string", "enum": [str(each) for each in MediaUse], "description": about}
    fields = _fields(MediaUse.V2V, limits) | _fields(MediaUse.EXTEND, limits) | _fields(MediaUse.RETAKE, limits)
    fields |= _control_fields()
    mode = {"type": "string", "enum": [*RetakeMode, *ExtendMode], "description": "As in the submit that is meant."}
    fields[edits.DURATION] = _seconds("Seconds that are made anew, or that are new. An extend needs it.")
    return {USE: use, **{name: each for name, each in fields.items() if name != SOURCE_TASK}, edits.MODE: mode}


def _images(use: MediaUse, kind: Mapping[str, str]) -> dict[str, Any]:
    """The properties of the images that may come with the file."""
    ends = {IMAGE: "Becomes the first frame. May be left out.", END_IMAGE: "Becomes the last frame. May be left out."}
    described = describe_images(kind, "") | {name: {**kind, "description": about} for name, about in ends.items()}
    return {name: described[name] for name in use.images}


def _seconds(about: str, default: float | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "number", "minimum": 0, "description": about}
    return schema if default is None else {**schema, "default": default}


def _strength(about: str) -> dict[str, Any]:
    return {"type": "number", "minimum": 0, "maximum": 1, "default": 1, "description": about}


def _choice(modes: type[RetakeMode | ExtendMode | V2vMode | Preprocessor], default: str, about: str) -> dict[str, Any]:
    return {"type": "string", "enum": [str(each) for each in modes], "default": str(default), "description": about}
