"""The argument parser of the command line."""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from ltx2_client.media import AudioOptions, ChangeOptions, ControlOptions, ExtendOptions, RetakeOptions
from ltx2_client.operations import File, Keyframe, Lora, Options
from ltx2_client.transport import DEFAULT_SERVER, KEY_VARIABLE, SERVER_VARIABLE

HELP = {
    "negative_prompt": "what the video should not show",
    "height": "pixels, a multiple of 64",
    "width": "pixels, a multiple of 64",
    "num_frames": "121 is about 5 s",
    "length": "auto lets the model choose, up to num_frames (LTX-2.5)",
    "frame_rate": "frames per second",
    "num_inference_steps": "20 is faster, 40 looks better",
    "seed": "a whole number, or random; the same seed gives the same video",
    "cfg_scale_video": "how strongly the video follows the prompt; 1 is off",
    "stg_scale_video": "spatiotemporal guidance; 0 is off",
    "cfg_scale_audio": "how strongly the audio follows the prompt; 1 is off",
    "modality_scale": "how strongly video and audio follow each other; 1 is off",
    "timeout_s": "seconds after which the task fails if it is not done",
    "webhook_url": "url that the server notifies when the task has ended",
    "quality": "fast skips work with little visible effect",
    "enhance_prompt": "let the language model of the server's operator rewrite the prompt first",
    "generate_audio": "a video with audio (the default), or without",
    "loras": "a LoRA of the server, and how strongly it acts (default: 1); may be repeated. GET /v1/models lists them",
    "camera_motion": "the LoRA of this name, such as dolly_in",
    "upscale": "2 renders at half the size and refines at the full one: sooner for large videos",
    "fit": "how an image of another shape is fitted to the size",
    "image_strength": "how strongly --image is given, from 0 to 1; 1 keeps it as it is",
    "end_image_strength": "the same for --end-image",
    "source_task": "a completed task: the video begins with its last frame",
}
"""What is said of each of `Options`; without its line here, the parser does not start."""
SOURCE = {"source_task": "a completed task whose video is used, in place of --video"}
MEDIA_HELP = {
    "a2v": {
        "audio_start": "where in the audio the video begins, in seconds",
        "duration": "seconds of the video (default: the rest of the audio)",
        "audio_strength": "how strongly the audio is given, from 0 to 1; 1 keeps it as it is",
    },
    "retake": {
        **SOURCE,
        "start_time": "where the part that is made anew begins, in seconds",
        "duration": "seconds that are made anew (default: up to the end)",
        "mode": "what is made anew (default: replace_audio_and_video)",
    },
    "extend": {
        **SOURCE,
        "duration": "seconds of new video",
        "mode": "where the new part is (default: end)",
        "context": "seconds of the source that the model sees (default: as many as fit)",
    },
    "v2v": {
        **SOURCE,
        "video_strength": "how much of the video stays, from 0 (nothing) to 1 (all)",
        "mode": "what is made anew (default: replace_video, the audio stays)",
    },
    "control": {
        **SOURCE,
        "control_strength": "how strongly the control video is given, from 0 to 1; 1 keeps it as it is",
        "preprocessor": "what is made of the video first: canny makes its edges (default: none)",
    },
}
"""What is said of the options of each command, where it is not that of `HELP`."""
SHAPE = ("height", "width", "num_frames", "length", "frame_rate")
OF_THE_VIDEO = (*SHAPE, "fit", "image_strength", "end_image_strength")
"""Options that follow from a given video."""
LEFT_OUT = {
    "a2v": ("num_frames", "length", "source_task"),
    "retake": OF_THE_VIDEO,
    "extend": OF_THE_VIDEO,
    "v2v": OF_THE_VIDEO,
    "control": SHAPE,
}
"""Options that a command does not have."""
FLAGS = {"loras": "--lora"}
"""Flags that are not called as their option."""
Kind = TypeVar("Kind", Options, AudioOptions, RetakeOptions, ExtendOptions, ChangeOptions, ControlOptions)


