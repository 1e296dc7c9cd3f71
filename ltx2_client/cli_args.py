"""The argument parser of the command line."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from ltx2_client.operations import ExtendMode, File, Keyframe, Options, RetakeMode
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
    "fit": "how an image of another shape is fitted to the size",
    "image_strength": "how strongly --image is given, from 0 to 1; 1 keeps it as it is",
    "end_image_strength": "the same for --end-image",
}
"""What is said of each of `Options`; without its line here, the parser does not start."""


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
    _add_audio_to_video(command("a2v", "Make a video that follows an audio file, and save it."))
    _add_retake(command("retake", "Make a part of a video anew, and save the whole."))
    _add_extend(command("extend", "Make a video longer, and save the whole."))
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


def options(arguments: argparse.Namespace) -> Options:
    """The request parameters on the command line. The server chooses the others."""
    typed = {name: value for name, value in vars(arguments).items() if name in Options.__annotations__}
    return cast(Options, typed)


def _add_generate(generate: argparse.ArgumentParser) -> None:
    _add_prompt(generate)
    _add_end_images(generate)
    _add_source_task(generate, "a completed task whose last frame the video begins with, in place of --image")
    generate.add_argument(
        "--keyframe",
        action=_AddKeyframe,
        nargs=2,
        default=[],
        metavar=("FILE", "AT"),
        help="an image for a frame between, and its place: a frame (0 is the first, -1 the last) or seconds, such as "
        "1.5s; 1.5s@0.5 gives it with half the strength. May be repeated",
    )
    _add_options(generate)


def _add_audio_to_video(command: argparse.ArgumentParser) -> None:
    _add_prompt(command)
    command.add_argument("audio", type=Path, metavar="AUDIO", help="WAV, MP3, M4A, AAC, OGG, Opus or FLAC")
    _add_end_images(command)
    _add_number(command, "--audio-start", "where in the audio the video begins, in seconds")
    _add_number(command, "--duration", "seconds of the video (default: the rest of the audio)")
    _add_number(command, "--audio-strength", "how strongly the audio is given, from 0 to 1; 1 keeps it as it is")
    _add_options(command)


def _add_retake(command: argparse.ArgumentParser) -> None:
    _add_prompt(command)
    _add_video(command)
    _add_number(command, "--start-time", "where the new part begins, in seconds")
    _add_number(command, "--duration", "seconds that are made anew (default: up to the end)")
    command.add_argument("--mode", choices=get_args(RetakeMode), default="replace_audio_and_video", help="what is new")
    _add_options(command)


def _add_extend(command: argparse.ArgumentParser) -> None:
    _add_prompt(command)
    _add_video(command)
    _add_number(command, "--duration", "seconds of new video", required=True)
    command.add_argument("--mode", choices=get_args(ExtendMode), default="end", help="where the new part is")
    _add_number(command, "--context", "seconds of the video that the model sees (default: as many as fit)")
    _add_options(command)


def _add_prompt(command: argparse.ArgumentParser) -> None:
    command.add_argument("prompt", help="what the video shows and how it sounds")


def _add_end_images(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-i", "--image", type=Path, help="an image that the video begins with: JPEG, PNG, WebP, GIF, HEIC or AVIF"
    )
    command.add_argument("--end-image", type=Path, metavar="FILE", help="an image that the video ends with")


def _add_source_task(command: argparse.ArgumentParser, about: str) -> None:
    command.add_argument("--source-task", metavar="ID", help=about)


def _add_video(command: argparse.ArgumentParser) -> None:
    command.add_argument("--video", type=Path, metavar="FILE", help="the video: MP4, MOV, MKV or WebM")
    _add_source_task(command, "a completed task, in place of --video")


def _add_number(command: argparse.ArgumentParser, flag: str, about: str, *, required: bool = False) -> None:
    command.add_argument(flag, type=_finite, metavar="N", required=required, help=about)


def _add_options(command: argparse.ArgumentParser) -> None:
    """Add the parameters that every submit has, and where to save the video."""
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to save it (default: ltx2_ID.mp4)")
    for name, hint in get_type_hints(Options).items():
        flag = "--" + name.replace("_", "-")
        command.add_argument(flag, dest=name, default=argparse.SUPPRESS, help=HELP[name], **_takes(name, hint))


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
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    kind: Callable[[str], object] = _seed if name == "seed" else _finite if hint is float else hint
    return {"type": kind, "metavar": "TEXT" if hint is str else "N"}


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _seed(text: str) -> int | None:
    return None if text == "random" else int(text)