def parser() -> argparse.ArgumentParser:
    """Create the parser with all commands and options of `ltx2`."""
    server = argparse.ArgumentParser(add_help=False)
    where = f"address of the server (default: {SERVER_VARIABLE}, else {DEFAULT_SERVER})"
    server.add_argument("--server", metavar="URL", default=argparse.SUPPRESS, help=where)
    top = argparse.ArgumentParser(
        "ltx2",
        description="Make videos with sound on an LTX-2 video server.",
        epilog=f"Where the server asks for an API key, it is taken from {KEY_VARIABLE}.",
        parents=[server],
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, about: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=about, parents=[server])

    _add_generate(command("generate", "Make a video and save it. Ctrl-C cancels the task."))
    _add_a2v(command("a2v", "Make a video that follows an audio file, and save it."))
    _add_edit(command("retake", "Make a part of a video anew, and save the whole."), "retake", RetakeOptions)
    _add_edit(command("extend", "Make a video longer, and save the whole."), "extend", ExtendOptions)
    _add_edit(command("v2v", "Make a whole video anew from another prompt, and save it."), "v2v", ChangeOptions)
    about = "Make a video that follows a control video, with an IC-LoRA that --lora picks, and save it."
    control = command("control", about)
    _add_all_images(control)
    _add_edit(control, "control", ControlOptions)
    tasks = command("tasks", "List tasks, newest first.")
    tasks.add_argument("--state", action="append", default=[], help="only tasks of this state; may be repeated")
    tasks.add_argument("--limit", type=int, default=20, help="how many (default: 20)")
    download = command("download", "Save the video of a completed task, or another of its files.")
    download.add_argument("task_id", metavar="ID")
    download.add_argument("--file", choices=get_args(File), default="video", help="which file (default: video)")
    download.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to save it (default: ltx2_ID...)")
    cancel = command("cancel", "Cancel a task. One that is finished is deleted with its files.")
    cancel.add_argument("task_id", metavar="ID")
    command("health", "Show whether the server can work, and what it serves.")
    return top


def options(arguments: argparse.Namespace, kind: type[Kind]) -> Kind:
    """The request parameters of a kind on the command line. The server chooses the others."""
    names = get_type_hints(kind)
    return cast(Kind, {name: value for name, value in vars(arguments).items() if name in names})


def _add_generate(generate: argparse.ArgumentParser) -> None:
    _add_all_images(generate)
    _add_common(generate, Options, HELP)


def _add_all_images(command: argparse.ArgumentParser) -> None:
    _add_images(command)
    command.add_argument(
        "--keyframe",
        action=_AddKeyframe,
        nargs=2,
        default=[],
        metavar=("FILE", "AT"),
        help="an image for a frame between, and its place: a frame (0 is the first, -1 the last) or seconds, such as "
        "1.5s; 1.5s@0.5 gives it with half the strength. May be repeated",
    )


def _add_a2v(a2v: argparse.ArgumentParser) -> None:
    about = "what the video follows: WAV, MP3, M4A, AAC, OGG, Opus or FLAC"
    a2v.add_argument("-a", "--audio", type=Path, required=True, metavar="FILE", help=about)
    _add_images(a2v)
    _add_common(a2v, AudioOptions, HELP | MEDIA_HELP["a2v"], LEFT_OUT["a2v"])


def _add_edit(edit: argparse.ArgumentParser, name: str, kind: type[Any]) -> None:
    about = "MP4, MOV, MKV or WebM; or name a --source-task"
    edit.add_argument("-v", "--video", type=Path, metavar="FILE", help=about)
    _add_common(edit, kind, HELP | MEDIA_HELP[name], LEFT_OUT[name])


def _add_images(command: argparse.ArgumentParser) -> None:
    about = "an image that the video begins with: JPEG, PNG, WebP, GIF, HEIC or AVIF"
    command.add_argument("-i", "--image", type=Path, metavar="FILE", help=about)
    command.add_argument("--end-image", type=Path, metavar="FILE", help="an image that the video ends with")


def _add_common(
    command: argparse.ArgumentParser, kind: type[Any], about: Mapping[str, str], left_out: Sequence[str] = ()
) -> None:
    """Add the prompt, the output and the options of a kind."""
    command.add_argument("prompt", help="what the video shows and how it sounds")
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to save it (default: ltx2_ID.mp4)")
    for name, hint in get_type_hints(kind).items():
        if name not in left_out:
            flag = FLAGS.get(name) or "--" + name.replace("_", "-")
            command.add_argument(flag, dest=name, default=argparse.SUPPRESS, help=about[name], **_takes(name, hint))


class _AddKeyframe(argparse.Action):
    """Appends a Keyframe from a file and a place, which may end in a strength."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        file, place = values
        at, _, strength = place.partition("@")
        try:
            keyframe = Keyframe(Path(file), at, _finite(strength or "1"))
        except ValueError:
            parser.error(f"argument {option}: {strength!a} is not a strength, such as 0.5")
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), keyframe])


def _takes(name: str, hint: Any) -> dict[str, Any]:
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if name == "loras":
        return {"action": "append", "type": _lora, "metavar": "NAME[:SCALE]"}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    kind: Callable[[str], object] = _seed if name == "seed" else _finite if hint is float else hint
    return {"type": kind, "metavar": "TEXT" if hint is str else "N"}


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _lora(text: str) -> Lora:
    name, _, scale = text.partition(":")
    if not name:
        raise ValueError
    return {"name": name, "scale": _finite(scale or "1")}


def _seed(text: str) -> int | None:
    return None if text == "random" else int(text)
